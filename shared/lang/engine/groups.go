package engine

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// groups gives each group of a query a slot: a small number that aggregators use as an
// index. Keys are typed, and null is a group of its own. A group that has lost all its rows
// is not forgotten at once: many come back with the next event, and keeping some of them
// saves storing their keys again.
type groups struct {
	attrs  []int
	signed bool             // more rows can leave than came: joins
	single event.Class      // of the one attribute, if there is just one
	words  wordTable        // numbers, and short texts packed into one
	texts  map[string]int32 // long texts, and the encoding of several attributes
	null   int32            // slot of the null group of a single attribute; -1: none

	keys    []groupKey  // by slot
	slots   []groupSlot // by slot
	free    []int32
	touched []int32 // slots that may have rows, each once
	idle    int     // groups without rows
	scratch []byte

	forgotten    int // groups, since they were moved
	compactAfter int // they are not moved before so many were forgotten

	round   uint32  // 0: changed was not called yet, and changes do not matter
	altered []int32 // slots that have changed in this round, each once
	dropped []byte  // keys forgotten after a change in it, each with its length
	frozen  frozenGroups
}

type groupSlot struct {
	rows   int64  // in the group
	round  uint32 // the round that has it in altered; 0: none
	listed bool   // it is in touched
	came   bool   // it had no rows, since it was last in altered
}

type groupKey struct {
	kind keyKind
	word uint64
	text string
}

type keyKind uint8

const (
	noKey keyKind = iota // the slot is free
	nullKey
	wordKey
	textKey
)

// idleMax is how many groups without rows are kept, beyond as many as have rows.
const idleMax = 64

func newGroups(attrs []int, schema *event.Schema) *groups {
	g := &groups{attrs: attrs, single: event.Texts, null: -1}
	if len(attrs) == 1 {
		g.single = schema.Attrs[attrs[0]].Holds().Class()
	}
	if g.single == event.Texts {
		g.texts = map[string]int32{}
	}
	return g
}

// slot returns the slot of the group of row i.
func (g *groups) slot(b *event.Batch, i int) int {
	if len(g.attrs) > 1 {
		return g.textSlot(g.encode(b, i))
	}
	c := &b.Cols[g.attrs[0]]
	if c.IsNull(i) {
		if g.null < 0 {
			return g.add(groupKey{kind: nullKey})
		}
		return int(g.null)
	}
	switch g.single {
	case event.Texts:
		if word, ok := c.Short(i); ok {
			return g.wordSlot(word)
		}
		return g.textSlot(c.Text(i))
	case event.Reals:
		return g.wordSlot(realBits(c.Floats[i]))
	default:
		return g.wordSlot(uint64(c.Ints[i]))
	}
}

func (g *groups) textSlot(key string) int {
	if s, ok := g.texts[key]; ok {
		return int(s)
	}
	return g.add(groupKey{kind: textKey, text: strings.Clone(key)})
}

func (g *groups) wordSlot(key uint64) int {
	if s, ok := g.words.get(key); ok {
		return int(s)
	}
	return g.add(groupKey{kind: wordKey, word: key})
}

// add gives a key that has no slot a slot.
func (g *groups) add(key groupKey) int {
	s := g.allocate(key)
	switch key.kind {
	case nullKey:
		g.null = s
	case wordKey:
		g.words.put(key.word, s)
	case textKey:
		g.texts[key.text] = s
	}
	return int(s)
}

// encode writes the key of several attributes so that different keys are
// different bytes: a tag for null, fixed or declared lengths for the rest.
func (g *groups) encode(b *event.Batch, i int) string {
	k := g.scratch[:0]
	for _, a := range g.attrs {
		c := &b.Cols[a]
		if c.IsNull(i) {
			k = append(k, 0)
			continue
		}
		k = append(k, 1)
		switch c.Type.Class() {
		case event.Texts:
			text := c.Text(i)
			k = binary.AppendUvarint(k, uint64(len(text)))
			k = append(k, text...)
		case event.Reals:
			k = binary.LittleEndian.AppendUint64(k, realBits(c.Floats[i]))
		default:
			k = binary.LittleEndian.AppendUint64(k, uint64(c.Ints[i]))
		}
	}
	g.scratch = k
	return view(k)
}

// realBits makes all NaNs one key; 0.0 and -0.0 are two.
func realBits(v float64) uint64 {
	if v != v {
		return math.Float64bits(math.NaN())
	}
	return math.Float64bits(v)
}

