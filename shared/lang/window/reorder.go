package window

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// Reorder keeps events until their time has come, so that an app sees events that arrive
// out of order in time order. Events that arrive together are a chunk: they have one time,
// the largest of their own, and stay together. Chunks leave in order of time, and chunks
// with the same time in order of arrival.
//
// The state has an entry for each block of chunks of one stream, by the number of the
// block, and one for the clocks. A full block never changes: the clock tells which of its
// chunks still wait, and the block goes when none does. docs/formats/state.md describes the
// bytes.
type Reorder struct {
	streams []*event.Schema // by stream
	input   int64           // the largest time that came, ms; NoTime before the first
	clock   int64           // chunks up to this ms have left
	came    uint64          // chunks that came
	next    uint64          // number of the next block
	blocks  []*heldBlock    // by number
	open    []*heldBlock    // by stream: the block that takes the next chunk, or nil
	rows    int             // that wait

	// Chunks that wait. Most come in time order, and wait in run; the others wait in rest.
	run  []held // run[head:] waits
	head int
	rest Heap[held, *held]

	retired *heldBlock // its last chunk has left, and may still be read
	spare   []*event.Batch
	changed []*heldBlock
	gone    []uint64 // numbers of blocks that are gone, after Changed reported them
	loaded  []*heldBlock
}

// A block is full once it has this many rows, or bytes in memory: a new chunk never makes
// the state store more than this again.
const (
	heldRows  = 256
	heldBytes = 64 << 10
	// heldRowsMax is the most that a block can have: the last chunk may be a whole frame.
	heldRowsMax = heldRows + 1<<20
	spareMax    = 4
)

// heldBlock has chunks of one stream.
type heldBlock struct {
	number uint64
	stream int
	rows   *event.Batch
	chunks []heldChunk
	waits  int  // chunks that wait
	listed bool // in changed
	told   bool // by Changed
}

// heldChunk is a chunk in a block: its rows start after the chunk before it, and stop at
// end.
type heldChunk struct {
	came uint64
	end  int
}

// held is a chunk that waits.
type held struct {
	time     int64
	came     uint64
	block    *heldBlock
	from, to int32
}

// Before orders chunks in the order of leaving.
func (h *held) Before(o *held) bool {
	return h.time < o.time || h.time == o.time && h.came < o.came
}

// NewReorder returns a Reorder without events. It takes events of the streams that have a
// schema.
func NewReorder(streams []*event.Schema) *Reorder {
	return &Reorder{streams: streams, input: NoTime, clock: NoTime, open: make([]*heldBlock, len(streams))}
}

// Streams returns the schema of each stream whose events can wait; nil for the others.
func (r *Reorder) Streams() []*event.Schema { return r.streams }

// Input returns the input clock in ms: the largest time that came; false before the first.
func (r *Reorder) Input() (ms int64, ok bool) { return r.input, r.input != NoTime }

// Come moves the input clock to ms, if that is later, and returns it.
func (r *Reorder) Come(ms int64) int64 {
	r.input = max(r.input, ms)
	return r.input
}

// Rows returns the number of events that wait.
func (r *Reorder) Rows() int { return r.rows }

// Add keeps copies of the rows [from, to) of b, a chunk of a stream with the given time.
func (r *Reorder) Add(stream int, b *event.Batch, from, to int, time int64) {
	r.settle()
	r.came++
	k := r.open[stream]
	if k == nil {
		k = &heldBlock{number: r.next, stream: stream, rows: r.batch(stream)}
		r.next++
		r.blocks = append(r.blocks, k)
		r.open[stream] = k
	}
	start := k.rows.Len()
	k.rows.AppendRows(b, from, to)
	end := k.rows.Len()
	k.chunks = append(k.chunks, heldChunk{r.came, end})
	k.waits++
	r.list(k)
	if k.full() {
		r.open[stream] = nil
	}
	r.wait(held{time, r.came, k, int32(start), int32(end)})
}

