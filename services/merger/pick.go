package merger

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// limits say when a chain is folded.
type limits struct {
	chainMax int
	ratio    float64
}

// deltaBytesMin is what deltas have together before their size counts: below it is a
// block or two, and a swap costs more than they do.
const deltaBytesMin = 256 << 10

// pick is a chain that is to be folded. Its runs are those of the manifest, or where a
// merge has taken place that the task has not heard of yet, what it made of them.
type pick struct {
	partition, component int // places in the manifest
	runs                 []checkpoint.Run
	why                  string
}

// picks returns the chains of a checkpoint to fold. merged is the newest earlier checkpoint
// whose chains were folded, or nil: a task adopts them with the epoch after the one that it is
// preparing now, and picks does not fold them again.
func (l limits) picks(m, merged *checkpoint.Manifest) []pick {
	var found []pick
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			runs := standing(m, merged, p, c)
			if why := l.due(runs); why != "" {
				found = append(found, pick{p, c, runs, why})
			}
		}
	}
	return found
}

// standing returns the chain of a component as it is with what was merged before.
func standing(m, merged *checkpoint.Manifest, p, c int) []checkpoint.Run {
	component := &m.Partitions[p].Components[c]
	if merged == nil || merged.Generation != m.Generation || merged.Epoch > m.Epoch || p >= len(merged.Partitions) {
		return component.Runs
	}
	for _, before := range merged.Partitions[p].Components {
		if before.ID == component.ID && before.Version == component.Version {
			return checkpoint.Adopt(component.Runs, before.Runs, merged.Epoch)
		}
	}
	return component.Runs
}

// due returns why a chain is to be folded, or "".
func (l limits) due(runs []checkpoint.Run) string {
	if len(runs) < 2 {
		return ""
	}
	if n := len(runs) - 1; n > l.chainMax {
		return fmt.Sprintf("%d deltas, limit %d", n, l.chainMax)
	}
	base, deltas := sizes(runs)
	if deltas >= deltaBytesMin && float64(deltas) > l.ratio*float64(base) {
		return fmt.Sprintf("deltas of %.2f of the base, limit %g", float64(deltas)/float64(base), l.ratio)
	}
	return ""
}

// sizes returns the bytes of base and deltas, uncompressed.
func sizes(runs []checkpoint.Run) (base, deltas int64) {
	for i, r := range runs {
		if i == 0 {
			base = r.RawBytes
		} else {
			deltas += r.RawBytes
		}
	}
	return base, deltas
}
