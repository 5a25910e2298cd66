package table

import (
	"encoding/binary"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// With a million rows, most of what an event needs of a table is in memory that no cache holds: a
// slot of the index, and the row. One after another, these reads take longer than all the rest. So
// a caller that knows the next events has Ahead read the same things for all of them, and the
// processor reads them at the same time. This changes no result.

// prefetchMin is how many rows there must be for prefetching to pay.
const prefetchMin = 20_000

// Ahead prefetches rows of one table by primary key.
type Ahead struct {
	columns []int // of the events, by part of the key
	used    []int // attributes of the table that are read or written
	words   []uint64
	slots   []int32
	key     []byte
	sum     uint64 // keeps the reads
}

// NewAhead returns what prefetches the rows whose primary key is in the given columns of events.
// used are the attributes of the table that the caller will read or write.
func NewAhead(columns, used []int) *Ahead { return &Ahead{columns: columns, used: used} }

// Prefetch reads what events [from, end) of b will need of t.
func (a *Ahead) Prefetch(t *Table, b *event.Batch, from, end int) {
	if t.rows < prefetchMin {
		return
	}
	if a.slots = a.slots[:0]; t.byKey.words != nil {
		a.findWords(t, b, from, end)
	} else {
		a.find(t, b, from, end)
	}
	for _, attr := range a.used {
		switch c := &t.cols[attr]; t.class[attr] {
		case event.Reals:
			for _, slot := range a.slots {
				a.sum += math.Float64bits(c.reals[slot])
			}
		case event.Texts:
			for _, slot := range a.slots {
				a.sum += uint64(len(c.texts[slot]))
			}
			for _, slot := range a.slots {
				if text := c.texts[slot]; text != "" {
					a.sum += uint64(text[0])
				}
			}
		default:
			for _, slot := range a.slots {
				a.sum += uint64(c.ints[slot])
			}
		}
	}
}

// findWords finds the rows of keys of one word.
func (a *Ahead) findWords(t *Table, b *event.Batch, from, end int) {
	a.words = a.words[:0]
	for i := from; i < end; i++ {
		if a.keyOf(t, b, i) {
			a.words = append(a.words, binary.BigEndian.Uint64(a.key))
		}
	}
	a.sum += t.byKey.words.Prefetch(a.words)
	for _, word := range a.words {
		if slot, ok := t.byKey.getWord(word); ok {
			a.slots = append(a.slots, slot)
		}
	}
}

func (a *Ahead) find(t *Table, b *event.Batch, from, end int) {
	for i := from; i < end; i++ {
		if !a.keyOf(t, b, i) {
			continue
		}
		if slot, ok := t.byKey.get(a.key); ok {
			a.slots = append(a.slots, slot)
		}
	}
}

// keyOf sets a.key to the key of event i. It returns false if a part of the key is null.
func (a *Ahead) keyOf(t *Table, b *event.Batch, i int) bool {
	a.key = a.key[:0]
	for n, column := range a.columns {
		c, class := &b.Cols[column], t.class[t.key[n]]
		if c.IsNull(i) {
			return false
		}
		var v Value
		switch class {
		case event.Reals:
			v.Real = c.Floats[i]
		case event.Texts:
			v.Text = c.Text(i)
		default:
			v.Int = c.Ints[i]
		}
		a.key = appendKey(a.key, class, &v)
	}
	return true
}
