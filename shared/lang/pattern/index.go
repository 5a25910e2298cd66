package pattern

import "hash/maphash"

// index finds the matches that wait for an item by the hash of their key. The nodes with the same
// hash form a bucket: a list in order of arrival. The table uses open addressing. So most look-ups
// read one cache line of the table, and the garbage collector reads none of it.
type index struct {
	buckets []bucket
	used    int
}

// bucket is a slot of the table. head is the first node with the hash; none: the slot is free.
type bucket struct {
	hash uint32
	head ref
}

var seed = maphash.MakeSeed()

func hashOf(key []byte) uint32 { return uint32(maphash.Bytes(seed, key)) }

// bucketsMin is the smallest table: one cache line.
const bucketsMin = 8

// at returns the slot of a hash, or the free slot where it would go.
func (x *index) at(hash uint32) *bucket {
	mask := uint32(len(x.buckets) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		if b := &x.buckets[i]; b.head == none || b.hash == hash {
			return b
		}
	}
}

// find returns the first node with a hash, or none.
func (x *index) find(hash uint32) ref {
	if x.used == 0 {
		return none
	}
	return x.at(hash).head
}

// read reads the place where a hash is or would go. The result has no meaning.
func (x *index) read(hash uint32) uint32 {
	if len(x.buckets) == 0 {
		return 0
	}
	return x.buckets[hash&uint32(len(x.buckets)-1)].hash
}

// add appends a node to the bucket of its key.
func (x *index) add(mc *Machine, r ref, n *node) {
	if x.used+x.used/2 >= len(x.buckets) {
		x.resize(max(bucketsMin, 2*len(x.buckets)))
	}
	n.next = none
	b := x.at(n.hash)
	if b.head == none {
		*b = bucket{n.hash, r}
		n.flags |= first
		n.prev = r
		x.used++
		return
	}
	head := mc.node(b.head)
	n.prev = head.prev
	mc.node(head.prev).next = r
	head.prev = r
}

// drop removes a node from its bucket.
func (x *index) drop(mc *Machine, n *node) {
	switch {
	case n.flags&first == 0:
		mc.node(n.prev).next = n.next
		if n.next != none {
			mc.node(n.next).prev = n.prev
		} else {
			mc.node(x.at(n.hash).head).prev = n.prev
		}
	case n.next != none:
		x.at(n.hash).head = n.next
		next := mc.node(n.next)
		next.prev = n.prev
		next.flags |= first
	default:
		x.free(n.hash)
	}
}

// free empties the slot of a hash. It moves up later entries whose hash belongs there or earlier,
// so that a search can stop at the first free slot.
func (x *index) free(hash uint32) {
	mask := uint32(len(x.buckets) - 1)
	hole := hash & mask
	for x.buckets[hole].hash != hash || x.buckets[hole].head == none {
		hole = (hole + 1) & mask
	}
	for i := (hole + 1) & mask; x.buckets[i].head != none; i = (i + 1) & mask {
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
		if b.head != none {
			*x.at(b.hash) = b
		}
	}
}
