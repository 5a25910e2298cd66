package pattern

// With a million matches, most of what an event needs is in memory that no cache holds: a slot of
// the index, the match, its events, its position in the list of matches. One after another, these
// reads take longer than all the rest. So a caller with several events announces them first, and
// Prefetch reads the same things for all of them, where the processor reads them at the same time.
// This changes no result.

// Announced is how many events are worth announcing at once.
const Announced = 32

// prefetchMin is how many matches there must be for prefetching to pay.
const prefetchMin = 20_000

// ahead is what announced events look for.
type ahead struct {
	lookups []lookup
	sum     uint32 // keeps the reads
}

// lookup is a place of the index of an item.
type lookup struct {
	item  int
	hash  uint32
	head  ref
	enter bool // a match may be added there; otherwise the event looks for the matches there
}

// Prefetches reports whether there are so many matches that events should be announced.
func (x *Matcher) Prefetches() bool { return len(x.entries.all) >= prefetchMin }

// Announce says that an event will be received soon.
func (x *Matcher) Announce(stream int, e *Event) {
	mc := x.mc
	for _, i := range mc.byStream[stream] {
		item := &mc.Items[i]
		finds := item.Keyed && x.waiting[i].used > 0
		if !finds && len(item.Feeds) == 0 || item.Own && !mc.eval.Own(i, e) {
			continue
		}
		var ok bool
		if finds {
			if mc.key, ok = mc.eval.Key(i, e, mc.key[:0]); ok {
				mc.ahead.lookups = append(mc.ahead.lookups, lookup{item: i, hash: hashOf(mc.key)})
			}
		}
		for n, next := range item.Feeds {
			if mc.key, ok = mc.eval.Fed(i, n, e, mc.key[:0]); ok {
				mc.ahead.lookups = append(mc.ahead.lookups, lookup{item: next, hash: hashOf(mc.key), enter: true})
			}
		}
	}
}

// Prefetch reads what the announced events will need. Each loop reads independent things, and the
// first one has no branch that depends on them: it would keep the processor from reading ahead.
func (x *Matcher) Prefetch() {
	mc, a := x.mc, &x.mc.ahead
	for i := range a.lookups {
		l := &a.lookups[i]
		a.sum += x.waiting[l.item].read(l.hash)
	}
	found := a.lookups[:0]
	for _, l := range a.lookups {
		if l.enter {
			continue
		}
		if l.head = x.waiting[l.item].find(l.hash); l.head != none {
			found = append(found, l)
		}
	}
	for i := range found {
		m := mc.matchOf(found[i].head)
		a.sum += m.place + m.own.hash
	}
	for i := range found {
		m := mc.matchOf(found[i].head)
		if m.size > 0 {
			a.sum += uint32(mc.memory.bytes(m.events)[0])
		}
		if n := mc.node(found[i].head); n.keyBytes == longKey {
			a.sum += uint32(mc.memory.bytes(block(n.key))[0])
		}
		if mc.waits {
			a.sum += mc.deadlines(m.id).gen[0]
		}
		if int(m.place) < len(x.entries.all) {
			a.sum += x.entries.all[m.place].match
		}
	}
	a.lookups = a.lookups[:0]
}
