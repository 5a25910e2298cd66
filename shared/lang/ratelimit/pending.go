package ratelimit

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// pending is `output all every …`: rows wait for the end of the period. In the state they
// are in blocks, by the number of the first row; a full block does not change.
type pending struct {
	ticks
	events int
	rows   Rows

	unchanged int // rows that were shown and are still the same
	shown     int // rows that were shown
	loaded    map[uint64][]byte
}

const (
	keyBlock  = 'b'
	blockRows = 256
)

func newPending(c Config) *pending {
	return &pending{
		ticks: ticks{env: c.Env, period: c.Period}, events: int(c.Events),
		rows: Rows{B: event.NewBatch(c.Schema)},
	}
}

// Add implements Limiter.
func (l *pending) Add(rows []Row, out *Rows) {
	if l.events == 0 && l.rows.B.Len() == 0 && len(rows) > 0 {
		l.await()
	}
	for i := range rows {
		r := &rows[i]
		l.rows.append(r.B, r.I, r.Kind)
		if l.events > 0 && l.rows.B.Len() == l.events {
			l.flush(out)
		}
	}
}

func (l *pending) flush(out *Rows) {
	out.B.AppendRows(l.rows.B, 0, l.rows.B.Len())
	out.Kinds = append(out.Kinds, l.rows.Kinds...)
	l.drop()
}

func (l *pending) drop() {
	l.rows.B.Reset()
	l.rows.Kinds = l.rows.Kinds[:0]
	l.unchanged = 0
}

// Due implements Limiter.
func (l *pending) Due() (int64, bool) { return l.next, l.events == 0 && l.rows.B.Len() > 0 }

// Fire implements Limiter.
func (l *pending) Fire(out *Rows) { l.flush(out) }

// Changed implements state.Source.
func (l *pending) Changed(visit func(key []byte)) {
	l.visitChanged(visit)
	n := l.rows.B.Len()
	if l.unchanged < n || l.shown > l.unchanged {
		l.blocks(l.unchanged/blockRows, max(n, l.shown), visit)
	}
	l.unchanged, l.shown = n, n
}

// Keys implements state.Source.
func (l *pending) Keys(visit func(key []byte)) {
	l.visitKeys(visit)
	l.blocks(0, l.rows.B.Len(), visit)
}

// blocks calls visit with the keys of the blocks from block first to row end.
func (l *pending) blocks(first, end int, visit func(key []byte)) {
	key := [9]byte{keyBlock}
	for n := first * blockRows; n < end; n += blockRows {
		binary.BigEndian.PutUint64(key[1:], uint64(n))
		visit(key[:])
	}
}

// Append implements state.Source.
func (l *pending) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyTick {
		return l.ticks.append(dst)
	}
	if len(key) != 9 || key[0] != keyBlock {
		return dst, false
	}
	first := binary.BigEndian.Uint64(key[1:])
	if first%blockRows != 0 || first >= uint64(l.rows.B.Len()) {
		return dst, false
	}
	for i := int(first); i < min(int(first)+blockRows, l.rows.B.Len()); i++ {
		dst = appendRow(dst, l.rows.B, i, l.rows.Kinds[i])
	}
	return dst, true
}

// Reset implements state.Source.
func (l *pending) Reset() {
	l.ticks.reset()
	l.drop()
	l.shown, l.loaded = 0, map[uint64][]byte{}
}

// Put implements state.Source.
func (l *pending) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyTick {
		return l.ticks.put(value)
	}
	if len(key) != 9 || key[0] != keyBlock {
		return fmt.Errorf("key %q is none of an output rate", key)
	}
	first := binary.BigEndian.Uint64(key[1:])
	if l.loaded[first] != nil || len(value) == 0 {
		return fmt.Errorf("rows from %d on are there twice, or are none", first)
	}
	l.loaded[first] = append([]byte(nil), value...)
	return nil
}

// Ready implements state.Source.
func (l *pending) Ready() error {
	for left := len(l.loaded); left > 0; left-- {
		first := l.rows.B.Len()
		block := l.loaded[uint64(first)]
		if block == nil {
			return fmt.Errorf("rows from %d on are missing", first)
		}
		for r := wire.New(block); r.Len() > 0; {
			kind := readRow(l.rows.B, &r)
			if r.Failed() {
				l.rows.B.Truncate(len(l.rows.Kinds))
				return fmt.Errorf("rows from %d on: %w", first, r.Err())
			}
			l.rows.Kinds = append(l.rows.Kinds, kind)
		}
		n := l.rows.B.Len() - first
		if n > blockRows || left > 1 && n < blockRows {
			return fmt.Errorf("%d rows from %d on, expected %d", n, first, blockRows)
		}
	}
	l.loaded = nil
	n := l.rows.B.Len()
	l.unchanged, l.shown = n, n
	if l.events > 0 && n >= l.events || n > 0 && !l.Begun() {
		return fmt.Errorf("%d rows wait, and the period is over or has none", n)
	}
	return nil
}

// Bytes implements state.Source.
func (l *pending) Bytes() int64 { return int64(l.rows.B.Bytes() + len(l.rows.Kinds)) }

// Empty implements Limiter.
func (l *pending) Empty() bool { return l.rows.B.Len() == 0 && !l.begun }

func appendNumber(dst []byte, n uint64) []byte { return binary.AppendUvarint(dst, n) }
