package merger

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// move is a chain with runs in packs that are mostly dead. They are put into new packs.
type move struct {
	partition, component int // indexes in the manifest
	runs                 []checkpoint.Run
}

// usage is how much of a pack a checkpoint needs.
type usage struct{ live, size int64 }

func (u usage) dead() int64 { return u.size - u.live }

// movesOf returns the chains to move, and the packs that they leave. It returns none while the dead
// bytes of all packs are at most l.dead, or at most the bytes that the checkpoint takes. picked
// are the chains that are folded, which need none of their packs any more.
//
// Every pack that is more dead than live is left then, so that the others have at most as many dead
// bytes as live ones.
func (l limits) movesOf(m, merged *checkpoint.Manifest, picked []pick) (moves []move, packs map[string]bool) {
	folded := map[[2]int]bool{}
	for _, p := range picked {
		folded[[2]int{p.partition, p.component}] = true
	}
	used, seen, total := map[string]usage{}, map[string]bool{}, int64(0)
	var chains []move
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			if folded[[2]int{p, c}] {
				continue
			}
			runs := currentChain(m, merged, p, c)
			chains = append(chains, move{p, c, runs})
			for i := range runs {
				r := &runs[i]
				at := fmt.Sprintf("%s@%d", r.Object(), r.Offset)
				if seen[at] {
					continue
				}
				seen[at] = true
				total += r.Bytes
				if r.Pack != "" {
					used[r.Object()] = usage{used[r.Object()].live + r.Bytes, r.PackBytes}
				}
			}
		}
	}
	dead := int64(0)
	packs = map[string]bool{}
	for name, u := range used {
		if dead += u.dead(); u.dead() > u.live {
			packs[name] = true
		}
	}
	if dead <= max(l.dead, total) {
		return nil, nil
	}
	for _, chain := range chains {
		for i := range chain.runs {
			if packs[chain.runs[i].Object()] {
				moves = append(moves, chain)
				break
			}
		}
	}
	return moves, packs
}
