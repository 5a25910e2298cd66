package aggregate

import (
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"eventflux/shared/event"
)

// AppendState writes the number of nulls, that of different values, and each value
// in order with its count. Values that have gone are not part of the state.
func (a *distinct) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	if g.nulls == 0 && g.live == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(g.nulls))
	dst = binary.AppendUvarint(dst, uint64(g.live))
	if a.class == event.Texts {
		return g.appendTexts(dst)
	}
	return g.appendKeys(dst)
}

func (g *values) appendKeys(dst []byte) []byte {
	before, first := int64(0), true
	for _, key := range slices.Sorted(maps.Keys(g.keys)) {
		n := g.keys[key]
		if n == 0 {
			continue
		}
		dst = appendKey(dst, key, before, first)
		dst = binary.AppendUvarint(dst, uint64(n))
		before, first = key, false
	}
	return dst
}

func (g *values) appendTexts(dst []byte) []byte {
	for _, text := range slices.Sorted(maps.Keys(g.texts)) {
		n := *g.texts[text]
		if n == 0 {
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(text)))
		dst = append(dst, text...)
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	return dst
}

func (a *distinct) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	nulls := r.uvarint()
	live := r.items(2)
	if r.err == nil && (nulls > 1<<62 || nulls == 0 && live == 0) {
		r.fail("%d nulls and %d values", nulls, live)
	}
	got := values{nulls: int64(nulls), live: int64(live)}
	if a.class == event.Texts {
		got.texts = r.texts(live)
	} else {
		got.keys = r.keys(live, a.class == event.Reals)
	}
	if err := r.end("distinctCount"); err != nil {
		return err
	}
	a.groups[slot] = got
	return nil
}

func (r *stateBytes) keys(n int, reals bool) map[int64]int64 {
	keys := make(map[int64]int64, n)
	before := int64(0)
	for i := 0; i < n && r.err == nil; i++ {
		key := r.key(before, i == 0)
		if reals && realKey(keyReal(key)) != key {
			r.fail("no double has the key %d", key)
		}
		keys[key] = r.count()
		before = key
	}
	return keys
}

func (r *stateBytes) texts(n int) map[string]*int64 {
	texts := make(map[string]*int64, n)
	before := ""
	for i := 0; i < n && r.err == nil; i++ {
		text := string(r.bytes(r.items(1)))
		if i > 0 && strings.Compare(text, before) <= 0 {
			r.fail("text %q follows %q", text, before)
		}
		if !utf8.ValidString(text) {
			r.fail("text %q is no UTF-8", text)
		}
		count := r.count()
		texts[text] = &count
		before = text
	}
	return texts
}
