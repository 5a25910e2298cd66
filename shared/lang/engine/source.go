package engine

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// The state of an engine is made of components. Inside a partition block, the keys of a
// component start with the partition key, so that one component holds the state of all
// instances of a query.

// unitSource is the state of one unit of a query's memories, such as the windows.
type unitSource struct {
	q    *query
	part int
}

// unitSource returns the state of one unit of the query's memories.
func (q *query) unitSource(part int) state.Source {
	if q.block != nil {
		return unitsOfKeys{unitSource{q, part}}
	}
	return unitSource{q, part}
}

// prefix appends the prefix that the memory's keys have in the state.
func (s *memory) prefix(dst []byte) []byte {
	if s.home == nil {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.home.key)))
	return append(dst, s.home.key...)
}

// locate splits a key into the memory that it belongs to and the rest; nil if there is no
// such memory.
func (q *query) locate(key []byte) (*memory, []byte) {
	if q.block == nil {
		return q.memories[0], key
	}
	r := wire.New(key)
	home := q.block.byKey.M[string(r.Sized())]
	if r.Failed() || home == nil {
		return nil, nil
	}
	return home.memories[q.place], r.Rest()
}

// each calls visit with every memory of the query.
func (q *query) each(visit func(*memory)) {
	if q.block == nil {
		visit(q.memories[0])
		return
	}
	q.block.each(func(home *instance) { visit(home.memories[q.place]) })
}

// estimate adds up a size over the query's memories.
func (q *query) estimate(of func(*memory) int64) int64 {
	if q.block == nil {
		return of(q.memories[0])
	}
	return q.block.estimate(func(home *instance) int64 { return of(home.memories[q.place]) })
}

// estimate measures a sample of the instances and extrapolates to all of them, because it
// runs at barriers.
func (b *block) estimate(of func(*instance) int64) (n int64) {
	const some = 256
	every := len(b.all)/some + 1
	asked := int64(0)
	for i := 0; i < len(b.all); i += every {
		if home := b.all[i]; home != nil {
			n += of(home)
			asked++
		}
	}
	return n / max(asked, 1) * int64(len(b.byKey.M))
}

// Changed implements state.Source.
func (c unitSource) Changed(visit func(key []byte)) {
	c.q.touched[c.part].drain(func(s *memory) { s.unit(c.part).Changed(s.prefixed(visit)) }, visit)
}

// prefixed returns a function that calls visit with keys, the memory's prefix in front.
func (s *memory) prefixed(visit func(key []byte)) func(key []byte) {
	var scratch []byte
	return func(key []byte) {
		scratch = append(s.prefix(scratch[:0]), key...)
		visit(scratch)
	}
}

// end removes the entries of a memory that ends.
func (c unitSource) end(s *memory) {
	c.q.touched[c.part].remove(s, func(visit func(key []byte)) {
		u := s.unit(c.part)
		u.Changed(s.prefixed(visit))
		u.Keys(s.prefixed(visit))
	})
}

// Keys implements state.Source.
func (c unitSource) Keys(visit func(key []byte)) {
	var scratch []byte
	c.q.each(func(s *memory) {
		s.unit(c.part).Keys(func(key []byte) {
			scratch = append(s.prefix(scratch[:0]), key...)
			visit(scratch)
		})
	})
}

// Append implements state.Source.
func (c unitSource) Append(dst, key []byte) ([]byte, bool) {
	s, key := c.q.locate(key)
	if s == nil {
		return dst, false
	}
	return s.unit(c.part).Append(dst, key)
}

// Reset implements state.Source.
func (c unitSource) Reset() {
	c.q.each(func(s *memory) {
		s.unit(c.part).Reset()
		if x := s.indexer(c.part); x != nil {
			x.reset(c.part)
		}
		s.timer(c.part).set = false
	})
}

// PutsAtOnce implements state.Parallel, for units that implement it.
func (c unitSource) PutsAtOnce() (at bool) {
	c.q.each(func(s *memory) {
		p, ok := s.unit(c.part).(state.Parallel)
		at = ok && p.PutsAtOnce()
	})
	return at
}

// Room implements state.Roomy, if the entries belong to a single unit that implements it.
func (c unitSource) Room(entries int) {
	if c.q.block == nil {
		if r, ok := c.q.memories[0].unit(c.part).(state.Roomy); ok {
			r.Room(entries)
		}
	}
}

// Put implements state.Source.
func (c unitSource) Put(key, value []byte) error {
	s, key := c.q.locate(key)
	if s == nil {
		return fmt.Errorf("key %q has no partition; load the partition keys first", key)
	}
	return s.unit(c.part).Put(key, value)
}

// Ready implements state.Source. It asks for the timers again.
func (c unitSource) Ready() error {
	var errs []error
	c.q.each(func(s *memory) {
		if err := s.unit(c.part).Ready(); err != nil {
			errs = append(errs, err)
			return
		}
		if x := s.indexer(c.part); x != nil {
			x.loaded(c.part)
		}
		s.shown[c.part] = true
		// Units of other queries may be loaded at the same time.
		s.q.e.loading.Lock()
		defer s.q.e.loading.Unlock()
		s.reschedule(c.part)
	})
	return errors.Join(errs...)
}

