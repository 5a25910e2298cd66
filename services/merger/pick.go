package merger

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// limits decide when a chain is folded, and when packs are written again.
type limits struct {
	chainMax int
	ratio    float64
	dead     int64 // bytes of packs
}

// deltaBytesMin is the least total size of deltas that are compared with their base. Smaller
// deltas fit into a block or two, and cost less than a swap.
const deltaBytesMin = 256 << 10

// pick is a chain that is to be folded. Its runs are those of the manifest or, if a merge
// replaced them and the task does not know yet, the merged runs.
type pick struct {
	partition, component int // indexes in the manifest
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
			runs := currentChain(m, merged, p, c)
			if why := l.due(runs); why != "" {
				found = append(found, pick{p, c, runs, why})
			}
		}
	}
	return found
}

// currentChain returns the chain of a component, with the runs that an earlier merge folded
// replaced by its base.
func currentChain(m, merged *checkpoint.Manifest, p, c int) []checkpoint.Run {
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

// due returns why a chain has to be folded, or "" if it does not.
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
