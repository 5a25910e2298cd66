package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// aggregateSource is the state of a query's aggregators: an entry for each group,
// and one for each segment of an aggregator that has segments with names. Keys of groups
// are in groupstate.go.
type aggregateSource struct{ q *query }

const (
	// ungrouped is the key of the one group of a query without group by.
	ungrouped = "u"
	// keyOfSegment is the first byte of the key of a segment, where the key of a group has its
	// kind.
	keyOfSegment = 'p'
)

// Changed implements state.Source.
func (c aggregateSource) Changed(visit func(key []byte)) {
	c.q.touched[aggregates].drain(func(s *memory) { c.changed(s, visit) }, visit)
}

// changed calls visit with the keys of a memory's entries that have changed.
func (c aggregateSource) changed(s *memory, visit func(key []byte)) {
	var scratch []byte
	c.changedBeside(s, visit)
	if s.groups == nil {
		visit(append(s.prefix(scratch[:0]), ungrouped...))
		return
	}
	s.groups.changed(func(key []byte) {
		scratch = append(s.prefix(scratch[:0]), key...)
		visit(scratch)
	}, s.segmentsTo(visit))
}

// changedBeside calls visit with the keys of a memory's segments that have changed.
func (c aggregateSource) changedBeside(s *memory, visit func(key []byte)) {
	eachKey(s.gone, visit)
	s.gone = shrink.Reset(s.gone)
	s.changedSegments(visit)
}

// changedSegments calls visit with the keys of the segments that aggregators say have
// changed.
func (s *memory) changedSegments(visit func(key []byte)) {
	var scratch []byte
	for n, a := range s.segmented {
		if a == nil {
			continue
		}
		a.ChangedSegments(func(slot int, name []byte) {
			if s.groups == nil || s.groups.keys[slot].kind != noKey {
				scratch = s.segmentKey(scratch[:0], slot, n, name)
				visit(scratch)
			}
		})
	}
}

// keepSegments saves the keys of the changed segments, before their groups are forgotten and
// other groups get their slots.
func (s *memory) keepSegments() {
	if s.groups.round > 0 {
		s.changedSegments(func(key []byte) {
			start := len(s.gone)
			s.gone = lengthBefore(append(s.gone, key...), start)
		})
	}
}

// Keys implements state.Source.
func (c aggregateSource) Keys(visit func(key []byte)) {
	c.q.each(func(s *memory) { c.keys(s, visit) })
}

func (c aggregateSource) keys(s *memory, visit func(key []byte)) {
	var scratch []byte
	segments := s.segmentsTo(visit)
	if s.groups == nil {
		visit(append(s.prefix(scratch[:0]), ungrouped...))
		segments(0)
		return
	}
	s.groups.each(func(slot int, key []byte) {
		scratch = append(s.prefix(scratch[:0]), key...)
		visit(scratch)
		segments(slot)
	})
}

// end removes the entries of a memory that ends. If its groups are frozen, it first passes
// them to tell.
func (c aggregateSource) end(s *memory) {
	c.q.touched[aggregates].remove(s, func(visit func(key []byte)) {
		if g := s.groups; g != nil && g.frozen.tell != nil {
			f := &c.q.freezing
			g.thaw(math.MaxInt, func(key []byte) { f.tell(append(s.prefix(f.key[:0]), key...), nil, false) })
		}
		c.changed(s, visit)
		c.keys(s, visit)
	})
}

// segmentsTo returns a function that calls visit with the keys of a group's segments. It is made
// once for all groups; most groups have no segments.
func (s *memory) segmentsTo(visit func(key []byte)) func(slot int) {
	var scratch []byte
	of, agg := 0, 0
	one := func(name []byte) {
		scratch = s.segmentKey(scratch[:0], of, agg, name)
		visit(scratch)
	}
	return func(slot int) {
		of = slot
		for n, a := range s.segmented {
			if a != nil {
				agg = n
				a.Segments(slot, one)
			}
		}
	}
}

