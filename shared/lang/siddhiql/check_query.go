package siddhiql

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// queryChecker checks queries and partitions.
type queryChecker struct {
	*build
	catalog  *catalog
	exprs    *exprChecker
	handlers *handlerChecker
	joins    *joinChecker
	patterns *patternChecker
	tables   *tableChecker
	sinks    *sinkChecker
	shards   *shardChecker
	names    map[string]Pos // of queries
}

// query checks one query and adds it to the plan; nil if too little is known of its source
// to continue.
func (qc *queryChecker) query(d *QueryDef) *Query {
	q := &Query{
		ID: len(qc.plan.Queries), Block: qc.catalog.block, Pos: d.Pos, Limit: -1,
		Current: d.Events != ExpiredEvents, Expired: d.Events != CurrentEvents, Text: d.text(),
	}
	qc.queryAnnotations(d, q)
	in := qc.input(d, q)
	if in == nil {
		qc.catalog.brokenTarget(d)
		return nil
	}
	q.In = in.schema
	out := qc.selection(d, q, in)
	qc.groupBy(d, q, in)
	qc.outputClauses(d, q, in, out)
	q.Limit = qc.rowCount(d.Limit, "limit", -1)
	q.Offset = qc.rowCount(d.Offset, "offset", 0)
	qc.rate(d, q)
	qc.target(d, q, out)
	qc.plan.Queries = append(qc.plan.Queries, q)
	return q
}

// input checks what a query reads, and returns what its select can refer to; nil if too
// little is known of it.
func (qc *queryChecker) input(d *QueryDef, q *Query) *scope {
	switch in := d.Input.(type) {
	case *StreamInput:
		return qc.streamInput(in, d, q)
	case *PatternInput:
		return qc.patterns.input(in, d, q)
	case *JoinInput:
		return qc.joins.input(in, d, q)
	}
	return nil
}

func (qc *queryChecker) streamInput(in *StreamInput, d *QueryDef, q *Query) *scope {
	source := qc.catalog.find(in.Source)
	if source == nil || source.broken {
		return nil
	}
	if !qc.handlers.oneWindow(in) {
		return nil
	}
	q.Source = source.stream
	s := &scope{schema: q.Source.Schema, stream: in.Source, outputs: outputNames(d)}
	rest, ok := qc.handlers.streamFunctions(in, q, s)
	if !ok {
		return nil
	}
	q.Before, q.Window, q.After = qc.handlers.handlers(rest, s)
	return s
}

// outputNames lists the names that a select gives its values.
func outputNames(d *QueryDef) []string {
	var names []string
	for _, item := range d.Items {
		if item.As.Text != "" {
			names = append(names, item.As.Text)
		}
	}
	return names
}

// handlers checks the filters and the window of a source.
func (hd *handlerChecker) handlers(d *StreamInput, in *scope) (before []Expr, w *Window, after []Expr) {
	windows := 0
	for _, h := range d.Handlers {
		switch {
		case h.Filter == nil:
			windows++
			if windows > 1 {
				hd.errorf(h.Pos, "a second window, %s: a query has at most one; let a query before this one have the other", tick(h.Window))
				continue
			}
			w = hd.window(h, in)
		case windows == 0:
			before = append(before, hd.exprs.condition(h.Filter, in.in("a filter"), "a filter"))
		default:
			after = append(after, hd.exprs.condition(h.Filter, in.in("a filter"), "a filter"))
		}
	}
	return before, w, after
}

// selection checks select and returns the attributes of the rows; an attribute with a wrong
// expression has type 0.
func (qc *queryChecker) selection(d *QueryDef, q *Query, in *scope) []event.Attr {
	if len(d.Items) == 0 {
		return qc.star(d, q, in)
	}
	if len(d.Items) > attrsMax {
		qc.errorf(d.Pos, "the query selects %d values: expected at most %d", len(d.Items), attrsMax)
		return []event.Attr{{Name: itemName(d.Items[0]).Text}}
	}
	var out []event.Attr
	s := in.in("select")
	s.query, s.shared = q, map[string]int{}
	taken := map[string]bool{}
	for _, item := range d.Items {
		name := itemName(item)
		if taken[name.Text] {
			qc.errorf(name.Pos, "the output name %s stands twice in this select: give one another name with `as`", tick(name.Text))
		}
		taken[name.Text] = true
		e := qc.exprs.expr(item.Expr, s)
		q.Select = append(q.Select, e)
		out = append(out, outputAttr(name.Text, e))
	}
	return out
}

