package window

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
)

// Retained is the state of a window that has a queue and some fields: an entry for each block
// of the queue, by the number of its first row, and one for the fields. A full block never
// changes, so a change costs the last block and the fields, however large the window is.
// Several goroutines may put blocks at the same time. A window with a Put of its own must
// allow that, or return false from PutsAtOnce.
type Retained struct {
	env     *Env
	queue   *Queue
	fields  func(*Fields)
	initial []byte // the fields of an empty window
	head    uint64 // as of the last Changed
	tail    uint64
	loaded  *loadedBlocks // nil unless it is being loaded
}

const (
	keyFields = 'f'
	keyBlock  = 'b'
)

// rowNumberMax is a number that no row reaches.
const rowNumberMax = 1 << 62

// NewRetained returns the state of a window that keeps its rows in queue. fields may be nil. It
// is called at once, for the values in an empty window.
func NewRetained(env *Env, queue *Queue, fields func(*Fields)) Retained {
	k := Retained{env: env, queue: queue, fields: fields}
	k.initial = WriteFields(nil, k.visit)
	return k
}

// codec turns rows into bytes and back.
type codec struct {
	encoder frame.Encoder
	decoder frame.Decoder
}

// codecs are the unused codecs: windows of a task that are loaded at the same time have one
// each.
var codecs = sync.Pool{New: func() any { return &codec{} }}

func blockKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyBlock), number)
}

// Changed implements state.Source.
func (k *Retained) Changed(visit func(key []byte)) {
	q := k.queue
	var key [9]byte
	for n := k.head >> q.shift; n < q.head>>q.shift; n++ {
		visit(blockKey(key[:0], n<<q.shift))
	}
	if q.tail != k.tail {
		for n := max(k.tail>>q.shift, q.head>>q.shift); n <= (q.tail-1)>>q.shift; n++ {
			visit(blockKey(key[:0], n<<q.shift))
		}
	}
	k.head, k.tail = q.head, q.tail
	visit([]byte{keyFields})
}

// Keys implements state.Source.
func (k *Retained) Keys(visit func(key []byte)) {
	var key [9]byte
	first := k.queue.head >> k.queue.shift
	for i := range k.queue.blocks {
		visit(blockKey(key[:0], (first+uint64(i))<<k.queue.shift))
	}
	visit([]byte{keyFields})
}

// Append implements state.Source.
func (k *Retained) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields {
		return WriteFields(dst, k.visit), true
	}
	q := k.queue
	if len(key) != 9 || key[0] != keyBlock {
		return dst, false
	}
	number := binary.BigEndian.Uint64(key[1:])
	i := number>>q.shift - q.head>>q.shift
	if i >= uint64(len(q.blocks)) {
		return dst, false
	}
	if q.spare == nil {
		q.spare = event.NewBatch(q.schema)
	}
	c := codecs.Get().(*codec)
	dst = c.appendRows(dst, q.blocks[i], q.spare, q.used)
	codecs.Put(c)
	q.spare.Reset()
	if q.tagged {
		for _, tag := range q.tags[i] {
			dst = binary.AppendUvarint(dst, tag)
		}
	}
	return dst, true
}

func (k *Retained) visit(f *Fields) {
	f.Uint(&k.queue.head)
	f.Uint(&k.queue.tail)
	f.Require(k.queue.head <= k.queue.tail && k.queue.tail <= rowNumberMax, "rows from %d to %d", k.queue.head, k.queue.tail)
	if k.fields != nil {
		k.fields(f)
	}
}

// Reset implements state.Source.
func (k *Retained) Reset() {
	q := k.queue
	*q = q.emptied(0)
	k.loaded = &loadedBlocks{}
	k.head, k.tail = 0, 0
	if err := ReadFields(k.initial, k.visit); err != nil {
		panic(fmt.Sprintf("window: the fields of an empty window: %v", err))
	}
}

// PutsAtOnce implements state.Parallel: each block is read into memory of its own.
func (k *Retained) PutsAtOnce() bool { return true }

// Put implements state.Source.
func (k *Retained) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		k.loaded.Lock()
		defer k.loaded.Unlock()
		return ReadFields(value, k.visit)
	}
	q := k.queue
	if len(key) != 9 || key[0] != keyBlock {
		return fmt.Errorf("window: key %q is none of a window", key)
	}
	number := binary.BigEndian.Uint64(key[1:])
	if err := k.loaded.put(number, q.schema, q.used, value, 1<<q.shift, q.tagged); err != nil {
		return fmt.Errorf("window: block %d: %w", number, err)
	}
	return nil
}

// Ready implements state.Source.
func (k *Retained) Ready() error {
	q := k.queue
	size := uint64(1) << q.shift
	k.loaded.sort()
	for number := q.head &^ (size - 1); number < q.tail; number += size {
		block, rows := k.loaded.find(number)
		want := min(size, q.tail-number)
		if uint64(rows) != want {
			return fmt.Errorf("window: block %d is missing, or has not %d rows", number, want)
		}
		q.blocks = append(q.blocks, block.rows)
		if q.tagged {
			q.tags = append(q.tags, block.tags)
		}
	}
	if n := len(k.loaded.all); len(q.blocks) != n {
		return fmt.Errorf("window: %d blocks are not among its rows %d to %d", n-len(q.blocks), q.head, q.tail)
	}
	k.loaded = nil
	k.head, k.tail, q.told = q.head, q.tail, q.found()
	return nil
}

// Bytes implements state.Source.
func (k *Retained) Bytes() int64 {
	n := int64(0)
	for i, b := range k.queue.blocks {
		n += int64(b.Bytes())
		if k.queue.tagged {
			n += 8 * int64(len(k.queue.tags[i]))
		}
	}
	return n
}
