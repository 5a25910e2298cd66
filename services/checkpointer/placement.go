package checkpointer

import (
	"cmp"
	"maps"
	"slices"
)

// slot is a partition that has to run somewhere.
type slot struct {
	app       string
	partition uint32
}

func compareSlots(x, y slot) int {
	return cmp.Or(cmp.Compare(x.app, y.app), cmp.Compare(x.partition, y.partition))
}

// move gives a slot to a processor. A gentle move can wait for a checkpoint, because the
// processor that has the slot is alive.
type move struct {
	slot   slot
	from   string
	to     string
	gentle bool
}

// place decides which partitions move to another processor. A partition stays where it is
// unless its processor goes away or another one has at least two partitions fewer. The same
// arguments give the same moves.
//
// now maps each slot to its processor, or "". able are the processors that accept
// partitions. leaving are processors that still run partitions but must lose them. If
// orphans is set, slots of processors that are in neither list are moved too.
//
// prefer maps slots to their standbys. A standby gets the slot if its processor is gone, or
// is one of quiet: processors without a heartbeat for a short time.
func place(now map[slot]string, able, leaving, quiet []string, prefer map[slot]string, orphans bool) []move {
	if len(able) == 0 {
		return nil
	}
	slots := make([]slot, 0, len(now))
	load := map[string]int{}
	for s, p := range now {
		slots = append(slots, s)
		load[p]++
	}
	slices.SortFunc(slots, compareSlots)
	able = slices.Sorted(slices.Values(able))
	targets := slices.DeleteFunc(slices.Clone(able), func(p string) bool { return slices.Contains(quiet, p) })
	if len(targets) == 0 {
		targets = able
	}
	least := func() string {
		return slices.MinFunc(targets, func(x, y string) int { return cmp.Compare(load[x], load[y]) })
	}
	var moves []move
	ready := func(s slot) bool {
		p := prefer[s]
		return p != now[s] && slices.Contains(able, p) && !slices.Contains(quiet, p)
	}
	give := func(s slot, gentle bool) {
		to := least()
		if !gentle && ready(s) {
			to = prefer[s]
		}
		moves = append(moves, move{slot: s, from: now[s], to: to, gentle: gentle})
		load[now[s]]--
		load[to]++
	}
	for _, s := range slots {
		switch p := now[s]; {
		case slices.Contains(able, p):
			if slices.Contains(quiet, p) && ready(s) {
				give(s, false)
			}
		case slices.Contains(leaving, p):
			give(s, true)
		case p == "" || orphans:
			give(s, false)
		}
	}
	moved := map[slot]bool{}
	for _, m := range moves {
		moved[m.slot] = true
	}
	// Take slots from the processor with the most, so that no slot moves back and forth.
	for {
		var heaviest string
		var from slot
		for _, s := range slots {
			if p := now[s]; !moved[s] && slices.Contains(able, p) && (heaviest == "" || load[p] > load[heaviest]) {
				heaviest, from = p, s
			}
		}
		if heaviest == "" || load[heaviest]-load[least()] <= 1 {
			return moves
		}
		moved[from] = true
		give(from, true)
	}
}

// placeStandbys chooses a second processor for each slot. A standby keeps its slot while its
// processor is able and does not own the slot.
func placeStandbys(places, now map[slot]string, able []string) map[slot]string {
	slots := slices.SortedFunc(maps.Keys(places), compareSlots)
	chosen, load := map[slot]string{}, map[string]int{}
	can := func(s slot, p string) bool { return p != places[s] && slices.Contains(able, p) }
	for _, s := range slots {
		load[places[s]]++
		if can(s, now[s]) {
			chosen[s] = now[s]
			load[now[s]]++
		}
	}
	for _, s := range slots {
		if chosen[s] != "" {
			continue
		}
		for _, p := range able {
			if can(s, p) && (chosen[s] == "" || load[p] < load[chosen[s]]) {
				chosen[s] = p
			}
		}
		if chosen[s] == "" {
			delete(chosen, s)
			continue
		}
		load[chosen[s]]++
	}
	return chosen
}