func (k *heldBlock) full() bool { return k.rows.Len() >= heldRows || k.rows.Bytes() >= heldBytes }

func (r *Reorder) list(k *heldBlock) {
	if !k.listed {
		k.listed = true
		r.changed = append(r.changed, k)
	}
}

func (r *Reorder) batch(stream int) *event.Batch {
	schema := r.streams[stream]
	for i, b := range r.spare {
		if b.Schema == schema {
			r.spare = slices.Delete(r.spare, i, i+1)
			return b
		}
	}
	return event.NewBatch(schema)
}

// wait adds a chunk that waits.
func (r *Reorder) wait(h held) {
	r.rows += int(h.to - h.from)
	if n := len(r.run); n > r.head && h.time < r.run[n-1].time {
		r.rest.Push(h)
		return
	}
	if len(r.run) == cap(r.run) && r.head > len(r.run)/2 { // rather than to grow
		r.run = r.run[:copy(r.run, r.run[r.head:])]
		r.head = 0
	}
	r.run = append(r.run, h)
}

// first returns the chunk that leaves next, or nil.
func (r *Reorder) first() *held {
	var h *held
	if r.head < len(r.run) {
		h = &r.run[r.head]
	}
	if len(r.rest) > 0 && (h == nil || r.rest[0].Before(h)) {
		h = &r.rest[0]
	}
	return h
}

// Next returns the time of the chunk that leaves next; false if none waits.
func (r *Reorder) Next() (ms int64, ok bool) {
	if h := r.first(); h != nil {
		return h.time, true
	}
	return 0, false
}

// Take removes the next chunk. There must be one. Its rows are valid until Add or Take is
// called.
func (r *Reorder) Take() (stream int, b *event.Batch, from, to int) {
	r.settle()
	h := r.first()
	k := h.block
	from, to = int(h.from), int(h.to)
	if r.head < len(r.run) && h == &r.run[r.head] {
		r.run[r.head].block = nil
		if r.head++; r.head == len(r.run) {
			r.run, r.head = emptied(r.run), 0
		}
	} else if r.rest.Pop(); len(r.rest) == 0 {
		r.rest = emptied(r.rest)
	}
	r.rows -= to - from
	if k.waits--; k.waits == 0 {
		r.drop(k)
	}
	return k.stream, k.rows, from, to
}

// emptied returns a list that nothing waits in any more, without its memory if that is much.
func emptied[L ~[]held](list L) L {
	if cap(list) > 4*heldRows {
		return nil
	}
	return list[:0]
}

// drop drops a block that no waiting chunk needs.
func (r *Reorder) drop(k *heldBlock) {
	i, _ := slices.BinarySearchFunc(r.blocks, k.number, byNumber)
	r.blocks = slices.Delete(r.blocks, i, i+1)
	if r.open[k.stream] == k {
		r.open[k.stream] = nil
	}
	if k.told {
		r.gone = append(r.gone, k.number)
	}
	r.retired = k
}

func byNumber(k *heldBlock, number uint64) int {
	switch {
	case k.number < number:
		return -1
	case k.number > number:
		return 1
	}
	return 0
}

// settle takes back the memory of a block that has left.
func (r *Reorder) settle() {
	k := r.retired
	if k == nil {
		return
	}
	r.retired = nil
	if len(r.spare) < spareMax && k.rows.Bytes() < 2*heldBytes {
		k.rows.Reset()
		r.spare = append(r.spare, k.rows)
	}
	k.rows = nil
}

// Passed records that all chunks up to ms have left.
func (r *Reorder) Passed(ms int64) { r.clock = ms }

// Changed implements state.Source.
func (r *Reorder) Changed(visit func(key []byte)) {
	var key [9]byte
	for _, k := range r.changed {
		k.listed = false
		if k.waits > 0 {
			k.told = true
			visit(blockKey(key[:0], k.number))
		}
	}
	for _, number := range r.gone {
		visit(blockKey(key[:0], number))
	}
	clear(r.changed)
	r.changed, r.gone = r.changed[:0], r.gone[:0]
	visit([]byte{keyFields})
}