func (g *groups) allocate(key groupKey) int32 {
	g.idle++
	if n := len(g.free); n > 0 {
		s := g.free[n-1]
		g.free = g.free[:n-1]
		g.melt(int(s)) // without a key
		g.keys[s] = key
		return s
	}
	g.keys = append(g.keys, key)
	g.slots = append(g.slots, groupSlot{})
	return int32(len(g.keys) - 1)
}

// enter and leave count a row in and out of a group.
func (g *groups) enter(slot int) {
	x := &g.slots[slot]
	if x.round != g.round {
		g.markAltered(slot)
	}
	if x.rows == 0 {
		g.begin(slot)
	}
	g.list(slot)
	if x.rows++; x.rows == 0 {
		g.idle++
	}
}

// change records a change of a group that does not affect its number of rows.
func (g *groups) change(slot int) {
	if g.slots[slot].round != g.round {
		g.markAltered(slot)
	}
}

func (g *groups) leave(slot int) {
	x := &g.slots[slot]
	if x.round != g.round {
		g.markAltered(slot)
	}
	switch {
	case x.rows != 0:
	case !g.signed:
		return // it was reset since the row came
	default:
		g.begin(slot)
	}
	if x.rows--; x.rows == 0 {
		g.idle++
	}
}

// begin records that a group without rows gets one.
func (g *groups) begin(slot int) {
	g.idle--
	g.slots[slot].came = true
	g.list(slot)
}

// list records that a slot may have rows.
func (g *groups) list(slot int) {
	if x := &g.slots[slot]; !x.listed {
		x.listed = true
		g.touched = append(g.touched, int32(slot))
	}
}

// fresh prepares a slot of signed groups for a row. In a join, rows may leave that never came, so
// a group without rows may hold leftovers that depend on its past. It is therefore reset.
func (g *groups) fresh(slot int, clear func(slot int)) {
	if x := &g.slots[slot]; x.rows == 0 {
		if x.round != g.round {
			g.markAltered(slot)
		}
		clear(slot)
	}
}

// markAltered records that a slot's group is about to change.
func (g *groups) markAltered(slot int) {
	g.melt(slot)
	g.slots[slot].round = g.round
	g.altered = append(g.altered, int32(slot))
}

// reset empties every group and calls clear for those that had rows since the
// last reset.
func (g *groups) reset(clear func(slot int)) {
	for _, s := range g.touched {
		x := &g.slots[s]
		if x.round != g.round {
			g.markAltered(int(s))
		}
		if x.rows != 0 {
			x.rows = 0
			g.idle++
		}
		x.listed = false
		clear(int(s))
	}
	g.touched = shrink.Reset(g.touched)
}

// renew calls clear for the groups that had rows since the last call, and keeps the groups.
func (g *groups) renew(clear func(slot int)) {
	for _, s := range g.touched {
		g.change(int(s))
		g.slots[s].listed = false
		clear(int(s))
	}
	g.touched = shrink.Reset(g.touched)
}

// sweep forgets the groups without rows once there are many of them, and reports whether it has. It
// calls clear for each, then cleared, and only then are their slots free.
func (g *groups) sweep(clear func(slot int), cleared func()) bool {
	if g.idle <= g.live()+idleMax {
		return false
	}
	kept := g.touched[:0]
	for _, s := range g.touched {
		if x := &g.slots[s]; x.rows != 0 {
			kept = append(kept, s)
		} else {
			x.listed = false
		}
	}
	g.touched = kept
	for s := range g.keys {
		if g.keys[s].kind != noKey && g.slots[s].rows == 0 {
			g.melt(s)
			clear(s)
		}
	}
	cleared()
	words := false
	for s := range g.keys {
		if key := &g.keys[s]; key.kind != noKey && g.slots[s].rows == 0 {
			words = words || key.kind == wordKey
			g.forget(int32(s))
		}
	}
	if words {
		g.words.rebuild(g.keys)
	}
	g.idle = 0
	return true
}

// live returns the number of groups that have rows.
func (g *groups) live() int { return len(g.keys) - len(g.free) - g.idle }

// forget frees a slot. A word stays in the table until the table is rebuilt.
func (g *groups) forget(s int32) {
	if g.round > 0 && g.slots[s].round == g.round {
		g.dropped = g.keys[s].append(g.dropped)
	}
	switch key := &g.keys[s]; key.kind {
	case nullKey:
		g.null = -1
	case textKey:
		delete(g.texts, key.text)
	}
	g.keys[s] = groupKey{}
	g.free = append(g.free, s)
	g.forgotten++
}
