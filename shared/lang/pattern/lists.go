package pattern

import (
	"bytes"
)

// node is a match that waits for one item.
type node struct {
	m          *Match
	prev, next *node
	tail       *node // of the first node of a bucket: the last node
	item       int
	arrival    uint64 // orders the waiting matches; 0: the match is not stored
	born       uint64 // the tick of its arrival
	key        []byte // the match's side of the equalities
	short      [16]byte
	hash       uint32
	listed     bool // false: its key has a null, so no event fits
}

// clear resets a node, but keeps its memory.
func (n *node) clear() {
	n.m, n.prev, n.next, n.tail = nil, nil, nil, nil
	n.item, n.arrival, n.born, n.hash, n.listed = 0, 0, 0, 0, false
}

// list is the matches that wait for an item without equalities, in order of arrival.
type list struct{ head, tail *node }

func (l *list) append(n *node) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
}

func (l *list) remove(n *node) {
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}

// waiting holds the matches of a key that wait for an item: in one list or, if the item's filter
// has equalities, in one bucket per value.
type waiting struct {
	list
	index
}

// drop removes a node from the list or its bucket.
func (w *waiting) drop(mc *Machine, n *node) {
	switch {
	case !n.listed:
		return
	case mc.Items[n.item].Keyed:
		w.index.drop(mc, n)
	default:
		w.remove(n)
	}
	n.listed = false
}

func (n *node) fits(key []byte) bool { return bytes.Equal(n.key, key) }
