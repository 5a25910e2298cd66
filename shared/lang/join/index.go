// Package join finds the rows of one source of a join that match a row of the other. It keeps
// an index of rows by the hash of their keys; the rows themselves are in windows and tables.
package join

import "github.com/eventflux/eventflux/shared/lang/wordmap"

// Index lists rows by the hash of their key, each list in an order that the caller gives. Rows
// of different keys may have the same hash: the caller compares keys.
type Index struct {
	chains *wordmap.Map[chain]
	links  []link // the first one is not used
	free   int32  // the first unused link, or none
}

// chain is a list of rows with one hash. Its ends are places in links.
type chain struct{ first, last int32 }

type link struct {
	id         uint64
	prev, next int32
}

const none = 0

// New returns an empty index.
func New() *Index { return &Index{chains: wordmap.New[chain](), links: make([]link, 1)} }

// Len returns the number of different hashes.
func (x *Index) Len() int { return x.chains.Len() }

// Reset removes all rows.
func (x *Index) Reset() {
	x.chains.Reset()
	x.links, x.free = x.links[:1], none
}

// Add lists a row. before reports whether one row comes before another; most rows come last.
func (x *Index) Add(hash, id uint64, before func(a, b uint64) bool) {
	at := x.link(id)
	c := x.chains.At(hash)
	if c.first == none {
		*c = chain{at, at}
		return
	}
	prev := c.last
	for prev != none && before(id, x.links[prev].id) {
		prev = x.links[prev].prev
	}
	l := &x.links[at]
	l.prev = prev
	if prev == none {
		l.next, c.first = c.first, at
	} else {
		l.next, x.links[prev].next = x.links[prev].next, at
	}
	if l.next == none {
		c.last = at
	} else {
		x.links[l.next].prev = at
	}
}

func (x *Index) link(id uint64) int32 {
	if at := x.free; at != none {
		x.free = x.links[at].next
		x.links[at] = link{id, none, none}
		return at
	}
	x.links = append(x.links, link{id, none, none})
	return int32(len(x.links) - 1)
}

// Remove removes a row; false if it is not listed. Rows that are among the first of their key
// are found soonest.
func (x *Index) Remove(hash, id uint64) bool {
	c := x.chains.Present(hash)
	if c == nil {
		return false
	}
	at := c.first
	for x.links[at].id != id {
		if at = x.links[at].next; at == none {
			return false
		}
	}
	l := x.links[at]
	switch {
	case l.prev != none:
		x.links[l.prev].next = l.next
	case l.next != none:
		c.first = l.next
	}
	switch {
	case l.next != none:
		x.links[l.next].prev = l.prev
	case l.prev != none:
		c.last = l.prev
	default:
		x.chains.Remove(hash)
	}
	x.links[at].next = x.free
	x.free = at
	return true
}

// First returns the place of the first row with a hash, for At and Next; false if there is none.
func (x *Index) First(hash uint64) (place int32, ok bool) {
	place = x.chains.Get(hash).first
	return place, place != none
}

// At returns the row at a place.
func (x *Index) At(place int32) (id uint64) { return x.links[place].id }

// Next returns the place after another; false if that was the last.
func (x *Index) Next(place int32) (int32, bool) {
	n := x.links[place].next
	return n, n != none
}

// Bytes estimates the memory of the index.
func (x *Index) Bytes() int64 { return int64(cap(x.links))*16 + x.chains.Bytes() }
