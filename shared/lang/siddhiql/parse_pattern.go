package siddhiql

import (
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Limits of patterns: a longer one takes long to check and to run.
const (
	patternStepsMax = 100
	countMax        = 1_000_000 // events of a step, and an index
)

func itoa(n int) string { return strconv.Itoa(n) }

// isReservedStep reports whether a stream's name is not read as one where a step starts.
func isReservedStep(name string) bool {
	return strings.EqualFold(name, "every") || strings.EqualFold(name, "within")
}

// patternFollows reports whether the input that follows is a pattern or a sequence: whether
// one of the signs of a pattern comes before the end of the input.
func (p *parser) patternFollows() bool {
	t, next := p.peek(), p.ahead(1)
	if isPunct(t, "(") || isWord(t, "not") && (isName(next) || isPunct(next, "#")) || p.everyFollows() {
		return true
	}
	depth := 0
	for i := 0; p.at+i < len(p.tokens); i++ {
		t := p.ahead(i)
		switch {
		case isPunct(t, "["), isPunct(t, "("):
			depth++
		case isPunct(t, "]"), isPunct(t, ")"):
			depth--
		case t.kind == tokenEOF, isPunct(t, ";"):
			return false
		case depth > 0 || i == 0:
		case isWord(t, "delete") && isName(p.ahead(i+1)), isWord(t, "update") && isName(p.ahead(i+1)):
			return false
		case isWord(t, "join"), isWord(t, "unidirectional"), isWord(t, "select"), isWord(t, "insert"), isClause(t):
			return false
		case isWord(t, "within"):
			return false // nothing before it is a sign of a pattern
		case isPunct(t, "->"), isPunct(t, ","), isPunct(t, "="), isPunct(t, "<"), isPunct(t, "*"), isPunct(t, "+"), isPunct(t, "?"),
			isWord(t, "and"), isWord(t, "or"):
			return true
		}
	}
	return false
}

// everyFollows reports whether the next token is an `every` and not a stream of that name.
func (p *parser) everyFollows() bool {
	next := p.ahead(1)
	switch {
	case !isWord(p.peek(), "every"):
		return false
	case isPunct(next, "("), isPunct(next, "#") && !isWord(p.ahead(2), "window"), isPunct(next, faultSign):
		return true
	case isWord(next, "select"), isWord(next, "insert"), isWord(next, "and"), isWord(next, "or"), isWord(next, "within"):
		return false
	}
	return isName(next)
}

// pattern reads a pattern or a sequence.
func (p *parser) pattern() *PatternInput {
	in := &PatternInput{Pos: p.peek().pos}
	r := &patternReader{parser: p, in: in}
	r.chain(0)
	if t := p.peek(); p.accept("within") {
		in.Within = p.time(t.pos, "a time after `within`, such as `within 10 min`")
	}
	if t := p.peek(); isPunct(t, ")") {
		p.fail(t.pos, "found `)`, and no bracket is open")
	}
	return in
}

// patternReader reads the steps of a pattern.
type patternReader struct {
	*parser
	in    *PatternInput
	arrow token        // the first one; its text is "" before
	every *PatternElem // the `every ( … )` that is being read, or nil
	steps int
}

// chain reads elements up to the end of the input or of the bracket.
func (r *patternReader) chain(brackets int) {
	for {
		r.elem(brackets)
		t := r.peek()
		if !isPunct(t, "->") && !isPunct(t, ",") {
			return
		}
		r.take()
		switch {
		case r.arrow.text == "":
			r.arrow = t
			r.in.Sequence = t.text == ","
			r.sequenceStart()
		case r.arrow.text != t.text:
			r.fail(t.pos, "found %s after %s at %s: a pattern (`->`) and a sequence (`,`) do not mix; let a query before this one have a part of it",
				tick(t.text), tick(r.arrow.text), r.arrow.pos)
		}
	}
}

// sequenceStart refuses an `every ( … )` at the start of what is now known as a sequence.
func (r *patternReader) sequenceStart() {
	if r.in.Sequence && r.every != nil {
		r.fail(r.every.Pos, "found `every (` in a sequence: `every` stands only before the first step there; write `every %s, …`", shorten(r.firstStep()))
	}
}

func (r *patternReader) firstStep() string {
	e := r.in.Elems[0]
	p := &printer{}
	e.Steps[0].print(p)
	return p.b.String()
}

// elem reads `every step`, `every ( … )`, a step, or a bracket.
func (r *patternReader) elem(brackets int) {
	t := r.peek()
	if r.everyFollows() {
		r.everyElem(t)
		return
	}
	if isPunct(t, "(") && !r.bracketedPair() {
		r.bracket(t, brackets)
		return
	}
	r.step(t, false)
}

func (r *patternReader) everyElem(t token) {
	r.take()
	switch {
	case r.every != nil:
		r.fail(t.pos, "found `every` inside the `every` at %s: expected one of them; let a query before this one have the inner part", r.every.Pos)
	case r.in.Sequence:
		r.fail(t.pos, "found `every` in the middle of a sequence: it stands only before the first step there")
	case r.everyFollows():
		r.fail(r.peek().pos, "found `every` after `every`: write it once")
	case !isPunct(r.peek(), "(") || r.bracketedPair():
		r.step(t, true)
		return
	}
	e := &PatternElem{Pos: t.pos, Every: true}
	r.in.Elems = append(r.in.Elems, e)
	r.every = e
	r.bracket(r.peek(), 0)
	if r.every = nil; r.in.Sequence {
		r.fail(t.pos, "found `every (` in a sequence: `every` stands only before the first step there; write `every %s, …`", shorten(r.firstStep()))
	}
}

// bracket reads `( … )`, which only groups.
func (r *patternReader) bracket(t token, brackets int) {
	r.nest(t.pos)
	defer r.unnest()
	before := r.steps
	r.take()
	r.chain(brackets + 1)
	if next := r.peek(); isWord(next, "within") {
		r.fail(next.pos, "found `within` inside a bracket: it bounds the whole pattern, and stands once after its last step")
	}
	r.expectPunct(")", " to close the bracket of "+t.pos.String())
	if next := r.peek(); isWord(next, "and") || isWord(next, "or") {
		r.fail(t.pos, "found a bracket beside %s: it joins two single events, such as `a=A %s b=B`", tick(next.text), strings.ToLower(next.text))
	}
	if next := r.peek(); r.countFollows() {
		r.fail(next.pos, "found a count after a bracket: a count stands after a single step, such as `a=A<2:3>`")
	}
	if last := r.last(); r.every == nil && r.steps == before+1 && len(last.Items) == 1 && last.Items[0].Not {
		r.fail(t.pos, "found `not` alone in brackets: write it without them")
	}
}

func (r *patternReader) last() *StepDef {
	e := r.in.Elems[len(r.in.Elems)-1]
	return e.Steps[len(e.Steps)-1]
}

// bracketedPair reports whether a bracket holds one pair with `and` or `or` alone, which may
// stand in brackets of its own.
func (r *patternReader) bracketedPair() bool {
	if !isPunct(r.peek(), "(") {
		return false
	}
	depth, pair := 0, false
	for i := 0; r.at+i < len(r.tokens); i++ {
		t := r.ahead(i)
		switch {
		case isPunct(t, "["), isPunct(t, "("):
			if depth++; depth > 1 && isPunct(t, "(") && !pair && isPunct(r.ahead(i-1), "(") {
				return false // brackets in brackets
			}
		case isPunct(t, "]"), isPunct(t, ")"):
			if depth--; depth == 0 {
				return pair
			}
		case depth == 1 && (isPunct(t, "->") || isPunct(t, ",")), t.kind == tokenEOF, isPunct(t, ";"):
			return false
		case depth == 1 && (isWord(t, "and") || isWord(t, "or")):
			pair = true
		}
	}
	return false
}

// step reads one step, and adds it to the pattern.
func (r *patternReader) step(at token, every bool) {
	if r.steps++; r.steps > patternStepsMax {
		r.fail(at.pos, "the pattern has more than %d steps: split it over several queries", patternStepsMax)
	}
	open := r.peek()
	bracketed := isPunct(open, "(")
	if bracketed {
		r.take()
	}
	d := &StepDef{Pos: at.pos}
	d.Items = append(d.Items, r.item())
	r.count(d)
	if t := r.peek(); isWord(t, "and") || isWord(t, "or") {
		r.pair(d, t)
	}
	if bracketed {
		r.expectPunct(")", " to close the bracket of "+open.pos.String())
		if t := r.peek(); r.countFollows() {
			r.fail(t.pos, "found a count after `and` or `or`: a count stands after a single step, such as `a=A<2:3>`")
		}
		if t := r.peek(); isWord(t, "and") || isWord(t, "or") {
			r.third(t)
		}
	}
	r.alone(d)
	if r.every != nil {
		r.every.Steps = append(r.every.Steps, d)
		return
	}
	r.in.Elems = append(r.in.Elems, &PatternElem{Pos: at.pos, Every: every, Steps: []*StepDef{d}})
}

// alone refuses a `not` that nothing ends.
func (r *patternReader) alone(d *StepDef) {
	for i, item := range d.Items {
		switch {
		case !item.Not || item.For != nil:
		case len(d.Items) == 1:
			r.fail(item.Pos, "found %s without `for`: it would never be known to be true; write `%s for 10 sec`, or `and` with the event that ends it",
				tick(item.text()), shorten(item.text()))
		case d.Or:
			r.fail(item.Pos, "found %s without `for` beside `or`: it would be true at once; write `%s for 10 sec`", tick(item.text()), shorten(item.text()))
		case d.Items[1-i].Not:
			r.fail(item.Pos, "found %s without `for` beside another `not`: nothing would end the step; write `%s for 10 sec`", tick(item.text()), shorten(item.text()))
		}
	}
}

func (item *StepItem) text() string {
	p := &printer{}
	item.print(p)
	return p.b.String()
}

func (r *patternReader) pair(d *StepDef, t token) {
	r.take()
	if d.Count != nil {
		r.fail(d.Count.Pos, "found a count beside %s: it joins two single events; let a query before this one collect them", tick(t.text))
	}
	d.Or = isWord(t, "or")
	if next := r.peek(); isPunct(next, "(") {
		r.fail(next.pos, "found a bracket beside %s: it joins two single events, such as `a=A %s b=B`", tick(t.text), strings.ToLower(t.text))
	}
	d.Items = append(d.Items, r.item())
	if next := r.peek(); r.countFollows() {
		r.fail(next.pos, "found a count beside %s: it joins two single events; let a query before this one collect them", tick(t.text))
	}
	if next := r.peek(); isWord(next, "and") || isWord(next, "or") {
		r.third(next)
	}
}

func (r *patternReader) third(t token) {
	r.fail(t.pos, "found another %s: a step joins two events at most; let a query before this one join two of them", tick(t.text))
}

// item reads `name=Stream[filter]` or `not Stream[filter] for time`.
func (r *patternReader) item() *StepItem {
	t := r.peek()
	item := &StepItem{Pos: t.pos, Not: r.accept("not")}
	if r.everyFollows() {
		r.fail(r.peek().pos, "found `every`, expected a stream: `every` stands before a step, or before both sides of `and` and `or`")
	}
	if r.clauseFollows() {
		r.unexpected("a stream of the pattern")
	}
	if isName(r.peek()) && isPunct(r.ahead(1), "=") {
		item.Name = r.name("the name of a step")
		r.take()
		if item.Not {
			r.fail(item.Name.Pos, "found the name %s after `not`: what must not come has no name; write `not %s`", tick(item.Name.Text), r.peek().text)
		}
	}
	item.Source = r.streamRef("a stream of the pattern")
	r.filters(item)
	if at := r.peek(); r.accept("for") {
		if !item.Not {
			r.fail(at.pos, "found `for` after an event: it says how long an event must not come, as in `not %s for 10 sec`", item.Source)
		}
		item.For = r.time(at.pos, "a time after `for`, such as `for 10 sec`")
	}
	return item
}

func (r *patternReader) filters(item *StepItem) {
	for {
		t := r.peek()
		switch {
		case isPunct(t, "["):
			item.Filters = append(item.Filters, r.filter().Filter)
		case isPunct(t, "#") && isPunct(r.ahead(1), "["):
			r.take()
			item.Filters = append(item.Filters, r.filter().Filter)
		case isPunct(t, "#"):
			r.fail(t.pos, "found a window on a step of a pattern: a step takes single events; let a query before this one have the window")
		default:
			return
		}
	}
}

// time reads a constant time.
func (p *parser) time(at Pos, what string) *Literal {
	t := p.peek()
	if t.kind != tokenNumber {
		p.unexpected(what)
	}
	n := p.number().(*Literal)
	if !n.Time || n.Type != event.Long {
		p.fail(t.pos, "found the number %s, expected %s", tick(literalText(n)), what)
	}
	return n
}

// countFollows reports whether the next token starts a count.
func (r *patternReader) countFollows() bool {
	t := r.peek()
	return isPunct(t, "<") || isPunct(t, "*") || isPunct(t, "+") || isPunct(t, "?")
}

// count reads `<m:n>`, `*`, `+` or `?`.
func (r *patternReader) count(d *StepDef) {
	t := r.peek()
	if !r.countFollows() {
		return
	}
	if d.Items[0].Not {
		r.fail(t.pos, "found a count after `not`: what must not come is not counted")
	}
	r.take()
	c := &CountDef{Pos: t.pos, Max: countOpen}
	d.Count = c
	switch t.text {
	case "<":
		r.bounds(c)
		return
	case "+":
		c.Min = 1
	case "?":
		c.Max = 1
	}
	if !r.isSequence() {
		text := map[string]string{"*": "<0:>", "+": "<1:>", "?": "<0:1>"}[t.text]
		r.fail(t.pos, "found %s in a pattern: `*`, `+` and `?` stand in sequences (`,`) only; write %s", tick(t.text), tick(text))
	}
}

// isSequence reports whether the input is a sequence, which a step ahead may show.
func (r *patternReader) isSequence() bool {
	if r.arrow.text != "" {
		return r.in.Sequence
	}
	depth := 0
	for i := 0; r.at+i < len(r.tokens); i++ {
		t := r.ahead(i)
		switch {
		case isPunct(t, "["), isPunct(t, "("):
			depth++
		case isPunct(t, "]"), isPunct(t, ")"):
			depth--
		case depth > 0:
		case isPunct(t, ","):
			return true
		case isPunct(t, "->"), isPunct(t, ";"), t.kind == tokenEOF, isWord(t, "select"), isWord(t, "insert"):
			return false
		}
	}
	return false
}

// bounds reads `m:n>`, after the `<`.
func (r *patternReader) bounds(c *CountDef) {
	if !isPunct(r.peek(), ":") {
		c.Min = r.integer("a number of events, such as `<2>`, `<2:3>` or `<2:>`")
		c.Max = c.Min
	}
	if r.acceptPunct(":") {
		c.Max = countOpen
		if !isPunct(r.peek(), ">") {
			c.Max = r.integer("a number of events, or `>`")
		}
	}
	r.expectPunct(">", " after the count")
	if c.Max == countOpen || c.Max > 0 && c.Max >= c.Min {
		return
	}
	if c.Max == 0 {
		r.fail(c.Pos, "found a count of 0 events: a step that takes none is left out")
	}
	r.fail(c.Pos, "found a count from %d to %d: expected the smaller number first", c.Min, c.Max)
}

// integer takes a integer number of at least 0.
func (p *parser) integer(what string) int {
	t := p.peek()
	if t.kind != tokenNumber {
		p.unexpected(what)
	}
	p.take()
	n, err := strconv.Atoi(t.text)
	if err != nil || n > countMax {
		p.fail(t.pos, "found %s, expected %s: a whole number of at most %d", tick(t.text), what, countMax)
	}
	return n
}

// index reads `[0]`, `[last]` or `[last-1]` after the name of a step; nil if none follows.
func (p *parser) index() *RefIndex {
	if !isPunct(p.peek(), "[") {
		return nil
	}
	p.take()
	x := &RefIndex{}
	if x.Last = p.accept("last"); !x.Last {
		x.N = p.integer("the number of an event from 0, or `last`")
	} else if p.acceptPunct("-") {
		x.N = p.integer("a number after `last-`")
	}
	p.expectPunct("]", " after the number of the event")
	return x
}
