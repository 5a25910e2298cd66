package siddhiql

import (
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// app reads a whole text.
func (p *parser) app() *App {
	a := &App{}
	p.separators()
	if p.peek().kind == tokenEOF {
		p.errorf(p.peek().pos, "the app is empty: expected `define stream`, then queries")
	}
	broken := false
	for p.peek().kind != tokenEOF {
		switch {
		case broken && p.atEnd():
			// It closes a block whose head could not be read.
			p.take()
			p.acceptPunct(";")
		case p.statement(false, func() { p.element(a) }):
			p.separator(false, "between statements")
		default:
			broken = true
			p.separators()
		}
	}
	return a
}

// scriptFunction refuses `define function name[language] return type { … }`, and skips its body.
func (p *parser) scriptFunction() {
	p.take()
	t := p.take()
	p.errorf(t.pos, "found %s: %s", describe(t), outside["function"])
	for !p.atEnd() && !isPunct(p.peek(), "{") && !isPunct(p.peek(), ";") && p.peek().kind != tokenEOF {
		p.take()
	}
	if !isPunct(p.peek(), "{") {
		return
	}
	for open := 0; p.peek().kind != tokenEOF; {
		switch t := p.take(); {
		case isPunct(t, "{"):
			open++
		case isPunct(t, "}"):
			if open--; open == 0 {
				return
			}
		}
	}
}

// element reads a definition, a query or a partition with its annotations.
func (p *parser) element(a *App) {
	annotations := p.annotationsOf(a)
	switch t := p.peek(); {
	case isWord(t, "define"):
		if len(a.Elements) > 0 {
			p.errorf(t.pos, "found a definition after a query: expected all definitions before the first query or partition")
		}
		if isWord(p.ahead(1), "table") {
			p.table(a, annotations)
			return
		}
		if isWord(p.ahead(1), "window") {
			p.namedWindow(a, annotations)
			return
		}
		if isWord(p.ahead(1), "trigger") {
			p.trigger(a, annotations)
			return
		}
		if isWord(p.ahead(1), "function") {
			p.scriptFunction()
			return
		}
		if s := p.definition(annotations); len(a.Elements) == 0 {
			a.Streams = append(a.Streams, s)
		}
	case isWord(t, "from"):
		a.Elements = append(a.Elements, p.query(annotations))
	case isWord(t, "partition"):
		a.Elements = append(a.Elements, p.partition(annotations))
	case t.kind == tokenEOF && len(annotations) > 0:
		p.fail(annotations[0].Pos, "nothing follows the annotation `@%s`: expected `define stream`, `from` or `partition with`", annotations[0].Name)
	case t.kind == tokenEOF && a.defines():
		return // @app:file after the last statement
	case t.kind == tokenEOF && len(a.Annotations) > 0:
		p.fail(t.pos, "the app has no streams: expected `define stream`, then queries")
	case isWord(t, "select"), isWord(t, "delete"), isWord(t, "update"):
		p.onDemand(t)
	default:
		p.unexpected("`define stream`, `from`, `partition with` or an annotation", "define", "from", "partition")
	}
}

// defines reports whether anything but annotations has been read.
func (a *App) defines() bool {
	return len(a.Streams) > 0 || len(a.Triggers) > 0 || len(a.Tables) > 0 || len(a.Windows) > 0 || len(a.Elements) > 0
}

// annotationsOf reads annotations. The app's annotations, @app:…, go to a and must come
// before everything else, except @app:file; the others are returned.
func (p *parser) annotationsOf(a *App) []*Annotation {
	var list []*Annotation
	for isPunct(p.peek(), "@") {
		n := p.annotation()
		switch {
		case !strings.HasPrefix(strings.ToLower(n.Name), "app:"):
			list = append(list, n)
		case a == nil || a.defines() && !is(n, appFile):
			p.errorf(n.Pos, "`@%s` is of the whole app: expected before the first definition", n.Name)
		default:
			a.Annotations = append(a.Annotations, n)
			p.acceptPunct(";")
		}
	}
	return list
}

func (p *parser) annotation() *Annotation {
	at := p.peek().pos
	p.expectPunct("@", "")
	n := &Annotation{Pos: at, Name: p.plainName("the name of an annotation")}
	if p.acceptPunct(":") {
		n.Name += ":" + p.plainName("a name after `@"+n.Name+":`")
	}
	if !p.acceptPunct("(") {
		return n
	}
	p.nest(at)
	defer p.unnest()
	for !p.acceptPunct(")") {
		if len(n.Elems) > 0 {
			p.expectPunct(",", " or `)`")
		}
		n.Elems = append(n.Elems, p.annotationElem())
	}
	return n
}

func (p *parser) annotationElem() *AnnotationElem {
	t := p.peek()
	e := &AnnotationElem{Pos: t.pos}
	if isPunct(t, "@") {
		e.Nested = p.annotation()
		return e
	}
	switch {
	case t.kind == tokenString && isPunct(p.ahead(1), "="):
		e.Key = p.take().text
		if e.Key == "" {
			p.fail(t.pos, "the key is empty: expected a name")
		}
		p.take()
	case isName(t):
		e.Key = p.plainName("a key")
		for isPunct(p.peek(), ".") || isPunct(p.peek(), "-") || isPunct(p.peek(), ":") {
			e.Key += p.take().text + p.plainName("the rest of a key")
		}
		p.expectPunct("=", " and a string in quotes")
	}
	e.Value = p.text("a string in quotes")
	return e
}

// definition reads `define stream S (a int, …)`.
func (p *parser) definition(annotations []*Annotation) *StreamDef {
	s := &StreamDef{Pos: p.peek().pos, Annotations: annotations}
	p.expect("define", "")
	p.expect("stream", " after `define`")
	s.Name = p.name("the name of the stream")
	p.attributes(s)
	return s
}

// attributes reads `(a int, …)`.
func (p *parser) attributes(s *StreamDef) {
	p.expectPunct("(", " and the attributes of "+tick(s.Name.Text))
	for {
		name := p.name("the name of an attribute")
		s.Attrs = append(s.Attrs, AttrDef{Name: name, Type: p.attrType(name.Text)})
		if p.acceptPunct(")") {
			return
		}
		p.expectPunct(",", " or `)`")
	}
}

// attrType reads a type. An unknown one does not end the statement, and the rest is still
// checked: the attribute gets no type.
func (p *parser) attrType(attr string) event.Type {
	if p.peek().kind != tokenWord {
		p.unexpected("the type of " + tick(attr) + ", such as `int`")
	}
	t := p.take()
	kind, ok := event.ParseType(t.text)
	if !ok {
		p.errorf(t.pos, "unknown type %s of attribute %s%s", tick(t.text), tick(attr), didYouMeanType(t.text))
		p.untyped++
		return 0
	}
	return kind
}

// otherTypes are what other languages call the types.
var otherTypes = map[string]event.Type{
	"boolean": event.Bool, "integer": event.Int, "int32": event.Int, "int64": event.Long, "bigint": event.Long,
	"real": event.Float, "float32": event.Float, "float64": event.Double, "number": event.Double,
	"text": event.String, "varchar": event.String, "json": event.Object, "any": event.Object,
}

func didYouMeanType(name string) string {
	if t, ok := otherTypes[strings.ToLower(name)]; ok {
		return ": did you mean " + tick(t.String()) + "?"
	}
	var names []string
	for _, t := range event.Types() {
		names = append(names, t.String())
	}
	return didYouMean(name, names)
}

// partition reads `partition with (…) begin … end`.
func (p *parser) partition(annotations []*Annotation) *PartitionDef {
	d := &PartitionDef{Pos: p.peek().pos, Annotations: annotations}
	p.expect("partition", "")
	p.expect("with", " after `partition`")
	p.expectPunct("(", " and keys such as `symbol of Trades`")
	for {
		d.Keys = append(d.Keys, p.key())
		if p.acceptPunct(")") {
			break
		}
		p.expectPunct(",", " or `)`")
	}
	p.expect("begin", " after the keys of the partition")
	p.separators()
	p.block(d)
	return d
}

// block reads the queries of a partition, and its `end`.
func (p *parser) block(d *PartitionDef) {
	broken := false
	for !p.atEnd() {
		if p.peek().kind == tokenEOF {
			if broken {
				panic(bailout{})
			}
			p.fail(p.peek().pos, "found the end of the text, expected `end` of the partition at %s", d.Pos)
		}
		ok := p.statement(true, func() { d.Queries = append(d.Queries, p.blockQuery()) })
		broken = broken || !ok
		if ok {
			p.separator(true, "or `end` after the query")
		}
		p.separators()
	}
	end := p.take()
	if len(d.Queries) == 0 && !broken {
		p.errorf(end.pos, "the partition has no query: expected at least one between `begin` and `end`")
	}
}

func (p *parser) blockQuery() *QueryDef {
	annotations := p.annotationsOf(nil)
	switch t := p.peek(); {
	case isWord(t, "from"):
	case isWord(t, "partition"):
		p.fail(t.pos, "found a partition inside a partition: expected a query")
	case isWord(t, "define"):
		p.fail(t.pos, "found a definition inside a partition: expected all definitions at the beginning of the app")
	default:
		p.unexpected("a query (`from …`) or `end`", "from", "end")
	}
	return p.query(annotations)
}

// key reads `value of Stream`, or `cond as 'label' or … of Stream`.
func (p *parser) key() *KeyDef {
	k := &KeyDef{Pos: p.peek().pos}
	value := p.expression("a key such as `symbol of Trades`")
	if isWord(p.peek(), "as") {
		k.Ranges = p.ranges(value)
	} else {
		k.Value = value
	}
	p.expect("of", " and the stream that the key is of")
	if isPunct(p.peek(), "#") {
		p.fail(p.peek().pos, "an inner stream has no key of its own: it belongs to its partition")
	}
	k.Stream = p.streamRef("the name of a stream")
	return k
}

// ranges reads the ranges of a key, after its first condition.
func (p *parser) ranges(cond Node) []*RangeDef {
	var list []*RangeDef
	for {
		p.expect("as", " and the range's label")
		list = append(list, &RangeDef{Cond: cond, Label: p.text("the range's label, a string in quotes")})
		if !p.accept("or") {
			return list
		}
		cond = p.expression("another range such as `v < 10 as 'low'`")
	}
}
