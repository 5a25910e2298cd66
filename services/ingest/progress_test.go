package ingest

import (
	"errors"
	"testing"
)

// A position is durable only when all results before it are, in whatever order they end.
func TestProgress(t *testing.T) {
	at := func(n uint64) position { return position{Sequence: n} }
	p := newProgress(at(7))
	check := func(want uint64) {
		t.Helper()
		if got := p.position(); got.Sequence != want {
			t.Errorf("position %d, want %d", got.Sequence, want)
		}
	}
	check(7)
	a := p.started()
	p.handle(at(8))
	check(7)
	b := p.started()
	p.handle(at(9))
	check(7)
	p.recordOutcome(b, nil)
	check(7) // 8 is not durable
	c := p.started()
	p.handle(at(10))
	p.recordOutcome(a, nil)
	check(8) // the mark when it was looked at first
	check(8)
	p.recordOutcome(c, nil)
	check(10)
	d := p.started()
	p.handle(at(11))
	err := errors.New("the log has ended")
	p.recordOutcome(d, &err)
	check(10)
	if p.failed() == nil {
		t.Error("no failure")
	}
}
