package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// joining is a join: each row that leaves a side's window is compared with every row that the
// other side holds.
type joining struct {
	run   *running
	plan  *siddhiql.Join
	sides [2]keeper // nil: a source without a window
}

// searched is a window whose rows a join can look up, in order.
type searched interface{ found() []item }

func (w *length) found() []item     { return w.rows }
func (w *timeWindow) found() []item { return w.rows }

func (w *lengthBatch) found() []item {
	if w.stream {
		return w.batch
	}
	return w.previous
}

func (w *timeBatch) found() []item {
	if w.stream {
		return w.batch
	}
	return w.previous
}

func (w *externalTime) found() []item      { return w.rows }
func (w *externalTimeBatch) found() []item { return w.emitted }

func (w *sorted) found() []item {
	rows := slices.Clone(w.rows)
	slices.SortStableFunc(rows, w.compare)
	return rows
}

func (w *sessions) found() []item {
	var open []*session
	for _, k := range w.keys {
		for _, s := range []*session{k.previous, k.now} {
			if s != nil {
				open = append(open, s)
			}
		}
	}
	slices.SortFunc(open, func(a, b *session) int { return a.opened - b.opened })
	var rows []item
	for _, s := range open {
		rows = append(rows, s.rows()...)
	}
	return rows
}

func newJoining(run *running) *joining {
	j := &joining{run: run, plan: run.q.Join}
	for i := range j.plan.Sides {
		if w := j.plan.Sides[i].Window; w != nil {
			j.sides[i] = newWindow(w, run.environment(true, i))
		}
	}
	return j
}

// receive is A2 and A9: in a self join every event passes the left side, then the right one. The
// results are passed on after the last event.
func (j *joining) receive(s *siddhiql.Stream, chunk []item) {
	var out [][]item
	switch {
	case s.Window != nil: // what comes out of a named window is looked up, on one side
		i := 0
		if j.plan.Sides[0].Stream.ID != s.ID {
			i = 1
		}
		out = append(out, j.run.out(j.look(i, chunk)))
	case j.plan.SelfJoin():
		for _, x := range chunk {
			for i := range j.sides {
				out = append(out, j.run.out(j.side(i, []item{x})))
			}
		}
	default:
		for i := range j.plan.Sides {
			if j.plan.Sides[i].Stream.ID == s.ID {
				out = append(out, j.run.out(j.side(i, chunk)))
			}
		}
	}
	for _, rows := range out {
		j.run.m.emit(j.run, rows)
	}
}

func (j *joining) fire(t timer) {
	var came []item
	for _, c := range j.sides[t.side].fire(t.due, t.seq) {
		came = append(came, c...)
	}
	j.run.m.emit(j.run, j.run.out(j.look(t.side, came)))
}

// side passes a chunk through the filters and the window of a side, and then looks up its rows.
func (j *joining) side(i int, chunk []item) []candidate {
	chunk = j.run.filter(j.plan.Sides[i].Before, chunk)
	if len(chunk) == 0 {
		return nil
	}
	var came []item
	if j.sides[i] == nil { // A5
		for _, x := range chunk {
			came = append(came, x)
			if x.kind != current {
				continue
			}
			if j.run.q.Expired {
				came = append(came, x.as(expired, x.ts))
			}
			came = append(came, item{kind: reset})
		}
		return j.look(i, came)
	}
	for _, c := range j.sides[i].add(chunk) {
		came = append(came, c...)
	}
	return j.look(i, came)
}

// look returns the output for the rows that have left a side. The selector gets a chunk for each of
// them (A6).
func (j *joining) look(i int, came []item) []candidate {
	if !j.plan.Sides[i].Triggers {
		return nil
	}
	var out []candidate
	for _, x := range came {
		if x.kind == reset {
			j.run.sel.process([]item{x}, j.run.m.clock)
			continue
		}
		var joined []item
		for _, y := range j.other(1 - i) {
			pair := x.as(x.kind, x.ts)
			pair.values = j.pair(i, x.values, y.values)
			if j.plan.On == nil || (&scope{values: pair.values, ts: x.ts, now: j.run.m.clock, m: j.run.m}).holds(j.plan.On) {
				joined = append(joined, pair)
			}
		}
		if len(joined) == 0 && j.plan.Sides[i].Preserved { // A4
			alone := x.as(x.kind, x.ts)
			alone.values = j.pair(i, x.values, nil)
			joined = append(joined, alone)
		}
		if len(joined) > 0 {
			out = append(out, j.run.sel.process(joined, j.run.m.clock)...)
		}
	}
	return out
}

// other returns the rows that a look-up from side i finds on the other side (A7).
func (j *joining) other(i int) []item {
	s := j.plan.Sides[i].Stream
	if s.Table != nil {
		var rows []item
		for _, values := range j.run.m.tables[s.Table.ID].found() {
			rows = append(rows, item{values: values})
		}
		return rows
	}
	if n := j.run.m.namedOf(s); n != nil {
		return n.run.window.(searched).found()
	}
	if j.sides[i] == nil {
		return nil
	}
	return j.sides[i].(searched).found()
}

// pair joins the values of a row of side i with those of the other side; nil stands for an absent
// row.
func (j *joining) pair(i int, own, other []any) []any {
	there := any(true)
	if other == nil {
		other = make([]any, len(j.plan.Sides[1-i].Stream.Schema.Attrs))
		there = nil
	}
	if i == 0 {
		return slices.Concat(own, other, []any{true, there})
	}
	return slices.Concat(other, own, []any{there, true})
}
