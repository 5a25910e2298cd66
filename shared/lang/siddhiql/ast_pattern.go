package siddhiql

// PatternInput is a pattern, whose steps follow one another with any events between them
// (`->`), or a sequence, whose steps follow one another at once (`,`).
type PatternInput struct {
	Pos      Pos
	Sequence bool
	Elems    []*PatternElem
	Within   *Literal // a time; nil: none
}

// PatternElem is one step or, with Every, one or more steps that start again and again.
// Other brackets mean nothing and are not kept.
type PatternElem struct {
	Pos   Pos
	Every bool
	Steps []*StepDef
}

// StepDef is one item, or two joined by `and` or `or`.
type StepDef struct {
	Pos   Pos
	Items []*StepItem
	Or    bool // of two items: joined by `or`
	Count *CountDef
}

// StepItem is `name=Stream[filter]` or `not Stream[filter] for time`.
type StepItem struct {
	Pos     Pos
	Name    Name // Text is "" without a name
	Not     bool
	Source  StreamRef
	Filters []Node
	For     *Literal // of a not: how long; nil: until its partner comes
}

// CountDef says how many events a step collects.
type CountDef struct {
	Pos      Pos
	Min, Max int // Max is countOpen without a maximum
}

// countOpen is the maximum of a count without one.
const countOpen = -1

// Sources implements Input.
func (in *PatternInput) Sources() []StreamRef {
	var list []StreamRef
	for item := range in.items {
		list = append(list, item.Source)
	}
	return list
}

// items visits every item in the order written.
func (in *PatternInput) items(visit func(*StepItem) bool) {
	for _, e := range in.Elems {
		for _, s := range e.Steps {
			for _, item := range s.Items {
				if !visit(item) {
					return
				}
			}
		}
	}
}

// arrow is what stands between two steps.
func (in *PatternInput) arrow() string {
	if in.Sequence {
		return ", "
	}
	return " -> "
}

func (in *PatternInput) print(p *printer) {
	for i, e := range in.Elems {
		p.separate(i, in.arrow())
		e.print(p, in.arrow())
	}
	if in.Within != nil {
		p.write(" within ")
		in.Within.print(p)
	}
}

func (e *PatternElem) print(p *printer, arrow string) {
	if e.Every {
		p.write("every ")
	}
	many := len(e.Steps) > 1
	if many {
		p.write("(")
	}
	for i, s := range e.Steps {
		p.separate(i, arrow)
		s.print(p)
	}
	if many {
		p.write(")")
	}
}

func (d *StepDef) print(p *printer) {
	for i, item := range d.Items {
		p.separate(i, d.joint())
		item.print(p)
	}
	d.Count.print(p)
}

func (d *StepDef) joint() string {
	if d.Or {
		return " or "
	}
	return " and "
}

func (item *StepItem) print(p *printer) {
	if item.Not {
		p.write("not ")
	}
	if item.Name.Text != "" {
		p.write(quoteName(item.Name.Text), "=")
	}
	if item.Source.sign() == "" && isReservedStep(item.Source.Name) {
		p.write("`", item.Source.Name, "`")
	} else {
		item.Source.print(p)
	}
	for _, f := range item.Filters {
		p.write("[")
		f.print(p)
		p.write("]")
	}
	if item.For != nil {
		p.write(" for ")
		item.For.print(p)
	}
}

func (c *CountDef) print(p *printer) {
	switch {
	case c == nil:
	case c.Max == countOpen:
		p.write("<", itoa(c.Min), ":>")
	case c.Min == c.Max:
		p.write("<", itoa(c.Min), ">")
	default:
		p.write("<", itoa(c.Min), ":", itoa(c.Max), ">")
	}
}

// print writes the index of a reference.
func (i *RefIndex) print(p *printer) {
	switch {
	case i == nil:
	case i.Last && i.N > 0:
		p.write("[last-", itoa(i.N), "]")
	case i.Last:
		p.write("[last]")
	default:
		p.write("[", itoa(i.N), "]")
	}
}
