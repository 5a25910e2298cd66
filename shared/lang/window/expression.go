package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name: "expression", Version: "1.0.0", Usage: "expression('condition')", Condition: true,
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkCondition(p)
		},
		New: newExpression,
	})
	Register(Spec{
		Name: "expressionBatch", Version: "1.0.0", Condition: true,
		Usage: "expressionBatch('condition' [, includeTrigger bool [, streamCurrent bool]])",
		Check: func(p []Param) error {
			if err := arity(p, 1, 3); err != nil {
				return err
			}
			if err := checkCondition(p); err != nil {
				return err
			}
			for i := 1; i < len(p); i++ {
				if err := checkFlag(p, i); err != nil {
					return err
				}
			}
			return nil
		},
		New: newExpressionBatch,
	})
}

func checkCondition(p []Param) error {
	switch {
	case p[0].Constant() && p[0].Type == event.String:
		return nil
	case p[0].Type == event.Bool:
		return fmt.Errorf("parameter 1: found %s, expected a condition in quotes, such as 'not flag'", p[0].describe())
	}
	return fmt.Errorf("parameter 1: expected a constant condition in quotes, such as 'count() <= 20', found %s", p[0].describe())
}

func newExpression(c Config) Window {
	w := &expression{env: c.Env, holds: c.Condition, queue: NewQueue(c, blockRowsMax/2)}
	w.Retained = NewRetained(c.Env, &w.queue, func(f *Fields) { f.condition(c.Condition, false) })
	return w
}

// expression keeps rows as long as a condition over them holds. When a row comes and it does
// not, the oldest rows leave until it holds again, or nothing is left.
type expression struct {
	untimed
	Retained
	env   *Env
	holds Condition
	queue Queue
	chunk []Row
}

func (w *expression) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.queue.Push(r)
		w.holds.Add(r)
		for w.queue.Len() > 0 && !w.holds.Holds(w.queue.Row(w.queue.Head(), Current), r) {
			w.holds.Remove(w.queue.Row(w.queue.Head(), Current))
			if w.queue.Len() == 1 { // the row itself leaves after it has come
				w.chunk = append(w.chunk, r)
			}
			w.chunk = w.queue.expire(w.chunk, w.env.Now)
		}
		if w.queue.Len() > 0 {
			w.chunk = append(w.chunk, r)
		}
	}
	emit(w.chunk)
}

// Reset implements state.Source.
func (w *expression) Reset() {
	w.holds.Clear()
	w.Retained.Reset()
}

// Ready implements state.Source.
func (w *expression) Ready() error {
	if err := w.Retained.Ready(); err != nil {
		return err
	}
	w.holds.Loaded(func(visit func(Row)) { w.queue.each(w.queue.Head(), visit) })
	return nil
}

// Empty implements Window.
func (w *expression) Empty() bool { return w.queue.Len() == 0 }

// condition writes or reads what a condition remembers beside its rows.
func (f *Fields) condition(c Condition, all bool) {
	switch {
	case f.clearing || f.err != nil:
	case !f.reading:
		f.bytes = c.AppendState(f.bytes, all)
	default:
		f.bytes, f.err = c.LoadState(f.bytes, all)
	}
}
