package siddhiql

import (
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// planText prints a plan so that a person can review it.
func planText(p *Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "app %q partitions=%d playback=%v", p.Name, p.Partitions, p.Playback)
	if p.Lateness != LatenessOff || p.Ahead != aheadDefault || p.Idle != 0 {
		fmt.Fprintf(&b, " lateness=%d ahead=%d idle=%d increment=%d", p.Lateness, p.Ahead, p.Idle, p.Increment)
	}
	if p.Bounds != (Bounds{}) {
		fmt.Fprintf(&b, " bounds=%+v", p.Bounds)
	}
	b.WriteByte('\n')
	for _, s := range p.Streams {
		fmt.Fprintf(&b, "stream %d %s", s.ID, schemaText(s))
		if s.Defined {
			b.WriteString(" defined subject=" + s.Subject)
			if s.Origin != nil {
				fmt.Fprintf(&b, " origin=%+v", *s.Origin)
			}
		}
		if s.TimeAttr >= 0 {
			fmt.Fprintf(&b, " time=%s", s.Schema.Attrs[s.TimeAttr].Name)
		}
		if s.Fault != nil {
			fmt.Fprintf(&b, " fault=%d", s.Fault.ID)
		}
		if t := s.Trigger; t != nil {
			fmt.Fprintf(&b, " trigger=%d start=%v ms=%d cron=%v", t.ID, t.Start, t.Period, t.Cron != nil)
		}
		if s.Block >= 0 {
			fmt.Fprintf(&b, " block=%d", s.Block)
		}
		if s.Sink.Packed || s.Sink.Off {
			fmt.Fprintf(&b, " sink={Packed:%t Off:%t}", s.Sink.Packed, s.Sink.Off)
		}
		if f := s.Sink.Format; f != nil {
			fmt.Fprintf(&b, " format=%q", f.ContentType)
		}
		if t := s.Sink.Subject; t != nil {
			fmt.Fprintf(&b, " subject=%s %v", t.Pattern("N"), s.Sink.Attrs)
		}
		if n := s.Sink.PerSubject; n > 0 {
			fmt.Fprintf(&b, " per subject=%d", n)
		}
		if v := s.Sink.View; v != nil {
			fmt.Fprintf(&b, " view=%s[%s] %v delete=%v", v.Bucket, v.Key.Pattern("N"), v.Attrs, v.Delete)
		}
		if s.ShardKey != nil {
			b.WriteString(" shard=" + exprText(s.ShardKey))
		}
		b.WriteByte('\n')
	}
	for _, k := range p.Blocks {
		fmt.Fprintf(&b, "block %d", k.ID)
		for _, key := range k.Keys {
			fmt.Fprintf(&b, " %s by %s", key.Stream.Name, keyText(key))
		}
		fmt.Fprintf(&b, " queries=%d", len(k.Queries))
		if k.IdlePeriod > 0 {
			fmt.Fprintf(&b, " idle=%d", k.IdlePeriod)
		}
		b.WriteByte('\n')
	}
	for _, q := range p.Queries {
		b.WriteString(queryText(q))
	}
	return b.String()
}

func schemaText(s *Stream) string {
	text := s.Schema.String()
	for _, a := range s.Schema.Attrs {
		if a.Held != 0 {
			text += fmt.Sprintf(" %s holds %s", a.Name, a.Held)
		}
	}
	return text
}

func keyText(k PartitionKey) string {
	if k.Value != nil {
		return exprText(k.Value)
	}
	var parts []string
	for _, r := range k.Ranges {
		parts = append(parts, fmt.Sprintf("%s:%s", r.Label, exprText(r.Cond)))
	}
	return strings.Join(parts, " | ")
}

func queryText(q *Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "query %d %q block=%d at %s: %s -> %s\n", q.ID, q.Name, q.Block, q.Pos, readsText(q), streamText(q.Target))
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(&b, "  %s %s\n", what, text)
		}
	}
	if q.Pattern != nil {
		b.WriteString(patternText(q.Pattern))
	}
	if q.Join != nil {
		line("join", joinText(q.Join))
	}
	line("before", exprTexts(q.Before))
	if q.Window != nil {
		line("window", q.Window.Name+paramTexts(q.Window.Params))
	}
	line("after", exprTexts(q.After))
	for i, a := range q.Aggs {
		line(fmt.Sprintf("agg %d", i), fmt.Sprintf("%s(%s) %s", a.Name, exprTexts(a.Args), a.Type))
	}
	line("select", exprTexts(q.Select))
	if q.StarOnly {
		line("star", "only")
	}
	if q.GroupBy != nil {
		line("group", fmt.Sprint(q.GroupBy))
	}
	if q.Having != nil {
		line("having", exprText(q.Having))
	}
	if q.OrderBy != nil {
		line("order", fmt.Sprint(q.OrderBy))
	}
	if q.Limit >= 0 || q.Offset > 0 {
		line("limit", fmt.Sprintf("%d offset %d", q.Limit, q.Offset))
	}
	if q.Rate != nil {
		line("rate", fmt.Sprintf("%s events=%d ms=%d totals=%v names=%v", q.Rate.Which, q.Rate.Events, q.Rate.Period, q.Rate.Totals, q.Rate.Names))
	}
	if !q.Current || q.Expired {
		line("insert", fmt.Sprintf("current=%v expired=%v", q.Current, q.Expired))
	}
	return b.String()
}

