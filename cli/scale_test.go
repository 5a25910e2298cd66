package cli

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// The history of an app says which versions are scalings.
func TestHistoryTellsScalings(t *testing.T) {
	h := &control.History{Current: 2, Scalings: map[uint32]int{2: 8}}
	if got := versionText(h, &control.Version{Number: 2}); got != "current; scaled to 8 partitions" {
		t.Error(got)
	}
	if got := versionText(h, &control.Version{Number: 1}); got != "deployed" {
		t.Error(got)
	}
}

// The progress of a scaling says how much of the state was read, and how long the rest may take.
func TestScalingProgress(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		step        string
		read, total int64
		after       time.Duration
		want        string
	}{
		{"pausing intake", 0, 0, time.Second, ""},
		{control.StepDivide, 0, 400, time.Minute, ": 0 of 400 entries"},
		{control.StepDivide, 100, 400, time.Second, ": 100 of 400 entries"},
		{control.StepDivide, 100, 400, 10 * time.Second, ": 100 of 400 entries, about 30s left"},
		{control.StepDivide, 400, 400, 10 * time.Second, ": 400 of 400 entries"},
		{"opening the logs", 390, 400, 10 * time.Second, ""},
	} {
		p := &control.Scaling{Started: began, Step: c.step, Read: c.read, Total: c.total}
		if got := readText(p, began.Add(c.after)); got != c.want {
			t.Errorf("%s, %d of %d after %s: %q, want %q", c.step, c.read, c.total, c.after, got, c.want)
		}
	}
}
