package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"eventflux/shared/state"
	"eventflux/shared/window"
)

// The state of an engine is made of components. Inside a partition block a key of
// a component begins with the partition key, so that one component holds the
// state of all of a query's instances.

// windowSource is the state of a query's windows.
type windowSource struct{ q *query }

// prefix appends what the keys of the state begin with.
func (s *memory) prefix(dst []byte) []byte {
	if s.home == nil {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.home.key)))
	return append(dst, s.home.key...)
}

// locate splits a key into the state that it belongs to and the rest; nil if
// there is none.
func (q *query) locate(key []byte) (*memory, []byte) {
	if q.block == nil {
		return q.memories[0], key
	}
	size, n := binary.Uvarint(key)
	if n <= 0 || size > uint64(len(key)-n) {
		return nil, nil
	}
	home := q.block.byKey[string(key[n:n+int(size)])]
	if home == nil {
		return nil, nil
	}
	return home.memories[q.place], key[n+int(size):]
}

// each calls visit with every state of the query.
func (q *query) each(visit func(*memory)) {
	if q.block == nil {
		visit(q.memories[0])
		return
	}
	for _, home := range q.block.all {
		visit(home.memories[q.place])
	}
}

// estimate adds up what is told of the query's memories.
func (q *query) estimate(of func(*memory) int64) int64 {
	if q.block == nil {
		return of(q.memories[0])
	}
	return estimate(q.block.all, func(home *instance) int64 { return of(home.memories[q.place]) })
}

// estimate adds up what is told of some of many, and takes the others to be as they
// are: it is asked for at barriers.
func estimate(all []*instance, of func(*instance) int64) (n int64) {
	const some = 256
	every := len(all)/some + 1
	asked := int64(0)
	for i := 0; i < len(all); i += every {
		n += of(all[i])
		asked++
	}
	return n / max(asked, 1) * int64(len(all))
}

// Changed implements state.Source.
func (c windowSource) Changed(visit func(key []byte)) {
	var scratch []byte
	c.q.touched[windows].drain(func(s *memory) {
		s.win.Changed(func(key []byte) {
			scratch = append(s.prefix(scratch[:0]), key...)
			visit(scratch)
		})
	})
}

// Keys implements state.Source.
func (c windowSource) Keys(visit func(key []byte)) {
	var scratch []byte
	c.q.each(func(s *memory) {
		s.win.Keys(func(key []byte) {
			scratch = append(s.prefix(scratch[:0]), key...)
			visit(scratch)
		})
	})
}

// Append implements state.Source.
func (c windowSource) Append(dst, key []byte) ([]byte, bool) {
	s, key := c.q.locate(key)
	if s == nil {
		return dst, false
	}
	return s.win.Append(dst, key)
}

// Reset implements state.Source.
func (c windowSource) Reset() {
	c.q.each(func(s *memory) {
		s.win.Reset()
		s.timed = false
	})
}

// PutsAtOnce implements state.Parallel, where windows of this kind do.
func (c windowSource) PutsAtOnce() (at bool) {
	c.q.each(func(s *memory) {
		p, ok := s.win.(state.Parallel)
		at = ok && p.PutsAtOnce()
	})
	return at
}

// Room implements state.Roomy, where the entries are of one window that does.
func (c windowSource) Room(entries int) {
	if c.q.block == nil {
		if r, ok := c.q.memories[0].win.(state.Roomy); ok {
			r.Room(entries)
		}
	}
}

// Put implements state.Source.
func (c windowSource) Put(key, value []byte) error {
	s, key := c.q.locate(key)
	if s == nil {
		return fmt.Errorf("key %q has no partition; load the partition keys first", key)
	}
	return s.win.Put(key, value)
}

// Ready implements state.Source. Timers are asked for anew.
func (c windowSource) Ready() error {
	var errs []error
	c.q.each(func(s *memory) {
		if err := s.win.Ready(); err != nil {
			errs = append(errs, err)
			return
		}
		// Windows of other queries may be loaded at the same time.
		s.q.e.loading.Lock()
		defer s.q.e.loading.Unlock()
		s.reschedule()
	})
	return errors.Join(errs...)
}

// Bytes implements state.Source.
func (c windowSource) Bytes() int64 {
	return c.q.estimate(func(s *memory) int64 { return s.win.Bytes() })
}

// keysSource is the list of a block's partition keys, each with its place in the
// order in which they came.
type keysSource struct{ b *block }

// Changed implements state.Source.
func (c keysSource) Changed(visit func(key []byte)) {
	for _, home := range c.b.all[c.b.shown:] {
		visit([]byte(home.key))
	}
	c.b.shown = len(c.b.all)
}

// Keys implements state.Source.
func (c keysSource) Keys(visit func(key []byte)) {
	for _, home := range c.b.all {
		visit([]byte(home.key))
	}
}

// Append implements state.Source.
func (c keysSource) Append(dst, key []byte) ([]byte, bool) {
	home := c.b.byKey[string(key)]
	if home == nil {
		return dst, false
	}
	return appendPlace(dst, home), true
}

func appendPlace(dst []byte, home *instance) []byte {
	return binary.AppendUvarint(dst, uint64(home.place))
}

// Reset implements state.Source. What the instances remembered goes with them,
// timers and changes included.
func (c keysSource) Reset() {
	for _, home := range c.b.all {
		for _, s := range home.memories {
			s.timed = false
		}
	}
	for _, q := range c.b.queries {
		for part := range q.touched {
			q.touched[part].drain(func(*memory) {})
		}
	}
	c.b.byKey, c.b.all, c.b.shown = map[string]*instance{}, nil, 0
}

// Put implements state.Source.
func (c keysSource) Put(key, value []byte) error {
	place, n := binary.Uvarint(value)
	if n <= 0 || n != len(value) || place > math.MaxInt32 || c.b.byKey[string(key)] != nil {
		return fmt.Errorf("partition key %q is there twice, or has no place", key)
	}
	c.b.instance(string(key)).place = int(place)
	return nil
}

// Ready implements state.Source.
func (c keysSource) Ready() error {
	ordered := make([]*instance, len(c.b.all))
	for _, home := range c.b.all {
		if home.place >= len(ordered) || ordered[home.place] != nil {
			return fmt.Errorf("partition key %q: place %d of %d", home.key, home.place, len(ordered))
		}
		ordered[home.place] = home
	}
	c.b.all, c.b.shown = ordered, len(ordered)
	return nil
}

// Bytes implements state.Source.
func (c keysSource) Bytes() int64 {
	return estimate(c.b.all, func(home *instance) int64 { return int64(len(home.key)) + 8 })
}

// fieldsSource is a component of a few numbers, one entry.
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
