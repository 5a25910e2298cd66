package siddhiql

// NamedWindow is a `define window`: a window that any number of queries fill, and that any
// number of queries read or join.
type NamedWindow struct {
	ID int // index in Plan.Windows
	// Stream stands for the window as the source and the target of queries.
	Stream *Stream
	// Query has the window, and selects all of its rows. It is none of Plan.Queries.
	Query *Query
	// Current and Expired say which rows its readers get.
	Current, Expired bool
}

// namedWindow reads `define window W (a int, …) length(5) output all events`.
func (p *parser) namedWindow(a *App, annotations []*Annotation) {
	d := &NamedWindowDef{StreamDef: StreamDef{Pos: p.take().pos, Annotations: annotations}, Output: AllEvents}
	p.take()
	d.Name = p.name("the name of the window")
	p.attributes(&d.StreamDef)
	d.Window = p.windowCall()
	if p.accept("output") {
		d.Output = CurrentEvents
		q := &QueryDef{}
		if t := p.peek(); !isWord(t, "all") && !isWord(t, "expired") && !isWord(t, "current") {
			p.unexpected("`all events`, `current events` or `expired events` after `output`", "all", "current", "expired")
		}
		p.eventKinds(q)
		d.Output = q.Events
	}
	if len(a.Elements) == 0 {
		a.Windows = append(a.Windows, d)
	}
}

// windowCall reads `length(5)` or `unique:length(k, 5)`.
func (p *parser) windowCall() *Handler {
	name := p.name("the kind of the window, such as `length(5)`")
	if p.acceptPunct(":") {
		name.Text += ":" + p.name("the name of a window").Text
	}
	p.expectPunct("(", " and the parameters of the window "+tick(name.Text))
	h := &Handler{Pos: name.Pos, Window: name.Text}
	h.Params = p.arguments("a parameter of the window " + tick(name.Text))
	return h
}

func (d *NamedWindowDef) print(p *printer) {
	p.annotations(d.Annotations)
	p.write("define window ")
	d.printAttrs(p)
	p.write(" ")
	d.Window.printCall(p)
	p.write([...]string{CurrentEvents: " output current events", ExpiredEvents: " output expired events", AllEvents: " output all events"}[d.Output])
}

// namedWindow checks a `define window`.
func (df *definitionChecker) namedWindow(d *NamedWindowDef) {
	name := d.Name.Text
	if df.catalog.definedTwice(d.Name) {
		return
	}
	schema := df.schema(&d.StreamDef)
	w := &NamedWindow{ID: len(df.plan.Windows), Current: d.Output != ExpiredEvents, Expired: d.Output != CurrentEvents}
	w.Stream = &Stream{ID: len(df.plan.Streams), Name: name, Schema: schema, Block: -1, TimeAttr: -1, Sink: Sink{Off: true}, Window: w}
	df.plan.Streams = append(df.plan.Streams, w.Stream)
	df.plan.Windows = append(df.plan.Windows, w)
	df.catalog.outer[name] = &known{stream: w.Stream, at: d.Name.Pos}
	df.known(d.Annotations, onWindow)
	rows := &Stream{ID: -1, Name: name, Schema: schema, Block: -1, TimeAttr: -1}
	w.Query = &Query{ID: -1, Block: -1, Source: rows, Target: rows, In: schema, Output: schema, Current: true, Expired: true, Limit: -1, StarOnly: true, Pos: d.Pos}
	for i, a := range schema.Attrs {
		w.Query.Select = append(w.Query.Select, &Attr{Index: i, Attr: a})
	}
	w.Query.Window = df.handlers.window(d.Window, &scope{schema: schema, stream: StreamRef{Pos: d.Name.Pos, Name: name}})
	if df.plan.Partitions > 1 {
		df.errorf(d.Name.Pos, "window %s is shared by all keys, but the app has %d partitions that share nothing: leave `@app:partitions` out", tick(name), df.plan.Partitions)
	}
}

// definedTwice refuses a definition whose name is taken.
func (ct *catalog) definedTwice(n Name) bool {
	first, taken := ct.outer[n.Text]
	if taken {
		ct.errorf(n.Pos, "%s is defined twice: first at %s", tick(n.Text), first.at)
		return true
	}
	if ct.tables[n.Text] != nil {
		ct.errorf(n.Pos, "%s is the name of a table, too: expected another name", tick(n.Text))
		return true
	}
	return false
}

// named returns the named window that a reference means; nil if it means none.
func (ct *catalog) named(r StreamRef) *NamedWindow {
	if k := ct.outer[r.Name]; k != nil && !r.Inner && !r.Fault {
		return k.stream.Window
	}
	return nil
}

// oneWindow refuses a second window after a named one.
func (hd *handlerChecker) oneWindow(in *StreamInput) bool {
	if hd.catalog.named(in.Source) == nil {
		return true
	}
	for _, h := range in.Handlers {
		if h.Filter == nil {
			hd.errorf(h.Pos, "%s is a window already: expected filters only; a query that reads it can insert into a stream, which another query reads with a second window", tick(in.Source.Name))
			return false
		}
	}
	return true
}

// named checks a named window as a source of a join.
func (jn *joinChecker) named(d *JoinSide) bool {
	if jn.catalog.named(d.Source) == nil || len(d.Handlers) == 0 {
		return true
	}
	if !jn.handlers.oneWindow(&d.StreamInput) {
		return false
	}
	jn.errorf(d.Handlers[0].Pos, "a filter after the window %s in a join: the other source finds all rows of the window; write the condition into `on`", tick(d.Source.Name))
	return false
}

// componentNames refuses two parts of an app with the same name in the state.
func (df *definitionChecker) componentNames() {
	for _, q := range df.plan.Queries {
		clash := func(kind, name string) {
			for _, role := range []string{"window", "left", "right", "aggregate", "pattern", "output"} {
				if q.Name == kind && name == role {
					df.deployf(q.Pos, "the query is called %s, and there is a %s %s: their states would have the same name; rename one of them", tick(q.Name), kind, tick(name))
				}
			}
		}
		for _, w := range df.plan.Windows {
			clash("window", w.Stream.Name)
		}
		for _, t := range df.plan.Triggers {
			clash("trigger", t.Stream.Name)
		}
		for _, t := range df.plan.Tables {
			clash("table", t.Name)
		}
	}
}

// leaves reports whether expired rows come from the stream: it is a named window that puts
// them out.
func (s *Stream) leaves() bool { return s != nil && s.Window != nil && s.Window.Expired }
