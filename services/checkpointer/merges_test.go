package checkpointer

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// A sweep keeps the objects of a pending swap. A swap is refused if its merge started before
// the time that a sweep was allowed.
func TestSweepsAndSwapsKeepApart(t *testing.T) {
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	s := newSweeps(at(10))
	if _, ok := s.startSwap(at(9)); ok {
		t.Error("a merge was accepted that started before the time that a former leader may have allowed")
	}
	end, ok := s.startSwap(at(12))
	if !ok {
		t.Fatal("a merge was refused, and no sweep may touch it")
	}
	other, ok := s.startSwap(at(15))
	if !ok {
		t.Fatal("a second merge was refused")
	}
	if got := s.allow(at(20)); !got.Equal(at(12)) {
		t.Errorf("a sweep may delete what was not used since %s, and the swap of a merge from %s is under way", got, at(12))
	}
	end()
	if got := s.allow(at(20)); !got.Equal(at(15)) {
		t.Errorf("a sweep may delete what was not used since %s, and the swap of a merge from %s is under way", got, at(15))
	}
	other()
	if got := s.allow(at(20)); !got.Equal(at(20)) {
		t.Errorf("a sweep may delete what was not used since %s, want %s", got, at(20))
	}
	if got := s.allow(at(18)); !got.Equal(at(18)) {
		t.Errorf("an earlier sweep may delete up to %s", got)
	}
	if _, ok := s.startSwap(at(19)); ok {
		t.Error("a merge was taken whose objects a sweep may delete")
	}
	if _, ok := s.startSwap(at(20)); !ok {
		t.Error("a merge was refused, and no sweep may touch it")
	}
}

// One merger has the lease until it expires; no merger has it forever.
func TestLease(t *testing.T) {
	now := begin
	l := &merges{leadership: &leadership{cfg: &Config{Now: func() time.Time { return now }}}}
	ask := func(id string, after time.Duration, want string) {
		t.Helper()
		now = now.Add(after)
		got, err := l.lease(t.Context(), &control.LeaseRequest{ID: id})
		if err != nil || got.(control.Lease).Holder != want {
			t.Errorf("%s asks, and it is %+v's, want %s: %v", id, got, want, err)
		}
	}
	ask("a", 0, "a")
	ask("b", leaseTime-1, "a")
	ask("a", 0, "a") // again
	ask("b", leaseTime-1, "a")
	ask("b", 1, "b")
	ask("a", 1, "b")
	if _, err := l.lease(t.Context(), &control.LeaseRequest{}); err == nil {
		t.Error("an empty id got a lease")
	}
}
