package window

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/state"
)

// keyedState is the state of a window that keeps rows by key: an entry for each row, with its
// number, the numbers beside it and the row itself; and one for the fields. sets are the rows
// that are there: the last one is what a look-up finds.
type keyedState struct {
	name    string
	env     *Env
	sets    []*keyedRows
	fields  func(*Fields)
	initial []byte
	check   func() error // of what was loaded; nil: there is nothing to check
}

func newKeyedState(name string, env *Env, fields func(*Fields), sets ...*keyedRows) keyedState {
	s := keyedState{name: name, env: env, sets: sets, fields: fields}
	s.initial = WriteFields(nil, s.visit)
	return s
}

func (s *keyedState) visit(f *Fields) {
	for _, k := range s.sets {
		f.Uint(&k.next)
		f.Require(k.next > 0 && k.next <= rowNumberMax, "the next row is %d", k.next)
	}
	if s.fields != nil {
		s.fields(f)
	}
}

func (s *keyedState) settle() {
	for _, k := range s.sets {
		k.settle()
	}
}

// found are the rows that a look-up finds.
func (s *keyedState) found() *keyedRows { return s.sets[len(s.sets)-1] }

// Each implements Searched.
func (s *keyedState) Each(visit func(id uint64, r Row) bool) { s.found().each(visit) }

// Found implements Searched.
func (s *keyedState) Found(id uint64) Row {
	k := s.found()
	return k.row(k.byID[id], Current)
}

// Before implements Searched.
func (s *keyedState) Before(a, b uint64) bool { return a < b }

// Follow implements Searched.
func (s *keyedState) Follow(f Follower) { s.found().follow(f) }

// Changed implements state.Source.
func (s *keyedState) Changed(visit func(key []byte)) {
	var scratch []byte
	for _, k := range s.sets {
		if !k.tracked {
			k.tracked = true
			k.eachKey(visit)
			continue
		}
		for _, key := range k.changed {
			if x := k.byKey[key]; x != nil {
				x.touched = false
			}
			scratch = append(append(scratch[:0], k.prefix), key...)
			visit(scratch)
		}
		clear(k.changed)
		k.changed = k.changed[:0]
	}
	visit([]byte{keyFields})
}

func (k *keyedRows) eachKey(visit func(key []byte)) {
	var scratch []byte
	for x := k.first; x != nil; x = x.nxt {
		scratch = append(append(scratch[:0], k.prefix), x.key...)
		visit(scratch)
	}
}

// Keys implements state.Source.
func (s *keyedState) Keys(visit func(key []byte)) {
	for _, k := range s.sets {
		k.eachKey(visit)
	}
	visit([]byte{keyFields})
}

// locate returns the set that an entry belongs to, and the key of its row.
func (s *keyedState) locate(key []byte) (*keyedRows, []byte) {
	for _, k := range s.sets {
		if len(key) > 0 && key[0] == k.prefix {
			return k, key[1:]
		}
	}
	return nil, nil
}

// Append implements state.Source.
func (s *keyedState) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields {
		return WriteFields(dst, s.visit), true
	}
	k, key := s.locate(key)
	if k == nil || k.byKey[string(key)] == nil {
		return dst, false
	}
	x := k.byKey[string(key)]
	dst = binary.AppendUvarint(dst, x.number)
	for _, n := range x.beside[:k.extras] {
		dst = binary.AppendUvarint(dst, n)
	}
	return k.pool.append(dst, s.env, []int32{x.place}), true
}

// Reset implements state.Source.
func (s *keyedState) Reset() {
	for _, k := range s.sets {
		k.pool.reset()
		*k = keyedRows{pool: k.pool, prefix: k.prefix, extras: k.extras, byKey: map[string]*keyedRow{}, follower: k.follower}
	}
	if err := ReadFields(s.initial, s.visit); err != nil {
		panic(fmt.Sprintf("window: the fields of an empty window: %v", err))
	}
}

// Put implements state.Source.
func (s *keyedState) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		if err := ReadFields(value, s.visit); err != nil {
			return fmt.Errorf("window %s: %w", s.name, err)
		}
		return nil
	}
	k, rest := s.locate(key)
	if k == nil || k.byKey[string(rest)] != nil {
		return fmt.Errorf("window %s: key %q is unknown, or there twice", s.name, key)
	}
	x := &keyedRow{key: string(rest)}
	f := Fields{bytes: value, reading: true}
	f.Uint(&x.number)
	for i := range x.beside[:k.extras] {
		f.Uint(&x.beside[i])
	}
	if f.err != nil {
		return fmt.Errorf("window %s: key %q: %w", s.name, key, f.err)
	}
	places, left, err := k.pool.read(f.bytes, s.env, 1)
	if err != nil || len(places) != 1 || len(left) > 0 {
		return fmt.Errorf("window %s: key %q: %d rows, %d bytes after them: %w", s.name, key, len(places), len(left), err)
	}
	x.place = places[0]
	k.byKey[x.key] = x
	return nil
}

// Ready implements state.Source.
func (s *keyedState) Ready() error {
	for _, k := range s.sets {
		if err := k.ready(); err != nil {
			return fmt.Errorf("window %s: %w", s.name, err)
		}
	}
	if s.check == nil {
		return nil
	}
	if err := s.check(); err != nil {
		return fmt.Errorf("window %s: %w", s.name, err)
	}
	return nil
}

// ready puts the rows in order.
func (k *keyedRows) ready() error {
	all := make([]*keyedRow, 0, len(k.byKey))
	for _, x := range k.byKey {
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b *keyedRow) int {
		return cmp.Or(cmp.Compare(a.number, b.number), strings.Compare(a.key, b.key))
	})
	k.first, k.last = nil, nil
	for i, x := range all {
		if x.number == 0 || x.number >= k.next || i > 0 && x.number == all[i-1].number {
			return fmt.Errorf("row %d is there twice, or not before the next, %d", x.number, k.next)
		}
		k.link(x)
	}
	k.tracked, k.changed = true, nil
	k.follow(k.follower)
	return nil
}

// Bytes implements state.Source.
func (s *keyedState) Bytes() int64 {
	const perRow = 96 // in the map and the list
	n := int64(0)
	for _, k := range s.sets {
		n += int64(k.pool.rows.Bytes()) + perRow*int64(len(k.byKey))
	}
	return n
}

// Items implements state.Lister: the rows in their order.
func (s *keyedState) Items(visit func(state.Item)) bool {
	for _, k := range s.sets {
		for x := k.first; x != nil; x = x.nxt {
			visit(state.Item{
				Key: string(k.prefix) + " " + rowKey(x.number), Entry: append([]byte{k.prefix}, x.key...),
				Value: appendRow(nil, k.pool.rows, int(x.place), k.pool.used),
			})
		}
	}
	return true
}

// Item implements state.Lister.
func (s *keyedState) Item(_ string, entry []byte) (json.RawMessage, bool) {
	k, key := s.locate(entry)
	if k == nil || k.byKey[string(key)] == nil {
		return nil, false
	}
	return appendRow(nil, k.pool.rows, int(k.byKey[string(key)].place), k.pool.used), true
}
