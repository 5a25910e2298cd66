package frame

import "testing"

// If an operator has accepted a loss, the frames of each writer continue after it, and only
// there.
func TestChainGoesOnBehindAcceptedLoss(t *testing.T) {
	c := NewChain("A", 0)
	check := func(seq, writer, number uint64, prev, crc uint32, want Verdict) {
		t.Helper()
		h := Header{App: "A", Kind: Events, Writer: writer, Number: number, Prev: prev}
		if writer == LostWriter {
			h.Kind = Tick
		}
		if got, err := c.Check(seq, &h, crc); got != want {
			t.Errorf("sequence %d: %v, %v, want %v", seq, got, err, want)
		}
	}
	check(1, 7, 1, 0, 11, Apply)
	check(2, 7, 3, 12, 13, 0) // one is missing
	check(2, 8, 2, 1, 1, 0)
	check(2, LostWriter, 1, 0, 99, Apply)
	check(3, LostWriter, 1, 0, 99, Apply)
	check(4, 7, 3, 12, 13, Apply)
	check(5, 7, 3, 12, 13, Duplicate)
	check(6, 7, 5, 14, 15, 0) // no loss was accepted since
	check(6, 8, 4, 1, 1, Apply)
	check(7, 8, 6, 1, 1, 0)

	restored := NewChain("A", 0)
	if err := restored.Load(c.Entries(nil)); err != nil {
		t.Fatal(err)
	}
	h := Header{App: "A", Kind: Events, Writer: 9, Number: 3, Prev: 5}
	if got, err := restored.Check(7, &h, 6); got != Apply {
		t.Errorf("after a restore: %v, %v", got, err)
	}
	h = Header{App: "A", Kind: Events, Writer: LostWriter, Number: 1}
	if _, err := restored.Check(8, &h, 6); err == nil {
		t.Error("events instead of a lost frame are applied")
	}
}
