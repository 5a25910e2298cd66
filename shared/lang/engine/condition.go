package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// windowConfig returns what a window of the query is made from.
func (q *query) windowConfig() window.Config {
	return q.configOf(q.plan.Window, q.spec, window.Config{Schema: q.plan.In, Used: q.used, Expired: q.plan.Expired})
}

// configOf completes the configuration of a window.
func (q *query) configOf(w *siddhiql.Window, spec window.Spec, c window.Config) window.Config {
	c.Env, c.Params, c.Refused = &q.e.env, w.Params, q.refuse
	if w.Computed != nil {
		c.Value = q.keyValues(w.Computed)
	}
	if len(spec.KeyParams(len(w.Params))) > 0 {
		c.CheckKey = func(bytes int) { q.checkKey("key of the window", bytes) }
	}
	if w.Condition != nil {
		c.Condition = newCondition(q, w.Condition)
	}
	return c
}

// keyValues returns a function that appends the value of a computed parameter to a key.
func (q *query) keyValues(computed []siddhiql.Expr) func(dst []byte, param int, r window.Row) []byte {
	values := make([]func(dst []byte, r *row) []byte, len(computed))
	for i, x := range computed {
		if x != nil {
			values[i] = compileWindowKey(x)
		}
	}
	r := &row{}
	return func(dst []byte, param int, in window.Row) []byte {
		r.at(&in, q.e.env.Now)
		return values[param](dst, r)
	}
}

func compileWindowKey(x siddhiql.Expr) func(dst []byte, r *row) []byte {
	switch class(x) {
	case event.Texts:
		v := compileText(x)
		return func(dst []byte, r *row) []byte {
			if text, ok := v(r); ok {
				return window.KeyText(dst, text)
			}
			return window.KeyNull(dst)
		}
	case event.Reals:
		v := compileReal(x)
		return func(dst []byte, r *row) []byte {
			if n, ok := v(r); ok {
				return window.KeyReal(dst, n)
			}
			return window.KeyNull(dst)
		}
	default:
		v := compileInt(x)
		return func(dst []byte, r *row) []byte {
			if n, ok := v(r); ok {
				return window.KeyInt(dst, n)
			}
			return window.KeyNull(dst)
		}
	}
}

// condition is a window.Condition: it has an aggregator, or a value of the first row, for each
// Agg of its plan.
type condition struct {
	env    *window.Env
	row    row
	test   cond
	aggs   []aggregate.Aggregate // nil where the value is of the first row
	args   [][]argFn
	values []aggregate.Value
}

func newCondition(q *query, plan *siddhiql.Condition) *condition {
	c := &condition{env: &q.e.env, test: compileCond(plan.Expr)}
	most := 1
	for i := range plan.Aggs {
		a := &plan.Aggs[i]
		var made aggregate.Aggregate
		if a.Name != "" {
			made = q.newAggregate(a)
		}
		var args []argFn
		for _, x := range a.Args {
			args = append(args, compileArg(x))
		}
		most = max(most, len(args))
		c.aggs, c.args = append(c.aggs, made), append(c.args, args)
	}
	c.row.aggs = make([]aggregate.Value, len(plan.Aggs))
	c.values = make([]aggregate.Value, most)
	return c
}

// Add implements window.Condition.
func (c *condition) Add(r window.Row) {
	c.row.at(&r, c.env.Now)
	for n, a := range c.aggs {
		if a != nil {
			a.Add(0, c.arguments(n))
		}
	}
}

// Remove implements window.Condition.
func (c *condition) Remove(r window.Row) {
	c.row.at(&r, c.env.Now)
	for n, a := range c.aggs {
		if a != nil {
			a.Remove(0, c.arguments(n))
		}
	}
}

func (c *condition) arguments(n int) []aggregate.Value {
	values := c.values[:len(c.args[n])]
	for i, arg := range c.args[n] {
		arg(&c.row, &values[i])
	}
	return values
}

// Holds implements window.Condition.
func (c *condition) Holds(first, last window.Row) bool {
	c.row.at(&first, c.env.Now)
	for n, a := range c.aggs {
		if a != nil {
			a.Result(0, &c.row.aggs[n])
		} else {
			c.args[n][0](&c.row, &c.row.aggs[n])
		}
	}
	c.row.at(&last, c.env.Now)
	return c.test(&c.row)
}

// Clear implements window.Condition.
func (c *condition) Clear() {
	for _, a := range c.aggs {
		if a != nil {
			a.Clear(0)
		}
	}
}

// keepsRows reports whether the state of an aggregator is written. One whose state has segments may be
// large, and the rows give it back: it is written only if all are.
func keepsRows(a aggregate.Aggregate, all bool) bool {
	_, segmented := a.(aggregate.Segmented)
	return a != nil && (all || !segmented)
}

// AppendState implements window.Condition.
func (c *condition) AppendState(dst []byte, all bool) []byte {
	for _, a := range c.aggs {
		if !keepsRows(a, all) {
			continue
		}
		dst = appendSized(dst, a.AppendState(nil, 0))
		p, ok := a.(aggregate.Segmented)
		if !ok {
			continue
		}
		var names []string
		p.Segments(0, func(name []byte) { names = append(names, string(name)) })
		slices.Sort(names)
		dst = binary.AppendUvarint(dst, uint64(len(names)))
		for _, name := range names {
			segment, _ := p.AppendSegment(nil, 0, []byte(name))
			dst = appendSized(appendSized(dst, []byte(name)), segment)
		}
	}
	return dst
}

func appendSized(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

var errConditionCut = errors.New("the state of a condition is cut off")

func readSized(src []byte) (b, rest []byte, err error) {
	r := wire.New(src)
	if b = r.Sized(); r.Failed() {
		return nil, nil, errConditionCut
	}
	return b, r.Rest(), nil
}

// LoadState implements window.Condition.
func (c *condition) LoadState(src []byte, all bool) ([]byte, error) {
	for n, a := range c.aggs {
		if !keepsRows(a, all) {
			continue
		}
		a.Clear(0)
		state, rest, err := readSized(src)
		if err == nil {
			err = a.LoadState(0, state)
		}
		if p, ok := a.(aggregate.Segmented); ok && err == nil {
			rest, err = loadSegments(p, rest)
		}
		if err != nil {
			a.Clear(0)
			return nil, fmt.Errorf("aggregator %d of the condition: %w", n+1, err)
		}
		src = rest
	}
	return src, nil
}

func loadSegments(p aggregate.Segmented, src []byte) ([]byte, error) {
	r := wire.New(src)
	segments := r.Count(1)
	if r.Failed() {
		return nil, errConditionCut
	}
	src = r.Rest()
	last := ""
	for i := range segments {
		name, rest, err := readSized(src)
		if err != nil {
			return nil, err
		}
		if i > 0 && string(name) <= last {
			return nil, errors.New("segments are not in order")
		}
		last = string(name)
		segment, rest, err := readSized(rest)
		if err != nil {
			return nil, err
		}
		if err := p.LoadSegment(0, name, segment); err != nil {
			return nil, err
		}
		src = rest
	}
	return src, p.CheckSegments(0)
}

// Loaded implements window.Condition.
func (c *condition) Loaded(rows func(visit func(window.Row))) {
	for n, a := range c.aggs {
		if a == nil || keepsRows(a, false) {
			continue
		}
		a.Clear(0)
		rows(func(r window.Row) {
			c.row.at(&r, c.env.Now)
			a.Add(0, c.arguments(n))
		})
	}
}
