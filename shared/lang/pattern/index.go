package pattern

import "hash/maphash"

// index finds the matches that wait for an item by the hash of their key. The nodes with the same
// hash form a bucket: a list in order of arrival. The table uses open addressing and stores the
// match of each bucket's first node as an id. So most look-ups read one cache line of the table,
// and the garbage collector reads none of it.
type index struct {
	buckets []bucket
	used    int
}

// bucket is a slot of the table. match is the id of a match plus one; 0 means the slot is free.
type bucket struct{ hash, match uint32 }

var seed = maphash.MakeSeed()

func hashOf(key []byte) uint32 { return uint32(maphash.Bytes(seed, key)) }

// bucketsMin is the smallest table: one cache line.
const bucketsMin = 8

// at returns the slot of a hash, or the free slot where it would go.
func (x *index) at(hash uint32) *bucket {
	mask := uint32(len(x.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if b := &x.buckets[i]; b.match == 0 || b.hash == hash {
			return b
		}
	}
}

// first returns the first node that may have the key.
func (x *index) first(mc *Machine, item int, key []byte) *node {
	if x.used == 0 {
		return nil
	}
	b := x.at(hashOf(key))
	if b.match == 0 {
		return nil
	}
	return b.node(mc, item)
}

func (b *bucket) node(mc *Machine, item int) *node {
	m := mc.match(b.match - 1)
	if m.own.m != nil && m.own.item == item {
		return &m.own
	}
	for _, n := range m.nodes {
		if n.item == item {
			return n
		}
	}
	panic("pattern: the index names a match that does not wait")
}

// add appends a node to the bucket of its key.
func (x *index) add(mc *Machine, n *node) {
	if x.used+x.used/2 >= len(x.buckets) {
		x.resize(max(bucketsMin, 2*len(x.buckets)))
	}
	n.hash = hashOf(n.key)
	b := x.at(n.hash)
	if b.match == 0 {
		*b = bucket{n.hash, n.m.id + 1}
		n.tail = n
		x.used++
		return
	}
	head := b.node(mc, n.item)
	n.prev, head.tail.next, head.tail = head.tail, n, n
}

// drop removes a node from its bucket.
func (x *index) drop(mc *Machine, n *node) {
	switch {
	case n.prev != nil:
		n.prev.next = n.next
		if n.next != nil {
			n.next.prev = n.prev
		} else {
			x.at(n.hash).node(mc, n.item).tail = n.prev
		}
	case n.next != nil:
		n.next.prev, n.next.tail = nil, n.tail
		x.at(n.hash).match = n.next.m.id + 1
	default:
		x.free(n.hash)
	}
	n.prev, n.next, n.tail = nil, nil, nil
}

// free empties the slot of a hash. It moves up later entries whose hash belongs there or earlier,
// so that a search can stop at the first free slot.
func (x *index) free(hash uint32) {
	mask := uint32(len(x.buckets) - 1)
	hole := hash & mask
	for x.buckets[hole].hash != hash || x.buckets[hole].match == 0 {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; x.buckets[i].match != 0; i = (i + 1) & mask {
		if home := x.buckets[i].hash & mask; (i-home)&mask >= (i-hole)&mask {
			x.buckets[hole] = x.buckets[i]
			hole = i
		}
	}
	x.buckets[hole] = bucket{}
	if x.used--; len(x.buckets) > bucketsMin && x.used < len(x.buckets)/8 {
		x.resize(len(x.buckets) / 2)
	}
}

func (x *index) resize(size int) {
	old := x.buckets
	x.buckets = make([]bucket, size)
	for _, b := range old {
		if b.match != 0 {
			*x.at(b.hash) = b
		}
	}
}
