package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// KeyTexts returns, for each stream of an app, the attributes with texts that become keys
// of partitions, groups or sessions, or values that an aggregator counts as different. It
// follows an attribute through the selects of queries, so that ingest can refuse a text
// that is too long before the app sees it. It does not follow texts that functions build.
func KeyTexts(plan *siddhiql.Plan) [][]int {
	k := keyTexts{plan: plan, is: make([][]bool, len(plan.Streams))}
	for i, s := range plan.Streams {
		k.is[i] = make([]bool, len(s.Schema.Attrs))
	}
	for _, b := range plan.Blocks {
		for _, key := range b.Keys {
			if key.Value != nil {
				k.use(of(key.Stream), key.Value)
			}
		}
	}
	for _, s := range plan.Streams {
		if s.ShardKey != nil {
			k.use(of(s), s.ShardKey)
		}
	}
	for _, q := range plan.Queries {
		k.own(q)
	}
	for k.changed = true; k.changed; { // an app does not feed itself, so this ends soon
		k.changed = false
		for _, q := range plan.Queries {
			for i, x := range q.Select {
				if q.Write == nil && k.is[q.Target.ID][i] {
					k.use(q.Origin, x)
				}
			}
		}
	}
	all := make([][]int, len(plan.Streams))
	for s, attrs := range k.is {
		for a, is := range attrs {
			if is {
				all[s] = append(all[s], a)
			}
		}
	}
	return all
}

// origin returns the stream that an attribute comes from, and its index there; false if it
// comes from none.
type origin func(attr int) (*siddhiql.Stream, int, bool)

// of returns the origin of a stream's own attributes.
func of(s *siddhiql.Stream) origin {
	return func(a int) (*siddhiql.Stream, int, bool) { return s, a, true }
}

type keyTexts struct {
	plan    *siddhiql.Plan
	is      [][]bool // by stream and attribute
	changed bool
}

// own finds the keys that a query itself uses.
func (k *keyTexts) own(q *siddhiql.Query) {
	for _, a := range q.GroupBy {
		k.add(q.Origin, a)
	}
	for _, a := range q.Aggs {
		for _, x := range a.Args {
			k.use(q.Origin, x)
		}
	}
	k.window(q.Origin, q.Window)
	if q.Join != nil {
		for i := range q.Join.Sides {
			k.window(of(q.Join.Sides[i].Stream), q.Join.Sides[i].Window)
		}
	}
}

// window finds the keys of a window; nil: there is none.
func (k *keyTexts) window(from origin, w *siddhiql.Window) {
	if w == nil {
		return
	}
	spec, _ := window.Lookup(w.Name)
	for _, n := range spec.KeyParams(len(w.Params)) {
		switch p := w.Params[n]; {
		case p.Attr >= 0:
			k.add(from, p.Attr)
		case p.Computed:
			k.use(from, w.Computed[n])
		}
	}
}

// use marks the attributes that may be the text of an expression.
func (k *keyTexts) use(from origin, x siddhiql.Expr) {
	switch x := x.(type) {
	case *siddhiql.Attr:
		k.add(from, x.Index)
	case *siddhiql.Call:
		args := x.Args
		switch x.Func {
		case "ifThenElse":
			args = args[1:] // the first is the condition
		case "coalesce", "default", "convert", "cast":
		default:
			return // it builds a text of its own
		}
		for _, a := range args {
			k.use(from, a)
		}
	}
}

func (k *keyTexts) add(from origin, a int) {
	s, a, ok := from(a)
	if ok && s.Schema.Attrs[a].Holds().Class() == event.Texts && !k.is[s.ID][a] {
		k.is[s.ID][a], k.changed = true, true
	}
}
