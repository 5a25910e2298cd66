package processor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// Few messages go one by one, many as atomic batches within the server's limit.
func TestBatchLength(t *testing.T) {
	const most = 1000
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
		{most, 10, most},
		{most + 1, 10, most},
		{100, batchBytesMax / 50, 50},
		{100, batchBytesMax + 1, 1}, // a larger message goes alone
	} {
		if got := batchLength(messages(c.messages, c.bytes), most); got != c.want {
			t.Errorf("%d messages of %d bytes: %d at once, want %d", c.messages, c.bytes, got, c.want)
		}
	}
}

// An embedded server accepts batches up to its documented size, and the rest goes one by one.
// If the emitter tries larger batches, it makes them smaller.
func TestManyResultsOfOneFrame(t *testing.T) {
	for _, most := range []int{0, natsconn.BatchMessagesMax, 4 * natsconn.BatchMessagesMax} {
		t.Run(fmt.Sprint(most), func(t *testing.T) { manyResults(t, most) })
	}
}

func manyResults(t *testing.T, most int) {
	const rows = natsconn.BatchMessagesMax + 3
	r := newRig(t, `@app:name('a') define stream S (v long); from S select v insert into Out;`)
	r.most = most
	b := event.NewBatch(r.plan.Stream("S").Schema)
	for i := range rows {
		b.Cols[0].AppendInt(int64(i))
		b.TS = append(b.TS, 1)
	}
	f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: rows, Arrived: 1})
	must(t, err)
	seq, err := f.Wait(r.within())
	must(t, err)
	r.drained()
	lines := r.results()
	if len(lines) != rows {
		t.Fatalf("%d results, want %d", len(lines), rows)
	}
	for i, line := range lines {
		if want := fmt.Sprintf("out.a.Out.0 %d.%d current 1 {\"v\":%d}", seq, i, i); !strings.HasPrefix(line, want) {
			t.Fatalf("result %d is %s, want %s", i, line, want)
		}
	}
}
