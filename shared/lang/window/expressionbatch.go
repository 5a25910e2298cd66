package window

import "github.com/eventflux/eventflux/shared/lang/shrink"

func newExpressionBatch(c Config) Window {
	flag := func(i int) bool { return len(c.Params) > i && c.Params[i].Int != 0 }
	w := &expressionBatch{
		env: c.Env, holds: c.Condition, include: flag(1), stream: flag(2), batch: newBatch(c, blockRowsMax/2),
	}
	w.Retained = w.batch.kept(c.Env, func(f *Fields) {
		f.Bool(&w.begun)
		f.condition(c.Condition, true)
	})
	w.batch.passes(w.stream)
	return w
}

// expressionBatch collects rows as long as a condition over them holds. The row that breaks it
// starts the next batch or, if it is to be included, ends this one; either way the condition
// counts it as the first row from then on. Each batch expires the one before it. If rows pass
// at once, the end of their batch only says when they expire.
type expressionBatch struct {
	untimed
	Retained
	env     *Env
	holds   Condition
	include bool // the row that breaks the condition belongs to the batch that it ends
	stream  bool // rows pass at once
	begun   bool // the condition has counted a row
	batch   batch
	chunk   []Row
}

func (w *expressionBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	for _, r := range in {
		w.chunk = shrink.Reset(w.chunk)
		switch {
		case w.goesOn(r):
			w.batch.queue.Push(r)
			if w.stream {
				w.chunk = append(w.chunk, r)
			}
		case w.stream:
			w.cutStream(r)
		default:
			w.cut(r)
		}
		if len(w.chunk) > 0 {
			emit(w.chunk)
		}
	}
}

// held returns the number of the first row of the batch that is being collected.
func (w *expressionBatch) held() uint64 {
	if w.stream {
		return w.batch.queue.Head()
	}
	return w.batch.start
}

// goesOn adds the row to the condition. If that does not hold, it starts again with the row.
func (w *expressionBatch) goesOn(r Row) bool {
	first := r
	if q := &w.batch.queue; w.held() < q.Tail() {
		first = q.Row(w.held(), Current)
	}
	w.begun = true
	w.holds.Add(r)
	if w.holds.Holds(first, r) {
		return true
	}
	w.holds.Clear()
	w.holds.Add(r)
	return false
}

// cut ends the batch. A row that finds nothing collected comes and leaves at once.
func (w *expressionBatch) cut(r Row) {
	now := w.env.Now
	r.TS = now
	alone := w.batch.collected() == 0
	w.chunk = w.batch.replace(w.chunk, now)
	for i := range w.chunk {
		w.chunk[i].TS = now
	}
	switch {
	case alone:
		w.chunk = append(w.chunk, r, w.expired(r))
	case w.include:
		w.chunk = append(w.chunk, r)
		w.batch.queue.Push(r)
		w.batch.start = w.batch.queue.Tail()
		w.batch.queue.reportChanges(w.batch.start)
	default:
		w.batch.queue.Push(r)
	}
}

// cutStream lets the rows that have passed expire.
func (w *expressionBatch) cutStream(r Row) {
	q := &w.batch.queue
	if q.Len() == 0 {
		w.chunk = append(w.chunk, r, w.expired(r))
		return
	}
	if w.include {
		w.chunk = append(w.chunk, r)
	}
	for q.Len() > 0 {
		w.chunk = q.expire(w.chunk, w.env.Now)
	}
	w.batch.start = q.Head()
	if w.include {
		w.chunk = append(w.chunk, w.expired(r))
		return
	}
	w.chunk = append(w.chunk, r)
	q.Push(r)
}

func (w *expressionBatch) expired(r Row) Row {
	r.TS, r.Kind = w.env.Now, Expired
	return r
}

// Reset implements state.Source.
func (w *expressionBatch) Reset() {
	w.holds.Clear()
	w.Retained.Reset()
}

// Empty implements Window.
func (w *expressionBatch) Empty() bool { return !w.begun }