// star selects every attribute.
func (qc *queryChecker) star(d *QueryDef, q *Query, in *scope) []event.Attr {
	q.StarOnly = true
	attrs := in.schema.Attrs
	if in.names != nil {
		attrs = in.names.star(qc.exprs, d)
	}
	for i, a := range attrs {
		q.Select = append(q.Select, &Attr{Index: i, Attr: a})
	}
	return slices.Clone(attrs)
}

func itemName(item *Item) Name {
	if r, plain := item.Expr.(*Ref); plain && item.As.Text == "" {
		return Name{Pos: r.Pos, Text: r.Name}
	}
	return item.As
}

func outputAttr(name string, e Expr) event.Attr {
	if e == nil {
		return event.Attr{Name: name}
	}
	a := event.Attr{Name: name, Type: e.Type()}
	if e.Holds() != e.Type() {
		a.Held = e.Holds()
	}
	return a
}

func (qc *queryChecker) groupBy(d *QueryDef, q *Query, in *scope) {
	for _, r := range d.GroupBy {
		if e := qc.exprs.ref(r, in.in("group by")); e != nil {
			q.GroupBy = append(q.GroupBy, e.(*Attr).Index)
		}
	}
}

// outputClauses checks having and order by, which see only what select names; having of a pattern
// also sees its steps.
func (qc *queryChecker) outputClauses(d *QueryDef, q *Query, in *scope, out []event.Attr) {
	s := &scope{schema: &event.Schema{Name: d.Target.Name, Attrs: out}, stream: d.Target, input: in}
	if d.Having != nil {
		h := s.in("having")
		if n, ok := in.names.(*patternNames); ok {
			h = n.having(h)
		}
		q.Having = qc.exprs.condition(d.Having, h, "`having`")
	}
	for _, o := range d.OrderBy {
		if e := qc.exprs.ref(o.Attr, s.in("order by")); e != nil {
			q.OrderBy = append(q.OrderBy, Order{Attr: e.(*Attr).Index, Desc: o.Desc})
		}
	}
}

// rowCount reads limit or offset: a constant of at least 0.
func (qc *queryChecker) rowCount(n Node, clause string, absent int64) int64 {
	if n == nil {
		return absent
	}
	l, ok := n.(*Literal)
	switch {
	case !ok:
		qc.errorf(start(n), "%s is computed, but a constant is needed: `%s` takes a whole number", tick(textOf(n)), clause)
	case l.Time || l.Type != event.Int && l.Type != event.Long:
		qc.errorf(l.Pos, "found %s, expected a whole number after `%s`", tick(literalText(l)), clause)
	case l.Int < 0:
		qc.errorf(l.Pos, "found %s, expected a number of at least 0 after `%s`", tick(literalText(l)), clause)
	default:
		return l.Int
	}
	return absent
}

// target resolves the stream that a query inserts into, or defines it.
func (qc *queryChecker) target(d *QueryDef, q *Query, out []event.Attr) {
	broken := slices.ContainsFunc(out, func(a event.Attr) bool { return a.Type == 0 })
	if d.Target.Fault {
		qc.errorf(d.Target.Pos, "a query inserts into %s, but only events that could not be applied go there: expected a stream of another name", tick(d.Target.String()))
		return
	}
	if d.Write != nil || qc.catalog.tables[d.Target.Name] != nil && !d.Target.Inner {
		qc.tables.changes(d, q, out)
		return
	}
	if d.Target.Inner && qc.catalog.block < 0 {
		qc.catalog.find(d.Target) // says why not
		return
	}
	k := qc.catalog.space(d.Target.Inner)[d.Target.Name]
	switch {
	case k == nil:
		k = qc.catalog.implicit(d.Target, out, broken)
	case !broken && !k.broken:
		qc.sameShape(d, k, out)
	}
	qc.catalog.noTarget(d, k)
	k.target = true
	q.Target, q.Output = k.stream, k.stream.Schema
	qc.catalog.noCycle(d, q)
}

