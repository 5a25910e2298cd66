package engine

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// dedup remembers the message ids of the last span ms of the log, so that a message that
// its publisher repeated is applied once. Ids leave in order of arrival. They are numbered,
// and kept in blocks that never change once they are full.
type dedup struct {
	span       int64
	ids        map[string]struct{}
	blocks     [][]stampedID // blocks[0] holds number head, or will
	head, tail uint64
	bytes      int64 // of the ids
	arena      strings.Builder
	former     formerIDs // of an app that was scaled

	shownHead, shownTail uint64 // as of the last Changed
	loaded               map[uint64][]stampedID
}

type stampedID struct {
	at int64
	id string
}

const dedupBlock = 256

func newDedup(span int64) *dedup {
	return &dedup{span: span, ids: map[string]struct{}{}}
}

// seen reports whether the id arrived within the span before ms at. If not, it remembers the id.
func (d *dedup) seen(id string, at int64) bool {
	if _, ok := d.ids[id]; ok {
		return true
	}
	id = d.keep(id)
	d.bytes += int64(len(id))
	d.ids[id] = struct{}{}
	i := int(d.tail/dedupBlock - d.head/dedupBlock)
	if i == len(d.blocks) {
		d.blocks = append(d.blocks, make([]stampedID, 0, dedupBlock))
	}
	d.blocks[i] = append(d.blocks[i], stampedID{at, id})
	d.tail++
	return false
}

// keep copies an id into memory that it shares with its neighbours, which are dropped at about
// the same time.
func (d *dedup) keep(id string) string {
	const arenaBytes = 16 << 10
	if d.arena.Cap()-d.arena.Len() < len(id) {
		d.arena = strings.Builder{}
		d.arena.Grow(max(arenaBytes, len(id)))
	}
	start := d.arena.Len()
	d.arena.WriteString(id)
	return d.arena.String()[start:]
}

// forget drops the ids that arrived at least span ms before now.
func (d *dedup) forget(now int64) {
	d.former.forget(now, d.span)
	for d.head < d.tail {
		first := &d.blocks[0][d.head%dedupBlock]
		if first.at > now-d.span {
			return
		}
		delete(d.ids, first.id)
		d.bytes -= int64(len(first.id))
		d.head++
		if d.head%dedupBlock == 0 {
			d.blocks = d.blocks[:copy(d.blocks, d.blocks[1:])]
		}
	}
}

// The state has an entry for each block, by the number of its first id, and one
// for the numbers. Blocks of former partitions have their own keys.
const (
	keyDedupBlock  = 'b'
	keyDedupFields = 'f'
)

func dedupKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyDedupBlock}, number)
}

// Changed implements state.Source.
func (d *dedup) Changed(visit func(key []byte)) {
	for _, key := range d.former.gone {
		visit([]byte(key))
	}
	d.former.gone = nil
	if d.shownHead == d.head && d.shownTail == d.tail {
		return
	}
	for n := d.shownHead / dedupBlock; n < d.head/dedupBlock; n++ {
		visit(dedupKey(n * dedupBlock))
	}
	if d.shownTail < d.tail {
		for n := max(d.shownTail, d.head) / dedupBlock; n <= (d.tail-1)/dedupBlock; n++ {
			visit(dedupKey(n * dedupBlock))
		}
	}
	d.shownHead, d.shownTail = d.head, d.tail
	visit([]byte{keyDedupFields})
}

// Keys implements state.Source. A table that never held an id has no entry.
func (d *dedup) Keys(visit func(key []byte)) {
	for key := range d.former.blocks {
		visit([]byte(key))
	}
	if d.tail == 0 {
		return
	}
	for i := range d.blocks {
		visit(dedupKey((d.head/dedupBlock + uint64(i)) * dedupBlock))
	}
	visit([]byte{keyDedupFields})
}

// Append implements state.Source.
func (d *dedup) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyDedupFields && d.tail > 0 {
		return window.WriteFields(dst, d.fields), true
	}
	if len(key) > 0 && key[0] == keyFormerIDs {
		value, ok := d.former.blocks[string(key)]
		return append(dst, value...), ok
	}
	if len(key) != 9 || key[0] != keyDedupBlock {
		return dst, false
	}
	i := binary.BigEndian.Uint64(key[1:])/dedupBlock - d.head/dedupBlock
	if i >= uint64(len(d.blocks)) {
		return dst, false
	}
	last := int64(0)
	for _, x := range d.blocks[i] {
		dst = binary.AppendVarint(dst, x.at-last)
		dst = binary.AppendUvarint(dst, uint64(len(x.id)))
		dst = append(dst, x.id...)
		last = x.at
	}
	return dst, true
}

func (d *dedup) fields(f *window.Fields) {
	f.Uint(&d.head)
	f.Uint(&d.tail)
	f.Require(d.head <= d.tail && 0 < d.tail && d.tail < 1<<62, "ids from %d to %d", d.head, d.tail)
}

// Reset implements state.Source.
func (d *dedup) Reset() {
	*d = *newDedup(d.span)
	d.loaded = map[uint64][]stampedID{}
}

// Put implements state.Source.
func (d *dedup) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyDedupFields {
		return window.ReadFields(value, d.fields)
	}
	if len(key) > 0 && key[0] == keyFormerIDs {
		return d.former.put(key, value)
	}
	if len(key) != 9 || key[0] != keyDedupBlock {
		return fmt.Errorf("message ids: unknown key %q", key)
	}
	block, err := readIDs(value, func(id []byte) string { return d.keep(view(id)) })
	if err != nil {
		return fmt.Errorf("message ids: block %x: %w", key[1:], err)
	}
	d.loaded[binary.BigEndian.Uint64(key[1:])] = block
	return nil
}

// readIDs reads what Append wrote of a block.
func readIDs(value []byte, keep func(id []byte) string) ([]stampedID, error) {
	const idBytesMin = 3 // as it is written
	block := make([]stampedID, 0, min(dedupBlock, len(value)/idBytesMin))
	last := int64(0)
	for r := wire.New(value); r.Len() > 0; {
		last += r.Varint()
		id := r.Sized()
		if len(id) == 0 || len(block) == dedupBlock {
			return nil, fmt.Errorf("it is cut off, or too large")
		}
		block = append(block, stampedID{last, keep(id)})
	}
	return block, nil
}

// Ready implements state.Source.
func (d *dedup) Ready() error {
	d.ids = make(map[string]struct{}, min(d.tail-d.head, uint64(len(d.loaded))*dedupBlock))
	for first := d.head / dedupBlock * dedupBlock; first < d.tail; first += dedupBlock {
		block := d.loaded[first]
		if want := min(dedupBlock, d.tail-first); uint64(len(block)) != want {
			return fmt.Errorf("message ids: block %d has %d ids, not %d", first, len(block), want)
		}
		d.blocks = append(d.blocks, block)
		for n, x := range block {
			if first+uint64(n) >= d.head {
				d.ids[x.id] = struct{}{}
				d.bytes += int64(len(x.id))
			}
		}
	}
	if len(d.blocks) != len(d.loaded) || uint64(len(d.ids)) != d.tail-d.head {
		return fmt.Errorf("message ids: %d blocks of %d ids, for the ids %d to %d", len(d.loaded), len(d.ids), d.head, d.tail)
	}
	d.loaded = nil
	d.shownHead, d.shownTail = d.head, d.tail
	return nil
}

// Bytes implements state.Source.
func (d *dedup) Bytes() int64 {
	const perID = 64
	return int64(d.tail-d.head)*perID + d.bytes + d.former.bytes
}
