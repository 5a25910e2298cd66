package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "externalTime",
		Version: "1.0.0",
		Usage:   "externalTime(attribute long, span time)",
		Adapt:   adaptAny,
		Check: func(p []Param) error {
			if err := arity(p, 2, 2); err != nil {
				return err
			}
			if err := checkClock(p, 0); err != nil {
				return err
			}
			return checkSpan(p, 1)
		},
		New: func(c Config) Window {
			w := &externalTime{env: c.Env, refused: c.Refused, attr: c.Params[0].Attr, span: c.Params[1].Int, queue: NewQueue(c, blockRowsMax/2)}
			w.Retained = NewRetained(w.env, &w.queue, nil)
			return w
		},
	})
}

// checkClock refuses parameter i unless it is an attribute that can be a clock.
func checkClock(params []Param, i int) error {
	if p := params[i]; p.Constant() || p.Type != event.Long {
		return fmt.Errorf("parameter %d: expected an attribute of type long, found %s", i+1, p.describe())
	}
	return nil
}

// externalTime is a time window with an attribute as its clock: a row expires when a row
// comes that is span ms later by that attribute. A late row waits for all rows before it,
// and nothing expires without a newer event.
type externalTime struct {
	untimed
	Retained
	env     *Env
	refused func(Row)
	attr    int
	span    int64
	queue   Queue
	chunk   []Row
}

func (w *externalTime) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		clock := &r.B.Cols[w.attr]
		if clock.IsNull(int(r.I)) {
			w.env.drop(r, w.refused)
			continue
		}
		now := clock.Ints[r.I]
		for w.queue.Len() > 0 {
			head := w.queue.Row(w.queue.Head(), Expired)
			if later(head.B.Cols[w.attr].Ints[head.I], w.span) > now {
				break
			}
			w.chunk = w.queue.expire(w.chunk, now)
		}
		w.chunk = append(w.chunk, r)
		w.queue.Push(r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Empty implements Window.
func (w *externalTime) Empty() bool { return w.queue.Len() == 0 }
