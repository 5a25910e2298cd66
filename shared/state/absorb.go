package state

import (
	"fmt"
	"slices"
)

// taking is a cut that is being made.
type taking struct {
	cut   *cut
	bytes arena
	gone  []int // places in cut.changes of entries that came and went between two cuts
}

// absorb looks at the entries whose keys were listed and brings index, sum and the
// list of dirty keys up to date. If the next cut is being made, values are taken at
// once, so that each is encoded only once.
func (c *Component) absorb() {
	for i := range c.keys.len() {
		c.look(c.keys.at(i), c.settled)
	}
	c.keys.reset()
}

// look compares an entry with what is known of it.
func (c *Component) look(key []byte, t *taking) {
	pair := appendPair(c.scratch[:0], key)
	head := len(pair)
	pair, present := c.source.Append(pair, key)
	c.scratch = pair

	place, known := c.index[string(key)]
	if !present {
		if known && c.known[place].live {
			r := &c.known[place]
			c.sum.remove(r.hash)
			r.live = false
			c.touch(place)
		}
		return
	}
	hash := hashPair(pair)
	if !known {
		place = c.newRecord(key)
	}
	r := &c.known[place]
	if r.live && r.hash == hash {
		return
	}
	if r.live {
		c.sum.remove(r.hash)
	}
	c.sum.add(hash)
	r.hash, r.live = hash, true
	c.touch(place)
	if t != nil {
		c.takeValue(r, pair[head:], t)
	}
}

func (c *Component) newRecord(key []byte) int32 {
	r := record{key: string(key)}
	c.bytes += int64(len(key))
	if n := len(c.free); n > 0 {
		place := c.free[n-1]
		c.free = c.free[:n-1]
		c.known[place] = r
		c.index[r.key] = place
		return place
	}
	place := int32(len(c.known))
	c.known = append(c.known, r)
	c.index[r.key] = place
	return place
}

// know takes over the records of entries that the source loads: they are hashed as they
// are loaded. To write all again costs more than to load it, and that a source writes
// what it has loaded is a law that tests hold it to.
func (c *Component) know(pieces []*Hashed) {
	for _, h := range pieces {
		c.sum.addAll(&h.sum)
		for i := range h.records {
			key := h.records[i].key
			c.index[key] = int32(len(c.known) + i)
			c.bytes += int64(len(key))
		}
		c.known = append(c.known, h.records...)
	}
}

// compareKeys returns an error unless the source has the keys that are known and no
// others, which is cheap to find out.
func (c *Component) compareKeys() error {
	ours, others := 0, 0
	c.source.Keys(func(key []byte) {
		// Sources mostly list keys in the order in which they came.
		if next := ours; next < len(c.known) && c.known[next].key == string(key) {
			ours++
		} else if _, ok := c.index[string(key)]; ok {
			ours++
		} else {
			others++
		}
	})
	if n := len(c.known); len(c.index) != n || ours != n || others > 0 {
		return &EntryError{c.info.ID, nil, fmt.Errorf("%d entries with %d keys were loaded; behind that there are %d, and %d others", n, len(c.index), ours, others)}
	}
	return nil
}

// knowSource makes records of what the source has, which is that of the last cut.
func (c *Component) knowSource() {
	c.source.Keys(c.keys.add)
	c.absorb()
	for _, place := range c.dirty {
		r := &c.known[place]
		r.dirty, r.old = false, true
	}
	c.dirty = c.dirty[:0]
}

func (c *Component) touch(place int32) {
	if r := &c.known[place]; !r.dirty {
		r.dirty = true
		c.dirty = append(c.dirty, place)
	}
}

// takeValue puts an entry into the cut, or replaces its value there.
func (c *Component) takeValue(r *record, value []byte, t *taking) {
	value = keep(&t.bytes, value)
	if r.taken > 0 {
		t.cut.changes[r.taken-1].Value = value
		return
	}
	t.cut.changes = append(t.cut.changes, Change{Key: keep(&t.bytes, r.key), Value: value})
	r.taken = int32(len(t.cut.changes))
}

// take puts what has become of a dirty key into the cut, unless it is there, and
// makes its record that of an entry at a cut.
func (c *Component) take(place int32, t *taking) {
	r := &c.known[place]
	switch {
	case !r.live:
		t.takeDeletion(r)
		delete(c.index, r.key)
		c.bytes -= int64(len(r.key))
		*r = record{}
		c.free = append(c.free, place)
		return
	case r.taken == 0:
		c.takeValue(r, c.value([]byte(r.key)), t)
	}
	r.taken, r.dirty, r.old = 0, false, true
}

// takeDeletion notes that an entry is gone; one that came after the last cut never
// was for those who read cuts.
func (t *taking) takeDeletion(r *record) {
	switch {
	case r.taken > 0 && r.old:
		c := &t.cut.changes[r.taken-1]
		c.Value, c.Deleted = nil, true
	case r.taken > 0:
		t.gone = append(t.gone, int(r.taken)-1)
	case r.old:
		t.cut.changes = append(t.cut.changes, Change{Key: keep(&t.bytes, r.key), Deleted: true})
	}
}

// finish ends the cut.
func (t *taking) finish() {
	slices.Sort(t.gone)
	for _, i := range slices.Backward(t.gone) { // the last takes the place of each
		last := len(t.cut.changes) - 1
		t.cut.changes[i] = t.cut.changes[last]
		t.cut.changes = t.cut.changes[:last]
	}
	t.cut.measure()
}

// measure sets the size of a cut that is complete.
func (c *cut) measure() {
	for i := range c.changes {
		c.size += changeBytes + int64(len(c.changes[i].Key)+len(c.changes[i].Value))
	}
}

const changeBytes = 56 // of a Change, beside what it refers to

// keyList copies keys one behind the other.
type keyList struct {
	bytes []byte
	ends  []int
}

func (l *keyList) add(key []byte) {
	l.bytes = append(l.bytes, key...)
	l.ends = append(l.ends, len(l.bytes))
}

func (l *keyList) len() int { return len(l.ends) }

func (l *keyList) at(i int) []byte {
	start := 0
	if i > 0 {
		start = l.ends[i-1]
	}
	return l.bytes[start:l.ends[i]]
}

func (l *keyList) reset() { l.bytes, l.ends = l.bytes[:0], l.ends[:0] }
