package model

import (
	"fmt"
	"slices"
	"strings"
)

// patternMaker generates a pattern or a sequence, and tracks which attributes of its steps can be
// read.
type patternMaker struct {
	*generator
	streams  []*genStream // that its steps read
	sequence bool
	steps    int
	made     int // number of steps so far
	items    int
	known    []genAttr // attributes of earlier steps, as filters name them
	shown    []genAttr // attributes as select names them
	latest   *genStream
	longest  int // longest `for` after the first step
}

// pattern generates a query that reads a pattern or a sequence.
func (g *generator) pattern(source *genStream, block *int) string {
	readable := g.readable(-1)
	if block != nil {
		readable = g.readable(*block)
	}
	readable = slices.DeleteFunc(slices.Clone(readable), func(s *genStream) bool { return s.faults != nil || s.named })
	if source.faults != nil || source.named {
		source = pick(g, "first stream", readable...)
	}
	p := &patternMaker{generator: g, streams: []*genStream{source}, latest: source}
	for range g.between("further streams", 0, 2) {
		if s := pick(g, "further stream", readable...); !slices.Contains(p.streams, s) {
			p.streams = append(p.streams, s)
		}
	}
	p.sequence = g.chance("sequence", 35)
	p.steps = g.between("steps", 1, 4)
	var text string
	if p.sequence {
		text = p.inOrder()
	} else {
		text = p.chain()
	}
	if g.chance("within", 50) {
		text += fmt.Sprintf("\nwithin %d millisec", g.between("within", max(p.longest, 1), max(p.longest, 1)+40))
	}
	selection, out := "\nselect 1 as one", []genAttr{{name: "one", typ: "int", exact: true}}
	if len(p.shown) > 0 {
		selection, out = g.selection(&genStream{attrs: p.shown, match: p.shown, joined: true})
	}
	kinds := pick(g, "kinds", "", "", "all events ")
	return "from " + text + selection + fmt.Sprintf("\ninsert %sinto %s", kinds, g.target(p.latest, block, out, false))
}

// chain generates the steps of a pattern, some in an `every`.
func (p *patternMaker) chain() string {
	var elems []string
	for left := p.steps; left > 0; {
		n := min(left, p.between("steps together", 1, 3))
		every := p.chance("every", 60)
		if !every {
			n = 1
		}
		var steps []string
		for range n {
			left--
			steps = append(steps, p.step(left == 0))
		}
		text := strings.Join(steps, " -> ")
		if n > 1 || every && p.chance("brackets", 30) && !strings.HasPrefix(text, "not ") {
			text = "(" + text + ")"
		}
		if every {
			text = "every " + text
		}
		elems = append(elems, text)
	}
	return strings.Join(elems, " -> ")
}

// inOrder generates the steps of a sequence.
func (p *patternMaker) inOrder() string {
	p.steps = max(p.steps, 2)
	var steps []string
	for n := range p.steps {
		steps = append(steps, p.step(n == p.steps-1))
	}
	text := strings.Join(steps, ", ")
	if p.chance("every", 75) {
		text = "every " + text
	}
	return text
}

func (p *patternMaker) step(last bool) string {
	later := p.made > 0
	p.made++
	switch pick(p.generator, "step", "plain", "plain", "plain", "count", "count", "and", "or", "not for", "not and", "not or") {
	case "count":
		s := p.stream()
		name, filter := p.item(s, true)
		count := p.count(last)
		p.note(name, s, count)
		return name + "=" + s.name + filter + count
	case "and", "or":
		joiner := pick(p.generator, "joiner", " and ", " or ")
		s, t := p.stream(), p.stream()
		left, first := p.item(s, false)
		right, second := p.item(t, false)
		p.note(left, s, "")
		p.note(right, t, "")
		return left + "=" + s.name + first + joiner + right + "=" + t.name + second
	case "not for":
		return p.absent(later, true)
	case "not and", "not or":
		joiner := pick(p.generator, "joiner", " and ", " or ")
		timed := joiner == " or " || p.chance("for", 60)
		absent := p.absent(later, timed)
		if timed && p.chance("both absent", 15) {
			return absent + joiner + p.absent(later, true)
		}
		s := p.stream()
		name, filter := p.item(s, false)
		p.note(name, s, "")
		parts := []string{absent, name + "=" + s.name + filter}
		if p.chance("turned", 30) {
			slices.Reverse(parts)
		}
		return strings.Join(parts, joiner)
	}
	s := p.stream()
	name, filter := p.item(s, false)
	p.note(name, s, "")
	return name + "=" + s.name + filter
}

