package checkpointer

import (
	"slices"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
)

// Retention keeps the newest checkpoints and those of a span of time, even if the clock is
// set. Here it keeps two checkpoints, and one hour; gaps count for ten minutes at most.
func TestRetention(t *testing.T) {
	for name, test := range map[string]struct {
		minutes []int // of each checkpoint
		want    []state.Epoch
	}{
		"none":                   {nil, nil},
		"one":                    {[]int{0}, nil},
		"all within the span":    {[]int{0, 10, 20, 30, 40, 50, 60}, nil},
		"some are older":         {[]int{0, 10, 20, 30, 40, 50, 60, 70, 75}, []state.Epoch{1, 2}},
		"clock set ahead":        {[]int{0, 10, 20, 1000, 1010}, nil},
		"clock set back":         {[]int{1000, 1010, 1020, 20, 30}, nil},
		"ahead for a moment":     {[]int{0, 10, 20, 9000, 30, 40, 50, 60, 70, 80, 90}, []state.Epoch{1, 2, 3}},
		"ahead for a moment, 20": {[]int{0, 10, 20, 9000, 30, 40, 50, 60}, nil},
		"nothing for days":       {[]int{0, 10, 9000, 9010, 9020, 9030, 9040}, nil},
		"and an hour on":         {[]int{0, 10, 9000, 9010, 9020, 9030, 9040, 9050, 9060, 9070}, []state.Epoch{1, 2, 3}},
	} {
		var all []committed
		for i, m := range test.minutes {
			all = append(all, committed{CheckpointRef: control.CheckpointRef{Epoch: state.Epoch(i + 1), Time: begin.Add(time.Duration(m) * time.Minute)}})
		}
		if got := surplus(all, 2, time.Hour, 10*time.Minute); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
