package main

import (
	"errors"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
)

func init() {
	window.Register(window.Spec{
		Name:    "hop",
		Version: "1.0.0",
		Usage:   "hop(size int, step int)",
		Check: func(p []window.Param) error {
			if len(p) != 2 || p[0].Type != event.Int || p[1].Type != event.Int || !p[0].Constant() || !p[1].Constant() {
				return errors.New("expected two constant ints")
			}
			if p[0].Int < 1 || p[1].Int < 1 {
				return errors.New("expected a size and a step of at least 1")
			}
			return nil
		},
		New: func(c window.Config) window.Window {
			w := &hop{size: int(c.Params[0].Int), step: c.Params[1].Int, queue: window.NewQueue(c, c.Params[0].Int)}
			// The rows, and the fields named here, are the window's state.
			w.Retained = window.NewRetained(c.Env, &w.queue, func(f *window.Fields) { f.Int(&w.since) })
			return w
		},
	})
}

// hop emits the last size rows together, each time step rows have come.
type hop struct {
	window.Retained
	size  int
	step  int64
	since int64 // rows since the last hop
	queue window.Queue
	chunk []window.Row
}

func (w *hop) Add(in []window.Row, emit window.Emit) {
	w.queue.Settle()
	for _, r := range in {
		if w.queue.Len() == w.size {
			w.queue.Pop()
		}
		w.queue.Push(r)
		if w.since++; w.since == w.step {
			w.since = 0
			w.hop(emit)
		}
	}
}

// hop resets the aggregators and gives them the rows that are in the window.
func (w *hop) hop(emit window.Emit) {
	w.chunk = append(w.chunk[:0], window.Row{Kind: window.Reset})
	for n := w.queue.Head(); n < w.queue.Tail(); n++ {
		w.chunk = append(w.chunk, w.queue.Row(n, window.Current))
	}
	emit(w.chunk)
}

// Due and Fire are for windows that wait for the clock; this one does not.
func (w *hop) Due() (int64, uint64, bool) { return 0, 0, false }
func (w *hop) Fire(window.Emit)           {}

// Empty says that a new window would do the same: the key of a partition is not kept for it.
func (w *hop) Empty() bool { return w.queue.Len() == 0 && w.since == 0 }
