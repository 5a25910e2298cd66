package pattern

import (
	"bytes"
	"encoding/binary"
)

// node is a match that waits for one item.
type node struct {
	arrival    uint64 // orders the waiting matches; 0: the match is not stored
	born       uint64 // the tick of its arrival
	key        uint64 // the match's side of the equalities; a long one is a block and its length
	prev, next ref    // prev of the first node of a bucket is the last one
	sibling    ref    // the next node of the same match
	hash       uint32
	item       uint16
	keyBytes   uint8 // of a short key; or longKey
	flags      nodeFlags
}

type nodeFlags uint8

const (
	used   nodeFlags = 1 << iota
	listed           // if not, its key has a null, so no event fits
	first            // of a bucket
)

const (
	shortKeyMax = 8 // bytes that fit into node.key
	longKey     = shortKeyMax + 1
)

// ref names a node: the match whose own node it is, from 1, or a further one.
type ref uint32

const (
	none    ref = 0
	further ref = 1 << 31
)

// furtherNode is a node of a match that waits for more than one item.
type furtherNode struct {
	node
	match uint32
}

const nodesPerSlab = 64

func (mc *Machine) node(r ref) *node {
	if r&further == 0 {
		return &mc.match(uint32(r - 1)).own
	}
	return &mc.further(r).node
}

func (mc *Machine) further(r ref) *furtherNode {
	r &^= further
	return &mc.furthers[r/nodesPerSlab][r%nodesPerSlab]
}

// matchOf returns the match of a node.
func (mc *Machine) matchOf(r ref) *match {
	if r&further == 0 {
		return mc.match(uint32(r - 1))
	}
	return mc.match(mc.further(r).match)
}

// addNode adds a node for an item to a match. The nodes of a match are in order of items.
func (mc *Machine) addNode(m *match, item uint16) (ref, *node) {
	r := ref(m.id + 1)
	if m.own.flags&used != 0 {
		r = mc.allocNode(m)
	}
	at := &m.nodes
	for *at != none && mc.node(*at).item < item {
		at = &mc.node(*at).sibling
	}
	n := mc.node(r)
	n.item, n.sibling, n.flags = item, *at, used
	*at = r
	return r, n
}

func (mc *Machine) allocNode(m *match) ref {
	if len(mc.freeNodes) == 0 {
		first := ref(len(mc.furthers) * nodesPerSlab)
		mc.furthers = append(mc.furthers, new([nodesPerSlab]furtherNode))
		for i := ref(nodesPerSlab); i > 0; i-- {
			mc.freeNodes = append(mc.freeNodes, further|(first+i-1))
		}
	}
	last := len(mc.freeNodes) - 1
	r := mc.freeNodes[last]
	mc.freeNodes = mc.freeNodes[:last]
	mc.further(r).match = m.id
	return r
}

// list is the matches that wait for an item without equalities, in order of arrival.
type list struct{ head, tail ref }

func (l *list) append(mc *Machine, r ref, n *node) {
	n.prev, n.next = l.tail, none
	if l.tail == none {
		l.head = r
	} else {
		mc.node(l.tail).next = r
	}
	l.tail = r
}

func (l *list) remove(mc *Machine, n *node) {
	if n.prev == none {
		l.head = n.next
	} else {
		mc.node(n.prev).next = n.next
	}
	if n.next == none {
		l.tail = n.prev
	} else {
		mc.node(n.next).prev = n.prev
	}
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
	case n.flags&listed == 0:
	case mc.Items[n.item].Keyed:
		w.index.drop(mc, n)
	default:
		w.remove(mc, n)
	}
}

// waitLists holds the matches of a key that wait, by item.
type waitLists []waiting

// add makes a match wait for an item.
func (w *waitLists) add(mc *Machine, m *match, i int, arrival uint64) {
	r, n := mc.addNode(m, uint16(i))
	n.arrival, n.born = arrival, mc.tick
	list := &(*w)[i]
	if !mc.Items[i].Keyed {
		n.flags |= listed
		list.append(mc, r, n)
		return
	}
	var ok bool
	if mc.held, ok = mc.eval.Held(i, Match{mc, m}, mc.held[:0]); ok {
		n.flags |= listed
		mc.setKey(n, mc.held)
		list.index.add(mc, r, n)
	}
}

// drop removes a node from its list, and resets it. The caller removes it from its match.
func (w *waitLists) drop(mc *Machine, r ref, n *node) {
	(*w)[n.item].drop(mc, n)
	if n.keyBytes == longKey {
		mc.memory.release(block(n.key))
	}
	*n = node{}
	if r&further != 0 {
		mc.freeNodes = append(mc.freeNodes, r)
	}
}

// stop removes a match from the lists of an item.
func (w *waitLists) stop(mc *Machine, m *match, item int) {
	w.stopAll(mc, m, func(n *node) bool { return int(n.item) == item })
}

// stopBefore removes a match from the lists of the steps before the given one.
func (w *waitLists) stopBefore(mc *Machine, m *match, step int) {
	w.stopAll(mc, m, func(n *node) bool { return mc.Items[n.item].step < step })
	m.lo = uint16(step)
}

// stopAll removes the nodes of a match that gone names.
func (w *waitLists) stopAll(mc *Machine, m *match, gone func(*node) bool) {
	for at := &m.nodes; *at != none; {
		r := *at
		n := mc.node(r)
		if !gone(n) {
			at = &n.sibling
			continue
		}
		*at = n.sibling
		w.drop(mc, r, n)
	}
}

// stopEverywhere removes a match that ends from all lists.
func (w *waitLists) stopEverywhere(mc *Machine, m *match) {
	for r := m.nodes; r != none; {
		n := mc.node(r)
		next := n.sibling
		w.drop(mc, r, n)
		r = next
	}
}

// setKey sets the key of a node, and its hash.
func (mc *Machine) setKey(n *node, key []byte) {
	n.hash = hashOf(key)
	if len(key) <= shortKeyMax {
		n.key, n.keyBytes = shortKey(key), uint8(len(key))
		return
	}
	b := mc.memory.alloc(len(key))
	copy(mc.memory.bytes(b), key)
	n.key, n.keyBytes = uint64(b)|uint64(len(key))<<32, longKey
}

func shortKey(key []byte) uint64 {
	if len(key) == shortKeyMax {
		return binary.LittleEndian.Uint64(key)
	}
	var all [shortKeyMax]byte
	copy(all[:], key)
	return binary.LittleEndian.Uint64(all[:])
}

// probe is the key of an event.
type probe struct {
	key   []byte
	short uint64 // if the key is
	hash  uint32
}

func newProbe(key []byte) probe {
	p := probe{key: key, hash: hashOf(key)}
	if len(key) <= shortKeyMax {
		p.short = shortKey(key)
	}
	return p
}

// fits reports whether a node has the key.
func (mc *Machine) fits(n *node, p *probe) bool {
	if n.keyBytes != longKey {
		return int(n.keyBytes) == len(p.key) && n.key == p.short
	}
	return int(n.key>>32) == len(p.key) && bytes.Equal(mc.memory.bytes(block(n.key))[:len(p.key)], p.key)
}
