package engine

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// The key of a group in the state: its kind, and the word or the text.

// append appends the key with its length in front.
func (k *groupKey) append(dst []byte) []byte {
	start := len(dst)
	return lengthBefore(k.encode(dst), start)
}

func (k *groupKey) encode(dst []byte) []byte {
	dst = append(dst, byte(k.kind))
	switch k.kind {
	case wordKey:
		return binary.BigEndian.AppendUint64(dst, k.word)
	case textKey:
		return append(dst, k.text...)
	}
	return dst
}

// decodeGroupKey returns a key whose text is valid for as long as the bytes.
func decodeGroupKey(key []byte) (groupKey, error) {
	switch {
	case len(key) == 1 && keyKind(key[0]) == nullKey:
		return groupKey{kind: nullKey}, nil
	case len(key) == 9 && keyKind(key[0]) == wordKey:
		return groupKey{kind: wordKey, word: binary.BigEndian.Uint64(key[1:])}, nil
	case len(key) >= 1 && keyKind(key[0]) == textKey:
		return groupKey{kind: textKey, text: view(key[1:])}, nil
	}
	return groupKey{}, fmt.Errorf("group key %q is none", key)
}

// rowsCode and rowsOf turn a number of rows into the one that is stored, and back. Signed
// numbers are stored as varints are.
func (g *groups) rowsCode(rows int64) uint64 {
	if g.signed {
		return uint64(rows<<1) ^ uint64(rows>>63)
	}
	return uint64(rows)
}

func (g *groups) rowsOf(code uint64) int64 {
	if g != nil && g.signed {
		return int64(code>>1) ^ -int64(code&1)
	}
	return int64(code)
}

// changed calls visit with the keys of the groups that have changed, including forgotten
// ones; the first call visits all groups. It calls whole with the slots of groups that came
// or went: all their state has changed, though an aggregator may not know, because a group
// without rows is not stored.
func (g *groups) changed(visit func(key []byte), whole func(slot int)) {
	if g.round == 0 {
		g.round = 1
		g.each(func(_ int, key []byte) { visit(key) })
		return
	}
	eachKey(g.dropped, visit)
	g.dropped = shrink.Reset(g.dropped)
	var scratch []byte
	for _, s := range g.altered {
		x := &g.slots[s]
		came := x.came
		x.round, x.came = 0, false
		if g.keys[s].kind == noKey {
			continue
		}
		scratch = g.keys[s].encode(scratch[:0])
		visit(scratch)
		if came || x.rows == 0 {
			whole(int(s))
		}
	}
	g.altered = shrink.Reset(g.altered)
}

// each calls visit with the slots and the keys of the groups that have rows.
func (g *groups) each(visit func(slot int, key []byte)) {
	var scratch []byte
	for s := range g.keys {
		if g.keys[s].kind != noKey && g.slots[s].rows != 0 {
			scratch = g.keys[s].encode(scratch[:0])
			visit(s, scratch)
		}
	}
}

// find returns the slot of a key.
func (g *groups) find(key []byte) (int, bool) {
	k, err := decodeGroupKey(key)
	if err != nil {
		return 0, false
	}
	return g.slotOf(&k)
}

func (g *groups) slotOf(k *groupKey) (int, bool) {
	switch k.kind {
	case nullKey:
		return int(g.null), g.null >= 0
	case wordKey:
		s, ok := g.words.get(k.word)
		// A forgotten word stays in the table until the table is rebuilt.
		return int(s), ok && g.keys[s].kind == wordKey && g.keys[s].word == k.word
	default:
		s, ok := g.texts[k.text]
		return int(s), ok
	}
}

// room allocates memory for n groups. There must be none yet.
func (g *groups) room(n int) {
	g.keys, g.slots, g.touched = make([]groupKey, 0, n), make([]groupSlot, 0, n), make([]int32, 0, n)
}

// load makes a group with rows and returns its slot. Without rows, the group may already
// exist, and its rows may follow.
func (g *groups) load(key []byte, rows int64) (int, error) {
	k, err := decodeGroupKey(key)
	if err != nil {
		return 0, err
	}
	if k.kind == textKey && g.texts == nil || k.kind != textKey && len(g.attrs) > 1 {
		return 0, fmt.Errorf("group key %q does not fit the query's group by", key)
	}
	if k.kind == textKey && len(g.attrs) == 1 && len(k.text) <= event.ShortBytesMax {
		return 0, fmt.Errorf("group key %q is short, but is not packed", key)
	}
	slot, known := g.slotOf(&k)
	switch {
	case !known:
		if k.kind == textKey && len(g.texts) == 0 {
			g.texts = make(map[string]int32, cap(g.keys)-len(g.keys))
		}
		k.text = strings.Clone(k.text)
		slot = g.add(k)
	case rows != 0 && g.slots[slot].rows != 0:
		return 0, fmt.Errorf("group key %q is there twice", key)
	}
	if rows != 0 {
		g.enter(slot)
		g.slots[slot].rows, g.slots[slot].round, g.slots[slot].came = rows, 0, false
	}
	g.round, g.altered = max(g.round, 1), g.altered[:0]
	return slot, nil
}

// forgetAll forgets every group.
func (g *groups) forgetAll(clear func(slot int)) {
	for s := range g.keys {
		clear(s)
	}
	*g = groups{attrs: g.attrs, signed: g.signed, single: g.single, null: -1}
	if g.single == event.Texts {
		g.texts = map[string]int32{}
	}
}