// Keys implements state.Source.
func (r *Reorder) Keys(visit func(key []byte)) {
	var key [9]byte
	for _, k := range r.blocks {
		visit(blockKey(key[:0], k.number))
	}
	visit([]byte{keyFields})
}

// Append implements state.Source.
func (r *Reorder) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields {
		return WriteFields(dst, r.fields), true
	}
	k := r.find(key)
	if k == nil {
		return dst, false
	}
	schema := r.streams[k.stream]
	dst = binary.AppendUvarint(dst, uint64(len(schema.Name)))
	dst = append(dst, schema.Name...)
	dst = binary.AppendUvarint(dst, uint64(len(k.chunks)))
	came, start := uint64(0), 0
	for _, c := range k.chunks {
		dst = binary.AppendUvarint(dst, c.came-came)
		dst = binary.AppendUvarint(dst, uint64(c.end-start))
		came, start = c.came, c.end
	}
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	return c.appendRows(dst, k.rows, event.NewBatch(schema), allOf(schema)), true
}

func (r *Reorder) find(key []byte) *heldBlock {
	if len(key) != 9 || key[0] != keyBlock {
		return nil
	}
	i, ok := slices.BinarySearchFunc(r.blocks, binary.BigEndian.Uint64(key[1:]), byNumber)
	if !ok {
		return nil
	}
	return r.blocks[i]
}

func allOf(s *event.Schema) []int {
	all := make([]int, len(s.Attrs))
	for i := range all {
		all[i] = i
	}
	return all
}

func (r *Reorder) fields(f *Fields) {
	f.Int(&r.input)
	f.Int(&r.clock)
	f.Uint(&r.came)
	f.Uint(&r.next)
	f.Require(r.next <= r.came && r.came <= rowNumberMax, "%d blocks for %d chunks", r.next, r.came)
}

// Reset implements state.Source.
func (r *Reorder) Reset() { *r = *NewReorder(r.streams) }

// Put implements state.Source.
func (r *Reorder) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		return ReadFields(value, r.fields)
	}
	if len(key) != 9 || key[0] != keyBlock {
		return fmt.Errorf("reorder: unknown key %q", key)
	}
	k := &heldBlock{number: binary.BigEndian.Uint64(key[1:]), told: true}
	if err := r.read(k, value); err != nil {
		return fmt.Errorf("reorder: block %d: %w", k.number, err)
	}
	r.loaded = append(r.loaded, k)
	return nil
}

// read reads what Append wrote of a block.
func (r *Reorder) read(k *heldBlock, src []byte) error {
	d := wire.New(src)
	name := string(d.Sized())
	k.stream = slices.IndexFunc(r.streams, func(s *event.Schema) bool { return s != nil && s.Name == name })
	if k.stream < 0 {
		d.Fail("it has events of stream %q, which cannot wait in this app", name)
	}
	const chunkBytesMin = 2 // as it is written
	count := d.Count(chunkBytesMin)
	if count == 0 {
		d.Fail("no chunks")
	}
	k.chunks = make([]heldChunk, 0, count)
	came, end := uint64(0), uint64(0)
	for range count {
		more, rows := d.Uvarint(), d.Uvarint()
		if more == 0 || more > rowNumberMax-came || rows == 0 || rows > heldRowsMax-end {
			d.Fail("chunk %d does not follow", len(k.chunks)+1)
			return d.Err()
		}
		came, end = came+more, end+rows
		k.chunks = append(k.chunks, heldChunk{came, int(end)})
	}
	if d.Failed() {
		return d.Err()
	}
	k.rows = event.NewBatch(r.streams[k.stream])
	rest, err := readRows(k.rows, nil, d.Rest(), allOf(k.rows.Schema), heldRowsMax)
	if err != nil {
		return err
	}
	if k.rows.Len() != int(end) || len(rest) > 0 {
		return fmt.Errorf("%d rows for chunks of %d, and %d bytes after them", k.rows.Len(), end, len(rest))
	}
	return nil
}

