package engine

import (
	"encoding/binary"
	"fmt"

	"eventflux/shared/event"
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

func decodeGroupKey(key []byte) (groupKey, error) {
	switch {
	case len(key) == 1 && keyKind(key[0]) == nullKey:
		return groupKey{kind: nullKey}, nil
	case len(key) == 9 && keyKind(key[0]) == wordKey:
		return groupKey{kind: wordKey, word: binary.BigEndian.Uint64(key[1:])}, nil
	case len(key) >= 1 && keyKind(key[0]) == textKey:
		return groupKey{kind: textKey, text: string(key[1:])}, nil
	}
	return groupKey{}, fmt.Errorf("group key %q is none", key)
}

// changed calls visit with the keys of the groups that have changed, those that
// were forgotten among them: at first with all that there are.
func (g *groups) changed(visit func(key []byte)) {
	if !g.tracked {
		g.tracked = true
		g.each(visit)
		return
	}
	for rest := g.dropped; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		visit(rest[n : n+int(size)])
		rest = rest[n+int(size):]
	}
	g.dropped = g.dropped[:0]
	var scratch []byte
	for _, s := range g.altered {
		g.slots[s].dirty = false
		if g.keys[s].kind != noKey {
			scratch = g.keys[s].encode(scratch[:0])
			visit(scratch)
		}
	}
	g.altered = g.altered[:0]
}

// each calls visit with the keys of the groups that have rows.
func (g *groups) each(visit func(key []byte)) {
	var scratch []byte
	for s := range g.keys {
		if g.keys[s].kind != noKey && g.slots[s].rows > 0 {
			scratch = g.keys[s].encode(scratch[:0])
			visit(scratch)
		}
	}
}

// find returns the slot of a key.
func (g *groups) find(key []byte) (int, bool) {
	k, err := decodeGroupKey(key)
	if err != nil {
		return 0, false
	}
	switch k.kind {
	case nullKey:
		return int(g.null), g.null >= 0
	case wordKey:
		s, ok := g.words.get(k.word)
		// A word that was forgotten stays in the table until it is built anew.
		return int(s), ok && g.keys[s].kind == wordKey && g.keys[s].word == k.word
	default:
		s, ok := g.texts[k.text]
		return int(s), ok
	}
}

// load makes a group with rows and returns its slot.
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
	if _, ok := g.find(key); ok {
		return 0, fmt.Errorf("group key %q is there twice", key)
	}
	slot := 0
	switch k.kind {
	case nullKey:
		g.null = g.take(k)
		slot = int(g.null)
	case wordKey:
		slot = g.wordSlot(k.word)
	default:
		slot = g.textSlot(k.text)
	}
	g.enter(slot)
	g.slots[slot].rows, g.slots[slot].dirty = rows, false
	g.tracked, g.altered = true, g.altered[:0]
	return slot, nil
}

// forgetAll forgets every group.
func (g *groups) forgetAll(clear func(slot int)) {
	for s := range g.keys {
		clear(s)
	}
	*g = groups{attrs: g.attrs, single: g.single, null: -1}
	if g.single == event.Texts {
		g.texts = map[string]int32{}
	}
}
