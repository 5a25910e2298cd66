package engine

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A backfill builds state that would start empty: another task of the new version applies the log
// up to the change, without results, and the components take its entries over. It depends on
// nothing but the log, so a crash, a standby or a restore builds the same. rerun.go does it; this
// file decides which components it can build.

const (
	startsEmpty = "it starts empty"
	fromTheLog  = "it is built from the log"
)

// FromLog reports whether any component is built from the log.
func (m *Migration) FromLog() bool {
	return slices.ContainsFunc(m.Steps, func(s ComponentStep) bool { return s.FromLog })
}

// Since adds to the plan of a backfill from where the log is read.
func (m *Migration) Since(where string) {
	for i := range m.Steps {
		if m.Steps[i].FromLog {
			m.Steps[i].Reason = fromTheLog + " since " + where
		}
	}
}

// planBackfill decides which components are built from the log. It refuses what would not have
// the state of an app that had the new text from the first frame on.
func (m *Migration) planBackfill(before, after *Engine) {
	list := after.definitions()
	for i := range list {
		s := m.stepOf(list[i].ID)
		if s != nil && s.New != "" && s.Reason == startsEmpty && bucketOf(&list[i]) == nil {
			s.FromLog, s.Reason = true, fromTheLog
		}
	}
	if !m.FromLog() {
		return
	}
	if before.plan.Lateness != after.plan.Lateness {
		m.refuse("the lateness of @app:playback changes, and a backfill needs one order of events; change it in an upgrade of its own")
	}
	complete := !slices.ContainsFunc(m.Change.Backfill, func(from uint64) bool { return from > 1 })
	told := map[string]bool{}
	for i := range list {
		d := &list[i]
		if s := m.stepOf(d.ID); s == nil || !s.FromLog {
			continue
		}
		owner, _, _ := cutLast(d.ID)
		if why := m.notFromLog(after, d, complete); why != "" && !told[owner] {
			told[owner] = true
			m.refuse("%s cannot be built from the log: %s; change the app without a backfill, and it starts empty", d.ID, why)
		}
	}
}

func (m *Migration) refuse(format string, args ...any) {
	m.Refusals = append(m.Refusals, fmt.Sprintf(format, args...))
}

// notFromLog returns why a component cannot be built from the log; "" if it can.
func (m *Migration) notFromLog(e *Engine, d *definition, complete bool) string {
	if t := tableOf(d.Source); t != nil && !t.Stream.Sink.Off {
		return "a backfill makes no results, and those of a table with a @sink are its rows"
	}
	for _, id := range d.DependsOn {
		if s := m.stepOf(id); s != nil && !s.FromLog && !strings.HasSuffix(id, "/keys") {
			return fmt.Sprintf("it counts the rows in %s, which are not from the log", id)
		}
	}
	for _, id := range inputsOf(e, d) {
		s := m.stepOf(id)
		switch {
		case s == nil || s.FromLog || strings.HasSuffix(id, "/keys"):
		case s.Outcome == OutcomeNew:
			return fmt.Sprintf("it reads %s, which is filled after the change", id)
		case !complete:
			return fmt.Sprintf("it reads what follows from %s, and the log has only a part of what that was made of", id)
		}
	}
	return ""
}

// inputsOf returns the ids of the components whose state has a part in the rows that come to a
// component, its own query's aside.
func inputsOf(e *Engine, d *definition) []string {
	in := inputs{e: e, names: queryNames(e.plan), seen: map[any]bool{}}
	owner, _, _ := cutLast(d.ID)
	switch table := tableOf(d.Source); {
	case table != nil:
		in.table(table)
	case d.query != nil && d.query.named != nil:
		in.stream(d.query.named.plan.Stream)
	default:
		if n := slices.Index(in.names, owner); n >= 0 {
			in.seen[e.plan.Queries[n]] = true
			in.readBy(e.plan.Queries[n])
		}
	}
	return in.ids
}

// inputs collects the components that rows come from, through any number of queries.
type inputs struct {
	e     *Engine
	names []string // of the queries in the state
	seen  map[any]bool
	ids   []string
}

// first reports whether x was not visited before.
func (in *inputs) first(x any) bool {
	if in.seen[x] {
		return false
	}
	in.seen[x] = true
	return true
}

func (in *inputs) stream(s *siddhiql.Stream) {
	if !in.first(s) {
		return
	}
	if s.Trigger != nil {
		in.ids = append(in.ids, "trigger/"+s.Name)
	}
	if s.Window != nil {
		in.ids = append(in.ids, namedWindowID(s.Window))
	}
	in.writers(s)
}

func (in *inputs) table(t *siddhiql.Table) {
	if in.first(t) {
		in.ids = append(in.ids, "table/"+t.Name)
		in.writers(t.Stream)
	}
}

// writers visits the queries that insert into a stream, or write to its table.
func (in *inputs) writers(s *siddhiql.Stream) {
	for i, q := range in.e.plan.Queries {
		if q.Target != s || !in.first(q) {
			continue
		}
		for _, c := range in.e.Components() {
			if owner, _, _ := cutLast(c.ID); owner == in.names[i] {
				in.ids = append(in.ids, c.ID)
			}
		}
		in.readBy(q)
	}
}

// readBy visits the streams and tables that a query reads.
func (in *inputs) readBy(q *siddhiql.Query) {
	for _, s := range q.Reads() {
		in.stream(s)
	}
	rest := *q
	rest.Target, rest.Write = nil, nil // it does not read what it writes to
	in.tables(reflect.ValueOf(rest))
}

// tables visits the tables that a part of a query reads. It goes through all of the part, so
// that a part of the language that is added later is never left out.
func (in *inputs) tables(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		switch x := v.Interface().(type) {
		case *siddhiql.Table:
			if x != nil {
				in.table(x)
			}
			return
		case *siddhiql.Stream:
			if x != nil && x.Table != nil {
				in.table(x.Table)
			}
			return
		}
		if !v.IsNil() && in.first(v.Interface()) {
			in.tables(v.Elem())
		}
	case reflect.Interface:
		if !v.IsNil() {
			in.tables(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			in.tables(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				in.tables(v.Field(i))
			}
		}
	}
}