// Bytes implements state.Source.
func (c unitSource) Bytes() int64 {
	return c.q.estimate(func(s *memory) int64 { return s.unit(c.part).Bytes() })
}

// keysSource is the list of a block's partition keys, each with its place in order of
// arrival.
type keysSource struct{ b *block }

// Changed implements state.Source.
func (c keysSource) Changed(visit func(key []byte)) {
	c.b.touched.drain(func(s *memory) { visit([]byte(s.home.key)) }, visit)
}

// Keys implements state.Source.
func (c keysSource) Keys(visit func(key []byte)) {
	c.b.each(func(home *instance) { visit([]byte(home.key)) })
}

// Append implements state.Source.
func (c keysSource) Append(dst, key []byte) ([]byte, bool) {
	home := c.b.byKey.M[string(key)]
	if home == nil {
		return dst, false
	}
	return c.b.appendKey(dst, home), true
}

// appendKey appends the value of a key's entry: its place, and the time of its last event
// if that is known.
func (b *block) appendKey(dst []byte, home *instance) []byte {
	dst = binary.AppendUvarint(dst, home.place)
	if home.dated {
		dst = binary.AppendVarint(dst, home.last)
	}
	return dst
}

// Reset implements state.Source. The state of the instances goes with them, including
// timers and changes.
func (c keysSource) Reset() {
	b := c.b
	b.each(func(home *instance) {
		home.gone = true
		for _, s := range home.memories {
			s.closePattern()
			for part := range units {
				s.timer(part).set = false
			}
		}
	})
	none := func([]byte) {}
	for _, q := range b.queries {
		for part := range q.touched {
			q.touched[part].drain(func(*memory) {}, none)
		}
	}
	b.touched.drain(func(*memory) {}, none)
	b.byKey, b.all, b.idle, b.counted = shrink.Map[string, *instance]{}, nil, 0, false
}

// Migrate implements state.Migrator. Version 1.0 did not store the time of a key's last
// event; 1.1 may lack it too.
func (c keysSource) Migrate(_ *semver.Version, key, value []byte) (newKey, newValue []byte, err error) {
	return key, value, nil
}

// Put implements state.Source.
func (c keysSource) Put(key, value []byte) error {
	r := wire.New(value)
	place := r.Uvarint()
	if r.Failed() || place > 1<<62 || c.b.byKey.M[string(key)] != nil {
		return fmt.Errorf("partition key %q is there twice, or has no place", key)
	}
	var last int64
	dated := r.Len() > 0
	if dated {
		last = r.Varint()
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("partition key %q: the time of its last event: %w", key, err)
	}
	home := c.b.instance(string(key))
	home.place, home.last, home.dated = place, last, dated
	return nil
}

// Ready implements state.Source.
func (c keysSource) Ready() error {
	b := c.b
	slices.SortFunc(b.all, func(x, y *instance) int { return cmp.Compare(x.place, y.place) })
	for i, home := range b.all {
		if i > 0 && home.place == b.all[i-1].place {
			return fmt.Errorf("partition keys %q and %q have the same place %d", b.all[i-1].key, home.key, home.place)
		}
		home.at = i
		home.memories[0].shown[partitionKeys] = true
		b.e.loading.Lock() // other components may be loaded at the same time
		b.await(home)
		b.e.undated = b.e.undated || !home.dated
		b.e.loading.Unlock()
	}
	return nil
}

// Bytes implements state.Source.
func (c keysSource) Bytes() int64 {
	return c.b.estimate(func(home *instance) int64 { return int64(len(home.key)) + 16 })
}

// fieldsSource is a component of a few numbers, stored as one entry.
type fieldsSource struct {
	name   string
	fields func(*window.Fields)
}

// Changed implements state.Source.
func (c fieldsSource) Changed(visit func(key []byte)) { c.Keys(visit) }

// Keys implements state.Source.
func (c fieldsSource) Keys(visit func(key []byte)) { visit([]byte(c.name)) }

// Append implements state.Source.
func (c fieldsSource) Append(dst, key []byte) ([]byte, bool) {
	if string(key) != c.name {
		return dst, false
	}
	return window.WriteFields(dst, c.fields), true
}

// Reset implements state.Source.
func (c fieldsSource) Reset() { window.ClearFields(c.fields) }

// Put implements state.Source.
func (c fieldsSource) Put(key, value []byte) error {
	if string(key) != c.name {
		return fmt.Errorf("unknown key %q", key)
	}
	return window.ReadFields(value, c.fields)
}

// Ready implements state.Source.
func (c fieldsSource) Ready() error { return nil }

// Bytes implements state.Source.
func (c fieldsSource) Bytes() int64 { return 32 }