// implicit defines a stream by the first query into it.
func (ct *catalog) implicit(r StreamRef, out []event.Attr, broken bool) *known {
	s := &Stream{ID: len(ct.plan.Streams), Name: r.Name, Schema: &event.Schema{Name: r.Name, Attrs: out}, Block: -1, TimeAttr: -1}
	if r.Inner {
		s.Block = ct.block
	}
	ct.plan.Streams = append(ct.plan.Streams, s)
	k := &known{stream: s, at: r.Pos, broken: broken}
	ct.space(r.Inner)[r.Name] = k
	return k
}

// brokenTarget notes the target stream of a query whose check was given up.
func (ct *catalog) brokenTarget(d *QueryDef) {
	if d.Target.Inner && ct.block < 0 {
		ct.find(d.Target)
		return
	}
	if d.Write != nil || ct.tables[d.Target.Name] != nil {
		return
	}
	k := ct.space(d.Target.Inner)[d.Target.Name]
	if k == nil {
		k = ct.implicit(d.Target, nil, true)
	}
	k.target = true
}

// sameShape compares the rows of a query with the stream it inserts into.
func (qc *queryChecker) sameShape(d *QueryDef, k *known, out []event.Attr) {
	have := k.stream.Schema.Attrs
	by := fmt.Sprintf("the query at %s", k.at)
	if k.stream.Defined || k.stream.Window != nil {
		by = fmt.Sprintf("its definition at %s", k.at)
	}
	rows := &event.Schema{Name: k.stream.Name, Attrs: out}
	for i := range min(len(have), len(out)) {
		h, o := have[i], out[i]
		switch {
		case h.Name != o.Name || h.Type != o.Type:
			qc.errorf(d.Target.Pos, "stream %s is %s by %s, but this query yields %s: attribute %d is %s, expected %s",
				tick(d.Target.String()), tick(k.stream.Schema.String()), by, tick(rows.String()), i+1, tick(o.Name+" "+o.Type.String()), tick(h.Name+" "+h.Type.String()))
			return
		case h.Held != o.Held:
			qc.errorf(d.Target.Pos, "attribute %s of stream %s holds %s by %s, but this query inserts %s: cast() only calls it %s; use convert(…, '%s')",
				tick(o.Name), tick(d.Target.String()), h.Holds(), by, o.Holds(), o.Type, o.Type)
			return
		}
	}
	if len(have) != len(out) {
		qc.errorf(d.Target.Pos, "stream %s is %s by %s, but this query yields %s: found %s, expected %d",
			tick(d.Target.String()), tick(k.stream.Schema.String()), by, tick(rows.String()), count(len(out), "attribute"), len(have))
	}
}

// noCycle refuses a stream that feeds itself: one event would lead to events without end.
func (ct *catalog) noCycle(d *QueryDef, q *Query) {
	for _, source := range q.Reads() {
		ct.feeds[source] = append(ct.feeds[source], q.Target)
	}
	for _, source := range q.Reads() {
		if path := ct.path(q.Target, source, map[*Stream]bool{}); path != nil {
			ct.feedsItself(d, source, path)
			return
		}
	}
}

func (ct *catalog) feedsItself(d *QueryDef, source *Stream, path []*Stream) {
	through := ""
	if len(path) > 1 {
		names := make([]string, len(path)-1)
		for i, s := range path[:len(path)-1] {
			names[i] = streamText(s)
		}
		through = " through " + listOf(names, "and")
	}
	ct.errorf(d.Target.Pos, "stream %s feeds itself%s: expected queries that lead away from it", tick(streamText(source)), through)
}

// path returns the streams from one to another along the queries, or nil.
func (ct *catalog) path(from, to *Stream, seen map[*Stream]bool) []*Stream {
	if from == to {
		return []*Stream{to}
	}
	seen[from] = true
	for _, next := range ct.feeds[from] {
		if seen[next] {
			continue
		}
		if rest := ct.path(next, to, seen); rest != nil {
			return append([]*Stream{from}, rest...)
		}
	}
	return nil
}

func streamText(s *Stream) string { return StreamRef{Inner: s.Block >= 0, Name: s.Name}.String() }
