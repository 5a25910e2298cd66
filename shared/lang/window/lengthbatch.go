package window

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "lengthBatch",
		Resets:  true,
		Version: "1.0.0",
		Usage:   "lengthBatch(n int [, streamCurrent bool])",
		Adapt:   adaptBatch,
		Check: func(p []Param) error {
			if err := arity(p, 1, 2); err != nil {
				return err
			}
			if err := checkSize(p, 0, 1); err != nil {
				return err
			}
			if len(p) == 2 {
				return checkFlag(p, 1)
			}
			return nil
		},
		New: func(c Config) Window {
			w := &lengthBatch{
				env: c.Env, size: int(c.Params[0].Int), keep: c.Expired,
				stream: len(c.Params) == 2 && c.Params[1].Int != 0,
				batch:  newBatch(c, c.Params[0].Int),
			}
			w.Retained = w.batch.kept(w.env, func(f *Fields) {
				f.Count(&w.seen)
				f.Require(w.seen <= w.size, "%d rows of a batch of %d", w.seen, w.size)
				f.Require(w.stream || w.batch.collected() < w.size, "%d rows wait for a batch of %d", w.batch.collected(), w.size)
			})
			w.batch.passes(w.stream)
			return w
		},
	})
}

// lengthBatch collects size rows and emits them together. Each batch expires the
// one before it.
type lengthBatch struct {
	untimed
	Retained
	env    *Env
	size   int
	keep   bool // expired rows are wanted
	stream bool // rows pass at once; the batch only says when they expire
	batch  batch
	seen   int // streaming: rows of this batch, kept or not
	chunk  []Row

	waiting *event.Batch // rows that a smaller window took over, until Trim
}

func (w *lengthBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	if w.stream {
		w.pass(in, emit)
		return
	}
	for _, r := range in {
		w.batch.queue.Push(r)
		if w.batch.collected() == w.size {
			w.chunk = w.batch.flush(shrink.Reset(w.chunk), w.env.Now, w.keep)
			emit(w.chunk)
		}
	}
}

// pass lets rows through as they come, each as a chunk. The row that starts a
// batch carries the expiry of the one before.
func (w *lengthBatch) pass(in []Row, emit Emit) {
	for _, r := range in {
		w.chunk = shrink.Reset(w.chunk)
		if w.seen == w.size {
			w.chunk = w.batch.expireAll(w.chunk, w.env.Now)
			w.chunk = append(w.chunk, Row{Kind: Reset})
			w.seen = 0
		}
		w.seen++
		if w.keep {
			w.batch.queue.Push(r)
		}
		w.chunk = append(w.chunk, r)
		emit(w.chunk)
	}
}

// batch is what batch windows share: the rows of the batch that was emitted last, followed
// by the rows of the batch being collected.
type batch struct {
	queue Queue
	start uint64 // number of the first row that is being collected
}

func newBatch(c Config, expected int64) batch { return batch{queue: NewQueue(c, expected)} }

// kept returns the state of a window that is a batch and some fields.
func (b *batch) kept(env *Env, fields func(*Fields)) Retained {
	b.queue.bound = &b.start
	return NewRetained(env, &b.queue, func(f *Fields) {
		f.Uint(&b.start)
		f.Require(b.queue.head <= b.start && b.start <= b.queue.tail,
			"a batch from %d, among rows %d to %d", b.start, b.queue.head, b.queue.tail)
		fields(f)
	})
}

// passes says whether rows pass at once: then a look-up finds all of them.
func (b *batch) passes(stream bool) {
	if stream {
		b.queue.bound = nil
	}
}

// collected returns the number of rows that wait for the end of their batch.
func (b *batch) collected() int { return int(b.queue.Tail() - b.start) }

// emitted returns the number of rows of the batch before, which wait to expire.
func (b *batch) emitted() int { return int(b.start - b.queue.Head()) }

// expireAll appends every row of the batch before as expired.
func (b *batch) expireAll(chunk []Row, now int64) []Row {
	if b.start == b.queue.Head() { // streaming batches collect nothing
		b.start = b.queue.Tail()
	}
	return b.expireEmitted(chunk, now)
}

func (b *batch) expireEmitted(chunk []Row, now int64) []Row {
	for b.queue.Head() < b.start {
		chunk = b.queue.expire(chunk, now)
	}
	return chunk
}

// replace ends a batch that holds rows, without a reset: the batch before expires, and the
// rows come out and wait for their own expiry.
func (b *batch) replace(chunk []Row, now int64) []Row {
	chunk = b.expireEmitted(chunk, now)
	for n := b.start; n < b.queue.Tail(); n++ {
		chunk = append(chunk, b.queue.Row(n, Current))
	}
	b.start = b.queue.Tail()
	b.queue.reportChanges(b.start)
	return chunk
}

// flush ends a batch that holds rows: the batch before expires, aggregators are reset, and
// the rows come out. They are kept for their own expiry if the query wants that.
func (b *batch) flush(chunk []Row, now int64, keep bool) []Row {
	chunk = b.expireEmitted(chunk, now)
	chunk = append(chunk, Row{Kind: Reset})
	for n := b.start; n < b.queue.Tail(); n++ {
		chunk = append(chunk, b.queue.Row(n, Current))
	}
	b.start = b.queue.Tail()
	if !keep {
		for b.queue.Len() > 0 {
			b.queue.Pop()
		}
	}
	b.queue.reportChanges(b.start)
	return chunk
}

// Empty implements Window.
func (w *lengthBatch) Empty() bool { return w.batch.queue.Len() == 0 && w.seen == 0 }