func (p *patternMaker) stream() *genStream {
	s := pick(p.generator, "step's stream", p.streams...)
	s.use()
	if slices.Index(p.generator.streams, s) > slices.Index(p.generator.streams, p.latest) {
		p.latest = s
	}
	return s
}

func (p *patternMaker) item(s *genStream, count bool) (name, filter string) {
	p.items++
	name = fmt.Sprintf("e%d", p.items)
	own := p.known
	if count && p.chance("reads its own", 30) {
		for _, a := range s.attrs {
			own = append(slices.Clone(own), genAttr{name: name + pick(p.generator, "own index", "[last].", "[0].", "[last-1].") + a.name, typ: a.typ})
		}
	}
	return name, p.filter(s, own)
}

// filter generates a filter over the event and the known attributes of earlier ones.
func (p *patternMaker) filter(s *genStream, known []genAttr) string {
	var parts []string
	if len(known) > 0 && p.chance("equality", 35) {
		typ := pick(p.generator, "key type", "string", "int", "bool", "long", "double", "float")
		earlier := (&genStream{attrs: known}).of(typ)
		if own := s.of(typ); len(own) > 0 && len(earlier) > 0 {
			parts = append(parts, pick(p.generator, "own", own...)+" == "+pick(p.generator, "earlier", earlier...))
		}
	}
	if p.chance("condition", 30) {
		attrs := s.attrs
		if p.chance("with earlier", 50) {
			attrs = slices.Concat(s.attrs, known)
		}
		parts = append(parts, (&exprs{generator: p.generator, attrs: attrs, in: p.chance("in a table", 30)}).condition(1))
	}
	if len(parts) == 0 {
		return ""
	}
	return "[" + strings.Join(parts, " and ") + "]"
}

func (p *patternMaker) absent(later, timed bool) string {
	s := p.stream()
	text := "not " + s.name + p.filter(s, p.known)
	if !timed {
		return text
	}
	ms := p.between("for", 1, 15)
	if later {
		p.longest = max(p.longest, ms)
	}
	return text + fmt.Sprintf(" for %d millisec", ms)
}

func (p *patternMaker) count(last bool) string {
	least := p.between("least", 0, 3)
	if last {
		least = max(least, 1)
	}
	switch pick(p.generator, "count", "range", "range", "open", "exact", "sign") {
	case "open":
		return fmt.Sprintf("<%d:>", least)
	case "exact":
		return fmt.Sprintf("<%d>", max(least, 1))
	case "sign":
		if p.sequence && last {
			return "+"
		} else if p.sequence {
			return pick(p.generator, "sign", "+", "*", "?")
		}
	}
	return fmt.Sprintf("<%d:%d>", least, max(1, least+p.between("more", 0, 2)))
}

// note makes the attributes of a step known to later ones.
func (p *patternMaker) note(name string, s *genStream, count string) {
	for _, a := range s.attrs {
		if a.cast {
			continue
		}
		n := a
		if count == "" {
			n.name = name + "." + a.name
			p.known, p.shown = append(p.known, n), append(p.shown, n)
			continue
		}
		index := pick(p.generator, "index", "[0]", "[last]", "[1]", "[last-1]")
		n.name = name + index + "." + a.name
		p.shown = append(p.shown, n)
		if p.chance("without index", 30) {
			n.name = name + "." + a.name
		}
		p.known = append(p.known, n)
	}
}