func patternText(p *Pattern) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  pattern sequence=%t within=%d every=%v values=%v\n", p.Sequence, p.Within, p.Groups, p.Values)
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  step %s\n", s.Text)
		for _, i := range s.Items {
			item := &p.Items[i]
			fmt.Fprintf(&b, "    item %d %s", i, streamText(item.Stream))
			for _, part := range []struct {
				name  string
				exprs []Expr
			}{{"own", item.Own}, {"rest", item.Rest}} {
				if len(part.exprs) > 0 {
					fmt.Fprintf(&b, " %s %s", part.name, exprTexts(part.exprs))
				}
			}
			for _, eq := range item.Equal {
				fmt.Fprintf(&b, " index %s == %s", exprText(eq.Own), exprText(eq.Held))
			}
			fmt.Fprintf(&b, " held %v\n", item.Held)
		}
	}
	return b.String()
}

func joinText(j *Join) string {
	var b strings.Builder
	b.WriteString([...]string{"inner", "left", "right", "full"}[j.Type])
	for i := range j.Sides {
		s := &j.Sides[i]
		fmt.Fprintf(&b, "\n    %s from $%d: %s triggers=%v preserved=%v [%s]", s.Name, s.Base, s.Stream.Name, s.Triggers, s.Preserved, exprTexts(s.Before))
		if s.Window != nil {
			b.WriteString(" " + s.Window.Name + paramTexts(s.Window.Params))
		}
	}
	for _, k := range j.Keys {
		fmt.Fprintf(&b, "\n    key %s = %s as %d", exprText(k.Of[0]), exprText(k.Of[1]), k.Class)
	}
	if j.Rest != nil {
		b.WriteString("\n    rest " + exprText(j.Rest))
	}
	return b.String()
}

func readsText(q *Query) string {
	var names []string
	for _, s := range q.Reads() {
		names = append(names, streamText(s))
	}
	return strings.Join(names, ", ")
}

func paramTexts(list []window.Param) string {
	var parts []string
	for _, p := range list {
		switch {
		case !p.Constant():
			parts = append(parts, fmt.Sprintf("$%d:%s", p.Attr, p.Type))
		case p.Time:
			parts = append(parts, fmt.Sprintf("%dms", p.Int))
		default:
			parts = append(parts, exprText(&Const{T: p.Type, Int: p.Int, Real: p.Real, Text: p.Text}))
		}
	}
	return "(" + strings.Join(parts, ", ") + ")"
}

func exprTexts(list []Expr) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = exprText(e)
	}
	return strings.Join(parts, ", ")
}

func exprText(e Expr) string {
	switch e := e.(type) {
	case *Const:
		return literalText(&Literal{Type: e.T, Int: e.Int, Real: e.Real, Text: e.Text})
	case *Attr:
		return fmt.Sprintf("$%d:%s", e.Index, typesText(e))
	case *Arith:
		return fmt.Sprintf("(%s %c %s):%s", exprText(e.L), e.Op, exprText(e.R), e.T)
	case *Compare:
		op := []string{"==", "!=", "<", "<=", ">", ">="}[e.Op]
		return fmt.Sprintf("(%s %s %s)", exprText(e.L), op, exprText(e.R))
	case *And:
		return fmt.Sprintf("(%s and %s)", exprText(e.L), exprText(e.R))
	case *Or:
		return fmt.Sprintf("(%s or %s)", exprText(e.L), exprText(e.R))
	case *Not:
		return "not " + exprText(e.X)
	case *IsNull:
		return "null?" + exprText(e.X)
	case *Call:
		return fmt.Sprintf("%s(%s):%s", e.Func, exprTexts(e.Args), typesText(e))
	case *AggResult:
		return fmt.Sprintf("agg%d:%s", e.Index, e.T)
	}
	return "?"
}

func typesText(e Expr) string {
	if e.Holds() != e.Type() {
		return e.Type().String() + "(holds " + e.Holds().String() + ")"
	}
	return e.Type().String()
}
