package pattern

import (
	"bytes"
	"hash/maphash"
)

// node is a match that waits for one item.
type node struct {
	m          *Match
	prev, next *node
	tail       *node // of the first node of a bucket: its last one
	item       int
	arrival    uint64 // orders the matches that wait; 0: the match is not stored
	born       uint64 // the tick in which it came
	key        []byte // the match's side of the equalities
	hash       uint64
	listed     bool // false: its key has a null, so that no event fits
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

// waiting is the matches of a key that wait for an item: in one list or, if the filter of
// the item has equalities, in a bucket for each value.
type waiting struct {
	list
	buckets map[uint64]*node
}

var seed = maphash.MakeSeed()

func (w *waiting) add(n *node, keyed bool) {
	n.listed = true
	if !keyed {
		w.append(n)
		return
	}
	n.hash = maphash.Bytes(seed, n.key)
	if w.buckets == nil {
		w.buckets = map[uint64]*node{}
	}
	head := w.buckets[n.hash]
	if head == nil {
		n.tail = n
		w.buckets[n.hash] = n
		return
	}
	n.prev, head.tail.next, head.tail = head.tail, n, n
}

func (w *waiting) drop(n *node, keyed bool) {
	if !n.listed {
		return
	}
	n.listed = false
	switch {
	case !keyed:
		w.remove(n)
		return
	case n.prev != nil:
		n.prev.next = n.next
		if n.next != nil {
			n.next.prev = n.prev
		} else {
			w.buckets[n.hash].tail = n.prev
		}
	case n.next != nil:
		n.next.prev, n.next.tail = nil, n.tail
		w.buckets[n.hash] = n.next
	default:
		delete(w.buckets, n.hash)
	}
	n.prev, n.next, n.tail = nil, nil, nil
}

// first returns the first node that may have the key.
func (w *waiting) first(key []byte) *node { return w.buckets[maphash.Bytes(seed, key)] }

func (n *node) fits(key []byte) bool { return bytes.Equal(n.key, key) }