// segmentKey appends the key of a segment of an aggregator.
func (s *memory) segmentKey(dst []byte, slot, agg int, name []byte) []byte {
	dst = append(s.prefix(dst), keyOfSegment)
	if s.groups == nil {
		dst = append(append(dst, byte(len(ungrouped))), ungrouped...)
	} else {
		dst = s.groups.keys[slot].append(dst)
	}
	return append(binary.AppendUvarint(dst, uint64(agg)), name...)
}

// splitSegmentKey splits the rest of a segment's key, after the partition key.
func (s *memory) splitSegmentKey(key []byte) (group []byte, agg aggregate.Segmented, name []byte, err error) {
	r := wire.New(key[1:])
	group = r.Sized()
	i := r.Uvarint()
	if r.Len() == 0 || i >= uint64(len(s.segmented)) || s.segmented[i] == nil {
		return nil, nil, nil, fmt.Errorf("key %q of a segment is cut off, or there is no such aggregator", key)
	}
	return group, s.segmented[i], r.Rest(), nil
}

func isSegment(key []byte) bool { return len(key) > 0 && key[0] == keyOfSegment }

// Append implements state.Source. The value of a group is its number of rows and the state
// of each aggregator.
func (c aggregateSource) Append(dst, key []byte) ([]byte, bool) {
	s, key := c.q.locate(key)
	if s == nil {
		return dst, false
	}
	if isSegment(key) {
		group, a, name, err := s.splitSegmentKey(key)
		if err != nil {
			return dst, false
		}
		slot, _, ok := s.find(group)
		if !ok {
			return dst, false
		}
		return a.AppendSegment(dst, slot, name)
	}
	slot, rows, ok := s.find(key)
	if !ok {
		return dst, false
	}
	return s.appendGroupState(dst, slot, rows), true
}

func (s *memory) appendGroupState(dst []byte, slot int, rows uint64) []byte {
	dst = binary.AppendUvarint(dst, rows)
	for n, a := range s.aggs {
		start := len(dst)
		if segmented := s.segmented[n]; segmented != nil {
			dst, _ = segmented.AppendSegment(dst, slot, nil)
		} else {
			dst = a.AppendState(dst, slot)
		}
		dst = lengthBefore(dst, start)
	}
	return dst
}

// find returns the slot of a group that has rows, and their number as it is stored; slot 0 without group
// by.
func (s *memory) find(group []byte) (slot int, rows uint64, ok bool) {
	if s.groups == nil {
		return 0, 0, string(group) == ungrouped
	}
	if slot, ok = s.groups.find(group); !ok || s.groups.slots[slot].rows == 0 {
		return 0, 0, false
	}
	return slot, s.groups.rowsCode(s.groups.slots[slot].rows), true
}

