package window

import "github.com/eventflux/eventflux/shared/lang/event"

// externalClock are the boundaries of batches by an attribute.
type externalClock struct {
	attr     int
	span     int64
	start    int  // attribute of the first row that sets the anchor; -1: none
	anchored bool // the anchor is a constant
	timeout  int64
	replace  bool // the attribute becomes the end of the batch

	begun   bool
	anchor  int64  // boundaries are congruent to it, modulo span
	until   int64  // of this batch
	largest int64  // value of the attribute so far
	flushed bool   // this batch came out by timeout
	due     int64  // of the timeout
	seq     uint64 // orders it
}

// configure reads the parameters from the attribute on.
func (w *externalClock) configure(p []Param) {
	w.attr, w.span, w.start = p[0].Attr, p[1].Int, -1
	if last := p[len(p)-1]; last.Constant() && last.Type == event.Bool {
		w.replace = last.Int != 0
		p = p[:len(p)-1]
	}
	if len(p) > 2 {
		w.start, w.anchor, w.anchored = p[2].Attr, p[2].Int, p[2].Constant()
	}
	if len(p) > 3 {
		w.timeout = p[3].Int
	}
}

func (w *externalClock) clockFields(f *Fields) {
	f.Bool(&w.begun)
	f.Int(&w.anchor)
	f.Int(&w.until)
	f.Int(&w.largest)
	f.Bool(&w.flushed)
	f.Int(&w.due)
	f.Uint(&w.seq)
}

// begin fixes the boundaries with the first row; it cannot if the row's start is null.
func (w *externalClock) begin(env *Env, r Row, t int64) bool {
	if w.begun {
		return true
	}
	switch {
	case w.anchored:
		w.until = w.boundary(t)
	case w.start >= 0:
		start := &r.B.Cols[w.start]
		if start.IsNull(int(r.I)) {
			return false
		}
		w.anchor = start.Ints[r.I]
		w.until = later(w.anchor, w.span)
	default:
		w.anchor, w.until = t, later(t, w.span)
	}
	w.begun, w.largest = true, t
	w.arm(env)
	return true
}

// boundary returns the first boundary after t.
func (w *externalClock) boundary(t int64) int64 {
	return later(t, w.span-floorMod(t-w.anchor, w.span))
}

func (w *externalClock) arm(env *Env) {
	if due := later(env.Now, w.timeout); w.timeout > 0 && (due != w.due || w.seq == 0) {
		w.due, w.seq = due, env.NextSeq()
	}
}

// skipIdle moves the timeout past the times when it had nothing to do.
func (w *externalClock) skipIdle(now int64) {
	if w.timeout > 0 && w.due <= now {
		w.due = later(now, w.timeout-(now-w.due)%w.timeout)
	}
}
