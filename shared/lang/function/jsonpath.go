package function

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// path is a compiled JSONPath: $, .name, ['name'], [n], [-n], [*], .* and ..name.
type path struct {
	steps []pathStep
	many  bool // it can match several values
}

type pathStep struct {
	name  string
	index int
	kind  byte // 'n' a member, 'i' an element, '*' all of them, '.' members at any depth
}

var errFilter = errors.New("filters, slices and lists in brackets are outside the language here: expected $, .name, ['name'], [0], [*] and ..name")

func parsePath(text string) (p path, err error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "$")
	if !ok {
		rest = "." + rest
	}
	for rest != "" {
		var s pathStep
		switch {
		case strings.HasPrefix(rest, "["):
			s, rest, err = bracket(rest)
		case strings.HasPrefix(rest, ".."):
			s.kind = '.'
			s.name, rest = member(rest[2:])
		case strings.HasPrefix(rest, "."):
			s.kind = 'n'
			s.name, rest = member(rest[1:])
		default:
			err = errors.New("expected . or [")
		}
		if err == nil && s.name == "" && s.kind != 'i' && s.kind != '*' {
			err = errors.New("a name is missing")
		}
		if err != nil {
			return path{}, fmt.Errorf("the path '%s' is wrong: %w", text, err)
		}
		if s.name == "*" && s.kind == 'n' {
			s.kind = '*'
		}
		p.many = p.many || s.kind == '*' || s.kind == '.'
		p.steps = append(p.steps, s)
	}
	return p, nil
}

// member cuts a name off.
func member(text string) (name, rest string) {
	n := strings.IndexAny(text, ".[")
	if n < 0 {
		n = len(text)
	}
	return text[:n], text[n:]
}

func bracket(text string) (s pathStep, rest string, err error) {
	if quote := text[1:min(2, len(text))]; quote == "'" || quote == `"` {
		name, rest, _ := strings.Cut(text[2:], quote)
		rest, ok := strings.CutPrefix(rest, "]")
		if !ok {
			return s, rest, errFilter
		}
		return pathStep{kind: 'n', name: name}, rest, nil
	}
	inside, rest, ok := strings.Cut(text[1:], "]")
	if !ok {
		return s, rest, errors.New("a bracket is not closed")
	}
	if inside == "*" {
		return pathStep{kind: '*'}, rest, nil
	}
	if s.index, err = strconv.Atoi(inside); err != nil {
		return s, rest, errFilter
	}
	s.kind = 'i'
	return s, rest, nil
}

// find calls visit with the values that match below node n, while visit returns true.
func (d *document) find(n int32, steps []pathStep, visit func(n int32) bool) bool {
	if len(steps) == 0 {
		return visit(n)
	}
	x := d.nodes[n]
	if x.kind != '{' && x.kind != '[' {
		return true
	}
	s := &steps[0]
	if s.kind == 'i' {
		if m, ok := d.element(n, s.index); ok {
			return d.find(m, steps[1:], visit)
		}
		return true
	}
	for m := n + 1; m < x.next; m = d.nodes[m].next {
		named := x.kind == '{' && (s.kind == 'n' || s.kind == '.') && d.keyIs(m, s.name)
		if (named || s.kind == '*') && !d.find(m, steps[1:], visit) {
			return false
		}
		if s.kind == '.' && !d.find(m, steps, visit) {
			return false
		}
	}
	return true
}

// element returns an element of an array; from its end if the index is negative.
func (d *document) element(n int32, index int) (int32, bool) {
	x := d.nodes[n]
	if x.kind != '[' {
		return 0, false
	}
	if index < 0 {
		for m := n + 1; m < x.next; m = d.nodes[m].next {
			index++
		}
	}
	for m := n + 1; m < x.next && index >= 0; m = d.nodes[m].next {
		if index == 0 {
			return m, true
		}
		index--
	}
	return 0, false
}

// paths compiles the paths of one call.
type paths struct {
	fixed *path
	last  string
	path  path
	err   error
	found []int32
}

func bindPath(a Arg) (*paths, error) {
	p := &paths{}
	if a.Const == nil {
		return p, nil
	}
	fixed, err := parsePath(a.Const.Text)
	p.fixed = &fixed
	return p, err
}

func (p *paths) of(text string) (*path, bool) {
	if p.fixed != nil {
		return p.fixed, true
	}
	if text != p.last || p.last == "" {
		p.last = strings.Clone(text)
		p.path, p.err = parsePath(p.last)
	}
	return &p.path, p.err == nil
}

// matches returns the document and the values that match. They are valid until the next call.
func (p *paths) matches(c *Context, args []Value) (*document, []int32, bool) {
	d := c.parse(args[0].Text)
	path, ok := p.of(args[1].Text)
	p.found = p.found[:0]
	if !ok || len(d.nodes) == 0 {
		return d, nil, false
	}
	d.find(0, path.steps, func(n int32) bool {
		p.found = append(p.found, n)
		return true
	})
	return d, p.found, path.many
}
