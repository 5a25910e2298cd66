package faults

import (
	"syscall"
	"testing"
	"time"
)

// TestStop stops the process at random moments while events are published. It must exit cleanly,
// and leave the results of every event that it acknowledged.
func TestStop(t *testing.T) {
	rnd := random(t)
	began := time.Now()
	messages := trades(rnd, *events)
	want := offline(t, messages)
	data := t.TempDir()
	pub := newPublisher(t, rnd, messages)
	phases := map[string]int{}
	for _, f := range faultPlan(rnd, len(messages)) {
		p := run(t, data, apps()...)
		phase := f.stop(p, pub)
		phases[phase]++
		if p.code != 0 {
			t.Fatalf("exit code %d after SIGTERM while %s, want 0", p.code, phase)
		}
		got := stored(t, data)
		checkPrefix(t, got, want)
		checkCovers(t, got, want, messages, pub.acknowledged())
	}
	finish(t, data, pub)
	checkSame(t, stored(t, data), want)
	report(t, "stops", phases, pub, want, began)
}

// stop is strike with SIGTERM. It waits until the process handles signals.
func (f fault) stop(p *process, pub *publisher) (phase string) {
	p.t.Helper()
	if f.kind != onStart {
		return f.strike(p, pub, syscall.SIGTERM)
	}
	select {
	case <-p.begun:
	case <-p.exited:
		p.t.Fatalf("ended by itself with code %d", p.code)
	}
	return f.strikeUnused(p, syscall.SIGTERM)
}
