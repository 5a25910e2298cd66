package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// externalTime is 5.5.
type externalTime struct {
	attr   int
	period int64
	rows   []item
}

func (w *externalTime) add(chunk []item) [][]item {
	var out []item
	for _, x := range chunk {
		if x.values[w.attr] == nil {
			continue // dropped
		}
		t := x.values[w.attr].(int64)
		for len(w.rows) > 0 && w.rows[0].values[w.attr].(int64)+w.period <= t {
			out = append(out, w.rows[0].as(expired, t))
			w.rows = w.rows[1:]
		}
		out = append(out, x)
		w.rows = append(w.rows, x)
	}
	return one(out)
}

func (w *externalTime) fire(int64, int) [][]item { return nil }

// externalTimeBatch is 5.6.
type externalTimeBatch struct {
	*environment
	attr      int
	period    int64
	start     *window.Param // nil: none
	timeout   int64         // 0: none
	replaceTS bool

	started bool
	anchor  int64  // boundaries are ≡ anchor (mod period)
	end     int64  // of the current batch
	largest int64  // timestamp seen
	batch   []item // not yet emitted
	emitted []item // rows of the previous batch; after a flush by timeout, of this one
	flushed bool   // by a timeout
	newest  int64  // due time of the last timer
	seq     int    // number of that timer
}

func newExternalTimeBatch(p []window.Param, env *environment) *externalTimeBatch {
	w := &externalTimeBatch{environment: env, attr: p[0].Attr, period: p[1].Int}
	if last := p[len(p)-1]; last.Constant() && last.Type == event.Bool {
		w.replaceTS = last.Int != 0
		p = p[:len(p)-1]
	}
	if len(p) > 2 {
		w.start = &p[2]
	}
	if len(p) > 3 {
		w.timeout = p[3].Int
	}
	return w
}

func (w *externalTimeBatch) add(chunk []item) [][]item {
	var chunks [][]item
	if w.started && w.timeout > 0 && w.now() >= w.newest {
		// A timer of an earlier query, due at the same ms, has put out the chunk. Timers still go
		// before events (1.6).
		chunks = w.fire(w.newest, w.seq)
	}
	for _, x := range chunk {
		if x.values[w.attr] == nil {
			continue // dropped, as in externalTime
		}
		if !w.started && !w.begin(x) {
			continue
		}
		t := x.values[w.attr].(int64)
		w.largest = max(w.largest, t)
		if t >= w.end {
			if w.flushed {
				chunks = append(chunks, one(w.repeat())...)
			} else {
				chunks = append(chunks, one(w.flush())...)
			}
			w.flushed = false
			w.end = nextBoundary(w.largest, w.anchor, w.period)
			w.arm()
		}
		w.collect(x)
	}
	return chunks
}

// begin fixes the boundaries with the first event. If its start attribute is null, it cannot, and
// the event is dropped.
func (w *externalTimeBatch) begin(x item) bool {
	t := x.values[w.attr].(int64)
	switch {
	case w.start == nil:
		w.anchor, w.end = t, t+w.period
	case w.start.Constant():
		w.anchor, w.end = w.start.Int, nextBoundary(t, w.start.Int, w.period)
	default:
		if x.values[w.start.Attr] == nil {
			return false
		}
		w.anchor = x.values[w.start.Attr].(int64)
		w.end = w.anchor + w.period
	}
	w.started, w.largest = true, t
	w.arm()
	return true
}

// arm restarts the timeout. The same due time keeps the same timer.
func (w *externalTimeBatch) arm() {
	if due := w.now() + w.timeout; w.timeout > 0 && due != w.newest {
		w.newest = due
		w.seq = w.schedule(due)
	}
}

func (w *externalTimeBatch) collect(x item) {
	if w.replaceTS {
		x.values = slices.Clone(x.values)
		x.values[w.attr] = w.end
	}
	w.batch = append(w.batch, x)
}

// flush emits the batch for the first time: [E previous, R, C batch].
func (w *externalTimeBatch) flush() []item {
	var out []item
	if w.needsExpired {
		out = expireAll(w.emitted, w.largest)
	}
	w.emitted = w.batch
	if len(w.batch) > 0 {
		out = append(out, item{kind: reset})
		out = append(out, w.batch...)
	}
	w.batch = nil
	return out
}

// repeat emits a flushed batch again if it has grown: [E old rows, R, C old rows, C new rows].
func (w *externalTimeBatch) repeat() []item {
	if len(w.batch) == 0 {
		return nil
	}
	var out []item
	if w.needsExpired {
		out = expireAll(w.emitted, w.largest)
	}
	out = append(out, item{kind: reset})
	w.emitted = append(slices.Clone(w.emitted), w.batch...)
	w.batch = nil
	return append(out, w.emitted...)
}

// fire handles the timeout, which repeats at equal distances until it is restarted. It ignores
// timers that newer ones have replaced.
func (w *externalTimeBatch) fire(due int64, seq int) [][]item {
	if due != w.newest || seq != w.seq {
		return nil
	}
	var out []item
	if w.flushed {
		out = w.repeat()
	} else {
		out = w.flush()
		w.flushed = true
	}
	w.newest += w.timeout
	w.again(w.newest, w.seq)
	return one(out)
}
