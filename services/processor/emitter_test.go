package processor

import "testing"

// Few messages go one by one, many as atomic batches within the server's limit.
func TestBatchLength(t *testing.T) {
	messages := func(n, bytes int) []message {
		all := make([]message, n)
		for i := range all {
			all[i].end = bytes
		}
		return all
	}
	for _, c := range []struct{ messages, bytes, want int }{
		{1, 10, 1},
		{batchMessagesMin - 1, 10, 1},
		{batchMessagesMin, 10, batchMessagesMin},
		{batchMessagesMax, 10, batchMessagesMax},
		{batchMessagesMax + 1, 10, batchMessagesMax},
		{100, batchBytesMax / 50, 50},
		{100, batchBytesMax + 1, 1}, // one that is larger goes alone
	} {
		if got := batchLength(messages(c.messages, c.bytes)); got != c.want {
			t.Errorf("%d messages of %d bytes: %d at once, want %d", c.messages, c.bytes, got, c.want)
		}
	}
}
