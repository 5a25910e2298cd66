package engine

import "strings"

// dedup remembers the message ids of the last window ms of the log, so that a
// message that its publisher repeated is applied once. Ids leave in the order in
// which they came.
type dedup struct {
	window int64
	ids    map[string]struct{}
	queue  []stampedID // queue[gone:] are remembered
	gone   int
	arena  strings.Builder
}

type stampedID struct {
	at int64
	id string
}

func newDedup(window int64) *dedup {
	return &dedup{window: window, ids: map[string]struct{}{}}
}

// seen reports whether the id came within the window before ms at, and remembers
// it if it did not.
func (d *dedup) seen(id string, at int64) bool {
	if _, ok := d.ids[id]; ok {
		return true
	}
	id = d.keep(id)
	d.ids[id] = struct{}{}
	d.queue = append(d.queue, stampedID{at, id})
	return false
}

// keep copies an id into memory that it shares with its neighbours, which leave
// at about the same time.
func (d *dedup) keep(id string) string {
	const arenaBytes = 16 << 10
	if d.arena.Cap()-d.arena.Len() < len(id) {
		d.arena = strings.Builder{}
		d.arena.Grow(max(arenaBytes, len(id)))
	}
	start := d.arena.Len()
	d.arena.WriteString(id)
	return d.arena.String()[start:]
}

// forget drops the ids that came window ms or longer before now.
func (d *dedup) forget(now int64) {
	for d.gone < len(d.queue) && d.queue[d.gone].at <= now-d.window {
		delete(d.ids, d.queue[d.gone].id)
		d.queue[d.gone] = stampedID{}
		d.gone++
	}
	if d.gone > len(d.queue)/2 {
		d.queue = d.queue[:copy(d.queue, d.queue[d.gone:])]
		d.gone = 0
	}
}
