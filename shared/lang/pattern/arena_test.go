package pattern

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// Blocks that are in use do not share memory, whatever was released before.
func TestBlocksKeepTheirBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a arena
		kept := map[block][]byte{}
		var used []block
		for i := range rapid.IntRange(1, 200).Draw(t, "steps") {
			if n := len(used); n > 0 && rapid.IntRange(0, 2).Draw(t, "release") == 0 {
				at := rapid.IntRange(0, n-1).Draw(t, "which")
				a.release(used[at])
				delete(kept, used[at])
				used[at] = used[n-1]
				used = used[:n-1]
				continue
			}
			want := bytes.Repeat([]byte{byte(i)}, rapid.SampledFrom([]int{1, 16, 17, 40, 100, 1000, 1024, 1025, 5000}).Draw(t, "bytes"))
			b := a.alloc(len(want))
			if _, there := kept[b]; b == 0 || there {
				t.Fatalf("block %d is given twice", b)
			}
			copy(a.bytes(b), want)
			kept[b], used = want, append(used, b)
		}
		for b, want := range kept {
			if got := a.bytes(b)[:len(want)]; !bytes.Equal(got, want) {
				t.Fatalf("block %d of %d bytes changed", b, len(want))
			}
		}
	})
}