// Ready implements state.Source.
func (r *Reorder) Ready() error {
	slices.SortFunc(r.loaded, func(a, b *heldBlock) int { return byNumber(a, b.number) })
	var all []held
	for i, k := range r.loaded {
		if k.number >= r.next || i > 0 && k.number == r.loaded[i-1].number {
			return fmt.Errorf("reorder: block %d is there twice, or after the last, %d", k.number, r.next)
		}
		start := 0
		for _, c := range k.chunks {
			if h := (held{Latest(k.rows, start, c.end), c.came, k, int32(start), int32(c.end)}); h.time > r.clock {
				k.waits++
				all = append(all, h)
			}
			start = c.end
		}
		if last := k.chunks[len(k.chunks)-1].came; k.waits == 0 || last > r.came {
			return fmt.Errorf("reorder: block %d has no event that waits, or its chunk %d comes after the last, %d", k.number, last, r.came)
		}
		if !k.full() {
			if r.open[k.stream] != nil {
				return fmt.Errorf("reorder: blocks %d and %d of stream %s both have room", r.open[k.stream].number, k.number, k.rows.Schema)
			}
			r.open[k.stream] = k
		}
	}
	r.blocks, r.loaded = r.loaded, nil
	slices.SortFunc(all, func(a, b held) int {
		if a.Before(&b) {
			return -1
		}
		return 1
	})
	for _, h := range all {
		r.wait(h)
	}
	return nil
}

// Latest returns the largest timestamp of the rows [from, to) of b: the time of a chunk.
func Latest(b *event.Batch, from, to int) int64 {
	now := b.TS[from]
	for _, ts := range b.TS[from+1 : to] {
		now = max(now, ts)
	}
	return now
}

// Bytes implements state.Source.
func (r *Reorder) Bytes() int64 {
	const perChunk = 56
	n := int64(cap(r.run)+cap(r.rest)) * perChunk
	for _, k := range r.blocks {
		n += int64(k.rows.Bytes()) + 16*int64(len(k.chunks))
	}
	return n
}

// Items implements state.Lister: the events that wait, in order of arrival for each stream.
func (r *Reorder) Items(visit func(state.Item)) bool {
	for _, k := range r.blocks {
		start := 0
		for _, c := range k.chunks {
			if time := Latest(k.rows, start, c.end); time > r.clock {
				for i := start; i < c.end; i++ {
					visit(state.Item{Key: heldKey(c.came, i-start), Entry: blockKey(nil, k.number), Value: k.appendItem(i, time)})
				}
			}
			start = c.end
		}
	}
	return true
}

// heldKey names an event by the number of its chunk and its index in the chunk.
func heldKey(came uint64, i int) string {
	return "event " + strconv.FormatUint(came, 10) + "." + strconv.Itoa(i)
}

func (k *heldBlock) appendItem(i int, time int64) []byte {
	dst := append([]byte(`{"stream":`), quoted(k.rows.Schema.Name)...)
	dst = strconv.AppendInt(append(dst, `,"time":`...), time, 10)
	dst = append(dst, `,"row":`...)
	return append(appendRow(dst, k.rows, i, allOf(k.rows.Schema)), '}')
}

// Item implements state.Lister.
func (r *Reorder) Item(key string, entry []byte) (json.RawMessage, bool) {
	k := r.find(entry)
	number, place, _ := strings.Cut(strings.TrimPrefix(key, "event "), ".")
	came, err := strconv.ParseUint(number, 10, 64)
	i, err2 := strconv.Atoi(place)
	if k == nil || err != nil || err2 != nil {
		return nil, false
	}
	start := 0
	for _, c := range k.chunks {
		if c.came == came && i >= 0 && i < c.end-start {
			time := Latest(k.rows, start, c.end)
			return k.appendItem(start+i, time), time > r.clock
		}
		start = c.end
	}
	return nil, false
}

// Clock returns the latest ms whose chunks have left.
func (r *Reorder) Clock() int64 { return r.clock }
