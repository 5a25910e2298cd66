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
		p.kinds(q)
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
func (c *checker) namedWindow(d *NamedWindowDef) {
	name := d.Name.Text
	if c.definedTwice(d.Name) {
		return
	}
	schema := c.schema(&d.StreamDef)
	w := &NamedWindow{ID: len(c.plan.Windows), Current: d.Output != ExpiredEvents, Expired: d.Output != CurrentEvents}
	w.Stream = &Stream{ID: len(c.plan.Streams), Name: name, Schema: schema, Block: -1, TimeAttr: -1, Sink: Sink{Off: true}, Window: w}
	c.plan.Streams = append(c.plan.Streams, w.Stream)
	c.plan.Windows = append(c.plan.Windows, w)
	c.outer[name] = &known{stream: w.Stream, at: d.Name.Pos}
	c.known(d.Annotations, onWindow)
	rows := &Stream{ID: -1, Name: name, Schema: schema, Block: -1, TimeAttr: -1}
	w.Query = &Query{ID: -1, Block: -1, Source: rows, Target: rows, In: schema, Output: schema, Current: true, Expired: true, Limit: -1, StarOnly: true, Pos: d.Pos}
	for i, a := range schema.Attrs {
		w.Query.Select = append(w.Query.Select, &Attr{Index: i, Attr: a})
	}
	w.Query.Window = c.window(d.Window, &scope{schema: schema, stream: StreamRef{Pos: d.Name.Pos, Name: name}})
	if c.plan.Partitions > 1 {
		c.errorf(d.Name.Pos, "window %s is shared by all keys, but the app has %d partitions that share nothing: leave `@app:partitions` out", tick(name), c.plan.Partitions)
	}
}

// definedTwice refuses a definition whose name is taken.
func (c *checker) definedTwice(n Name) bool {
	first, taken := c.outer[n.Text]
	if taken {
		c.errorf(n.Pos, "%s is defined twice: first at %s", tick(n.Text), first.at)
		return true
	}
	if c.tables[n.Text] != nil {
		c.errorf(n.Pos, "%s is the name of a table, too: expected another name", tick(n.Text))
		return true
	}
	return false
}

// named returns the named window that a reference means; nil if it means none.
func (c *checker) named(r StreamRef) *NamedWindow {
	if k := c.outer[r.Name]; k != nil && !r.Inner && !r.Fault {
		return k.stream.Window
	}
	return nil
}

// oneWindow refuses a second window after a named one.
func (c *checker) oneWindow(in *StreamInput) bool {
	if c.named(in.Source) == nil {
		return true
	}
	for _, h := range in.Handlers {
		if h.Filter == nil {
			c.errorf(h.Pos, "%s is a window already: expected filters only; a query that reads it can insert into a stream, which another query reads with a second window", tick(in.Source.Name))
			return false
		}
	}
	return true
}

// joinNamed checks a named window as a source of a join.
func (c *checker) joinNamed(d *JoinSide) bool {
	if c.named(d.Source) == nil || len(d.Handlers) == 0 {
		return true
	}
	if !c.oneWindow(&d.StreamInput) {
		return false
	}
	c.errorf(d.Handlers[0].Pos, "a filter after the window %s in a join: the other source finds all rows of the window; write the condition into `on`", tick(d.Source.Name))
	return false
}

// componentNames refuses two parts of an app with the same name in the state.
func (c *checker) componentNames() {
	for _, q := range c.plan.Queries {
		clash := func(kind, name string) {
			for _, role := range []string{"window", "left", "right", "aggregate", "pattern", "output"} {
				if q.Name == kind && name == role {
					c.deployf(q.Pos, "the query is called %s, and there is a %s %s: their states would have the same name; rename one of them", tick(q.Name), kind, tick(name))
				}
			}
		}
		for _, w := range c.plan.Windows {
			clash("window", w.Stream.Name)
		}
		for _, t := range c.plan.Triggers {
			clash("trigger", t.Stream.Name)
		}
		for _, t := range c.plan.Tables {
			clash("table", t.Name)
		}
	}
}

// leaves reports whether expired rows come from the stream: it is a named window that puts
// them out.
func (s *Stream) leaves() bool { return s != nil && s.Window != nil && s.Window.Expired }