// lengthBefore puts the length of dst[start:] in front of it.
func lengthBefore(dst []byte, start int) []byte {
	if n := len(dst) - start; n < 0x80 {
		dst = append(dst, 0)
		copy(dst[start+1:], dst[start:])
		dst[start] = byte(n)
		return dst
	}
	var size [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(size[:], uint64(len(dst)-start))
	dst = append(dst, size[:n]...)
	copy(dst[start+n:], dst[start:len(dst)-n])
	copy(dst[start:], size[:n])
	return dst
}

// eachKey calls visit with keys that have their lengths in front.
func eachKey(list []byte, visit func(key []byte)) {
	for r := wire.New(list); r.Len() > 0; {
		visit(r.Sized())
	}
}

func firstKey(list []byte) (key, rest []byte) {
	r := wire.New(list)
	return r.Sized(), r.Rest()
}

// Reset implements state.Source.
func (c aggregateSource) Reset() {
	c.q.each(func(s *memory) {
		if s.groups == nil {
			s.clear(0)
		} else {
			s.groups.reset(s.clear)
			s.groups.forgetAll(s.clear)
		}
		for _, a := range s.segmented {
			if a != nil {
				a.ChangedSegments(func(int, []byte) {})
			}
		}
		s.gone = nil
	})
}

// Room implements state.Roomy, if all entries belong to one memory. Most entries are
// groups; an entry of a segment takes more memory than a group does.
func (c aggregateSource) Room(entries int) {
	if c.q.block != nil || c.q.memories[0].groups == nil {
		return
	}
	s := c.q.memories[0]
	s.groups.room(entries)
	for _, a := range s.aggs {
		a.Clear(entries - 1) // which makes all slots up to it at once
	}
}

// Put implements state.Source.
func (c aggregateSource) Put(key, value []byte) error {
	s, key := c.q.locate(key)
	if s == nil {
		return fmt.Errorf("key %q has no partition; load the partition keys first", key)
	}
	if isSegment(key) {
		return s.putSegment(key, value)
	}
	r := wire.New(value)
	rows := r.Uvarint()
	if r.Failed() || rows > 1<<62 || (rows == 0) != (s.groups == nil) {
		return fmt.Errorf("group %q: a number of rows of %d", key, rows)
	}
	slot, err := s.load(key, s.groups.rowsOf(rows))
	if err != nil {
		return err
	}
	for i, a := range s.aggs {
		own := r.Sized()
		if r.Failed() {
			return fmt.Errorf("group %q: aggregator %d: %w", key, i, r.Err())
		}
		if segmented := s.segmented[i]; segmented != nil {
			err = segmented.LoadSegment(slot, nil, own)
		} else {
			err = a.LoadState(slot, own)
		}
		if err != nil {
			return fmt.Errorf("group %q: aggregator %d: %w", key, i, err)
		}
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("group %q: %w", key, err)
	}
	return nil
}

// load returns the slot of a group that is being loaded. Without rows, the entry is a segment
// of the group, which may come first.
func (s *memory) load(group []byte, rows int64) (int, error) {
	if s.groups != nil {
		return s.groups.load(group, rows)
	}
	if string(group) != ungrouped {
		return 0, fmt.Errorf("key %q, and the query has no groups", group)
	}
	return 0, nil
}

func (s *memory) putSegment(key, value []byte) error {
	group, a, name, err := s.splitSegmentKey(key)
	if err != nil {
		return err
	}
	slot, err := s.load(group, 0)
	if err != nil {
		return err
	}
	if err := a.LoadSegment(slot, name, value); err != nil {
		return fmt.Errorf("group %q: %w", group, err)
	}
	return nil
}

// Ready implements state.Source.
func (c aggregateSource) Ready() (err error) {
	c.q.each(func(s *memory) {
		s.shown[aggregates] = true
		for n, a := range s.segmented {
			if a != nil && err == nil {
				err = s.checkSegments(n, a)
			}
		}
	})
	return err
}

func (s *memory) checkSegments(n int, a aggregate.Segmented) error {
	slots := 1
	if s.groups != nil {
		slots = len(s.groups.keys)
	}
	for slot := range slots {
		if s.groups != nil && s.groups.keys[slot].kind != noKey && s.groups.slots[slot].rows == 0 {
			return fmt.Errorf("group %q has segments and no rows", s.groups.keys[slot].encode(nil))
		}
		if err := a.CheckSegments(slot); err != nil {
			return fmt.Errorf("aggregator %d: %w", n, err)
		}
	}
	return nil
}

// Bytes implements state.Source.
func (c aggregateSource) Bytes() int64 {
	const perGroup = 64 // a key, and a few numbers for each aggregator
	return c.q.estimate(func(s *memory) int64 {
		groups, keys := int64(1), int64(0)
		if s.groups != nil {
			groups = int64(len(s.groups.keys) - len(s.groups.free))
			keys = s.groups.keyBytes()
		}
		n := groups*perGroup*int64(len(s.aggs)) + keys
		for _, a := range s.aggs {
			if sized, ok := a.(aggregate.Sized); ok {
				n += sized.Bytes()
			}
		}
		return n
	})
}
