package engine

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// Keys of partitions end in two ways. An idle key, whose windows are empty and whose
// aggregates are at their start, acts as a new one would, and ends without a trace. @purge
// forgets a key, with all its state, some time after its last event. An instance ends
// between two chunks or timers, when none of its queries is running.

// idleKeys is how many idle instances of a block are kept, in addition to as many as are
// not idle: many keys come back with the next event. It is a variable for tests.
var idleKeys = 1024

// each calls visit with the instances of a block, in the order of arrival of their keys. It
// leaves out instances that visit makes.
func (b *block) each(visit func(*instance)) {
	for _, home := range b.all {
		if home != nil {
			visit(home)
		}
	}
}

// use records that an instance receives something.
func (in *instance) use() {
	if !in.used {
		in.used = true
		in.block.e.used = append(in.block.e.used, in)
	}
}

// endChunk ends a chunk or a timer: instances that were used may be idle now.
func (e *Engine) endChunk() {
	if len(e.used) == 0 {
		return
	}
	for _, in := range e.used {
		in.used = false
		if b := in.block; !b.lasting && b.counted {
			b.markActive(in)
		}
	}
	clear(e.used)
	e.used = shrink.Reset(e.used)
	for _, b := range e.blocks {
		if !b.lasting {
			b.sweep()
		}
	}
}

// markActive updates the number of idle instances.
func (b *block) markActive(in *instance) {
	if idle := in.isNew(); idle != in.idle {
		in.idle = idle
		if idle {
			b.idle++
		} else {
			b.idle--
		}
	}
}

// sweep ends the idle instances once there are many of them.
func (b *block) sweep() {
	if !b.counted {
		b.counted = true
		b.each(b.markActive)
	}
	if b.idle <= len(b.byKey.M)-b.idle+idleKeys {
		return
	}
	b.each(func(in *instance) {
		if in.idle {
			b.end(in)
		}
	})
}

// isNew reports whether a new instance would do the same from now on.
func (in *instance) isNew() bool {
	for _, s := range in.memories {
		for part := range units {
			if u := s.unit(part); u != nil && !u.Empty() {
				return false
			}
		}
	}
	for _, s := range in.memories {
		switch {
		case s.groups != nil:
			if s.groups.live() > 0 {
				return false
			}
		default:
			for _, a := range s.aggs {
				if !a.Empty(0) {
					return false
				}
			}
		}
	}
	return true
}

// end ends an instance: it removes its entries, and nothing keeps its memory.
func (b *block) end(in *instance) {
	timers := 0
	b.touched.remove(in.memories[0], func(visit func(key []byte)) { visit([]byte(in.key)) })
	for i, q := range b.queries {
		s := in.memories[i]
		for part := range units {
			if part == windows || s.more != nil {
				unitSource{q, part}.end(s)
			}
			if t := s.timer(part); t.set {
				t.set = false
				timers++
			}
		}
		aggregateSource{q}.end(s)
		s.closePattern()
	}
	if in.awaited {
		timers++
	}
	if in.idle {
		b.idle--
	}
	in.gone, in.idle = true, false
	b.byKey.Delete(in.key)
	b.all[in.at] = nil
	b.compact()
	b.e.timers.end(timers)
}

// compact keeps the last instance at the end of the list, and the list as long as the
// number of instances asks for.
func (b *block) compact() {
	n := len(b.all)
	for n > 0 && b.all[n-1] == nil {
		n--
	}
	b.all = b.all[:n]
	const few = 64
	if n <= 2*len(b.byKey.M)+few {
		return
	}
	all := make([]*instance, 0, len(b.byKey.M))
	for _, home := range b.all {
		if home != nil {
			home.at = len(all)
			all = append(all, home)
		}
	}
	b.all = all
}

// came records an event of the key: @purge counts from the last one.
func (b *block) came(in *instance) {
	if now := b.e.env.Now; now != in.last || !in.dated {
		b.touched.touch(in.memories[0])
		in.last, in.dated = now, true
		b.await(in)
	}
}

// date sets the time of the last event of keys that an app without @purge stored without
// it, to the clock as it was loaded. It runs before the clock moves.
func (e *Engine) date() {
	e.undated = false
	for _, b := range e.blocks {
		if b.period == 0 {
			continue
		}
		b.each(func(in *instance) {
			if !in.dated {
				b.came(in)
			}
		})
	}
}

// await requests the @purge timer of a key, unless the heap has one already: that one is
// postponed when it is due.
func (b *block) await(in *instance) {
	if at, ok := in.forgetAt(); ok && !in.awaited {
		in.awaited = true
		b.e.timers.Push(pending{at: at, position: behindQueries, seq: in.place, key: in})
	}
}

// forgetAt returns when @purge forgets the key, ms of the app's clock; false for never.
func (in *instance) forgetAt() (int64, bool) {
	period := in.block.period
	if period == 0 || !in.dated || in.last > math.MaxInt64-period {
		return 0, false
	}
	return in.last + period, true
}
