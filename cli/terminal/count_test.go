package terminal

import "testing"

func TestCount(t *testing.T) {
	for n, want := range map[uint32]string{0: "0 partitions", 1: "1 partition", 2: "2 partitions"} {
		if got := Count(n, "partition"); got != want {
			t.Errorf("%d: %q", n, got)
		}
	}
}
