package siddhiql

import (
	"reflect"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"pgregory.net/rapid"
)

// Any tree, whatever words its names are, comes back from its text.
func TestAnyTreeComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := drawApp(t)
		text := app.String()
		again, err := Parse(text)
		if err != nil {
			t.Fatalf("printed text does not parse: %v\n%s", err, text)
		}
		clearPositions(again)
		if !reflect.DeepEqual(app, again) {
			t.Fatalf("the tree changed on its way through\n%s\n%s", text, again)
		}
	})
}

func drawName(t *rapid.T) string {
	words := append([]string{"a", "S", "x1", "_", "events", "all", "current", "window", "min", "sec", "every", "Order", "NULL", "a b", "a.b", "*", "ü", "1"}, reserved...)
	return rapid.SampledFrom(words).Draw(t, "name")
}

func drawNode(t *rapid.T, depth int) Node {
	kinds := 2
	if depth > 0 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return drawLiteral(t)
	case 1:
		return drawRef(t)
	case 2:
		return &Negation{X: drawNode(t, depth-1)}
	case 3:
		if rapid.Bool().Draw(t, "ref") {
			return &NullTest{X: drawRef(t)}
		}
		return &NullTest{X: drawFunc(t, depth-1)}
	case 4:
		return drawFunc(t, depth-1)
	default:
		op := BinaryOp(rapid.IntRange(int(OpOr), int(OpModulo)).Draw(t, "op"))
		return &Binary{Op: op, L: drawNode(t, depth-1), R: drawNode(t, depth-1)}
	}
}

func drawRef(t *rapid.T) *Ref {
	r := &Ref{Name: drawName(t)}
	if rapid.Bool().Draw(t, "of a stream") {
		r.Stream, r.Inner = drawName(t), rapid.Bool().Draw(t, "inner")
	}
	return r
}

func drawFunc(t *rapid.T, depth int) *Func {
	f := &Func{Name: drawName(t), Star: rapid.IntRange(0, 5).Draw(t, "star") == 0}
	if f.Star {
		return f
	}
	for range rapid.IntRange(0, 3).Draw(t, "args") {
		f.Args = append(f.Args, drawNode(t, depth))
	}
	return f
}

func drawLiteral(t *rapid.T) *Literal {
	switch rapid.IntRange(0, 6).Draw(t, "literal") {
	case 0:
		return &Literal{Type: event.Int, Int: int64(rapid.Int32().Draw(t, "int"))}
	case 1:
		return &Literal{Type: event.Long, Int: rapid.Int64().Draw(t, "long")}
	case 2:
		return &Literal{Type: event.Float, Real: float64(rapid.Float32().Draw(t, "float"))}
	case 3:
		return &Literal{Type: event.Double, Real: rapid.Float64().Draw(t, "double")}
	case 4:
		return &Literal{Type: event.Bool, Int: int64(rapid.IntRange(0, 1).Draw(t, "bool"))}
	case 5:
		return &Literal{Type: event.Long, Time: true, Int: rapid.Int64Range(0, 1<<53).Draw(t, "ms")}
	default:
		text := rapid.SampledFrom([]string{"", "x", "it's", "say \"x\" now", "two\nlines", "-- no comment", "`"}).Draw(t, "string")
		return &Literal{Type: event.String, Text: text}
	}
}

func drawStreamRef(t *rapid.T) StreamRef {
	r := StreamRef{Name: drawName(t), Inner: rapid.Bool().Draw(t, "inner")}
	r.Fault = !r.Inner && rapid.Bool().Draw(t, "fault")
	return r
}

func drawJoin(t *rapid.T, left *StreamInput) *JoinInput {
	side := func(in *StreamInput) *JoinSide {
		s := &JoinSide{StreamInput: *in, Unidirectional: rapid.Bool().Draw(t, "unidirectional")}
		if rapid.Bool().Draw(t, "as") {
			s.As = Name{Text: drawName(t)}
		}
		return s
	}
	j := &JoinInput{Left: side(left), Right: side(&StreamInput{Source: drawStreamRef(t)}), Type: JoinType(rapid.IntRange(0, 3).Draw(t, "type"))}
	if rapid.Bool().Draw(t, "on") {
		j.On = drawNode(t, 2)
	}
	return j
}

func drawQuery(t *rapid.T) *QueryDef {
	const depth = 3
	some := func(what string) int { return rapid.IntRange(0, 2).Draw(t, what) }
	in := &StreamInput{Source: drawStreamRef(t)}
	q := &QueryDef{Target: drawStreamRef(t), Events: Events(some("events"))}
	for range some("handlers") {
		h := &Handler{Filter: drawNode(t, depth)}
		if rapid.Bool().Draw(t, "window") {
			h = &Handler{Window: drawName(t), Params: drawFunc(t, 1).Args}
		}
		in.Handlers = append(in.Handlers, h)
	}
	q.Input = in
	if rapid.Bool().Draw(t, "join") {
		q.Input = drawJoin(t, in)
	}
	for range some("items") {
		q.Items = append(q.Items, &Item{Expr: drawNode(t, depth), As: Name{Text: drawName(t)}})
	}
	for range some("group by") {
		q.GroupBy = append(q.GroupBy, drawRef(t))
	}
	for range some("order by") {
		q.OrderBy = append(q.OrderBy, &OrderItem{Attr: drawRef(t), Desc: rapid.Bool().Draw(t, "desc")})
	}
	for _, clause := range []*Node{&q.Having, &q.Limit, &q.Offset} {
		if rapid.Bool().Draw(t, "clause") {
			*clause = drawNode(t, depth)
		}
	}
	return q
}

func drawApp(t *rapid.T) *App {
	app := &App{Streams: []*StreamDef{{Name: Name{Text: drawName(t)}}}}
	for _, kind := range event.Types() {
		app.Streams[0].Attrs = append(app.Streams[0].Attrs, AttrDef{Name: Name{Text: drawName(t)}, Type: kind})
	}
	for range rapid.IntRange(0, 2).Draw(t, "elements") {
		if rapid.Bool().Draw(t, "query") {
			app.Elements = append(app.Elements, drawQuery(t))
			continue
		}
		d := &PartitionDef{Queries: []*QueryDef{drawQuery(t)}}
		d.Keys = append(d.Keys, &KeyDef{Value: drawNode(t, 2), Stream: StreamRef{Name: drawName(t), Fault: rapid.Bool().Draw(t, "fault")}})
		d.Keys = append(d.Keys, &KeyDef{Stream: StreamRef{Name: drawName(t)}, Ranges: []*RangeDef{
			{Cond: drawNode(t, 2), Label: "low"}, {Cond: drawNode(t, 2), Label: "it's"},
		}})
		app.Elements = append(app.Elements, d)
	}
	return app
}
