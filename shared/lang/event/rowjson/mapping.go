package rowjson

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Mapping says where the JSON of a message has the rows and their attributes. In the zero
// value, each attribute is the member of its name, must be there, and other members are
// ignored.
type Mapping struct {
	// Strict refuses members that are not attributes. It has no effect with Attrs.
	Strict bool
	// Optional makes an attribute null that is not there.
	Optional bool
	// Rows is where the message has the rows; nil: the message is a row, or has several, one
	// after another.
	Rows Path
	// Attrs has the path of each attribute from the row on; nil: each is the member of its
	// name.
	Attrs []Path
}

// Path leads from a JSON value to one inside.
type Path []Step

// Step leads to a member of an object or to an element of an array.
type Step struct {
	Member string
	Index  int // if Member is ""
}

// ParsePath reads a path such as $.order.items[0] or $['first name']; the $. at its start
// may be missing.
func ParsePath(text string) (Path, error) {
	rest := strings.TrimPrefix(text, "$")
	p := Path{}
	for first := len(rest) == len(text); rest != ""; first = false {
		var step Step
		var err error
		switch {
		case strings.HasPrefix(rest, "["):
			step, rest, err = parseBracket(rest[1:])
		case strings.HasPrefix(rest, ".."):
			err = errors.New("`..` searches all levels, and a path here leads to one value")
		case first || rest[0] == '.':
			rest = strings.TrimPrefix(rest, ".")
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			step.Member, rest = rest[:end], rest[end:]
			if step.Member == "" {
				err = errors.New("the name of a member is missing")
			} else if step.Member == "*" {
				err = errors.New("`*` stands for many values, and a path here leads to one")
			}
		default:
			err = fmt.Errorf("found %q, expected `.name`, `[0]` or `['name']`", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("%q is no path such as $.order.items[0]: %w", text, err)
		}
		p = append(p, step)
	}
	return p, nil
}

// parseBracket reads a step after its bracket.
func parseBracket(text string) (s Step, rest string, err error) {
	if text != "" && (text[0] == '\'' || text[0] == '"') {
		end := strings.IndexByte(text[1:], text[0])
		if end < 1 || !strings.HasPrefix(text[end+2:], "]") {
			return s, "", errors.New("expected ['name']")
		}
		return Step{Member: text[1 : end+1]}, text[end+3:], nil
	}
	inside, rest, closed := strings.Cut(text, "]")
	n, err := strconv.ParseUint(inside, 10, 31)
	if err != nil || !closed {
		return s, "", fmt.Errorf("found [%s, expected the number of an element such as [0], or a name such as ['name']", text)
	}
	return Step{Index: int(n)}, rest, nil
}

// String returns the path as ParsePath reads it.
func (p Path) String() string {
	var b strings.Builder
	b.WriteByte('$')
	for _, s := range p {
		switch {
		case s.Member == "":
			fmt.Fprintf(&b, "[%d]", s.Index)
		case strings.ContainsAny(s.Member, ".['\" "):
			fmt.Fprintf(&b, "['%s']", s.Member)
		default:
			b.WriteString("." + s.Member)
		}
	}
	return b.String()
}

// place is a position in the JSON of a row: attributes that are the value there, and places
// inside.
type place struct {
	attrs  []int
	inside []branch
}

type branch struct {
	step Step
	to   *place
}

func (n *place) add(p Path, attr int) {
	if len(p) == 0 {
		n.attrs = append(n.attrs, attr)
		return
	}
	i := slices.IndexFunc(n.inside, func(b branch) bool { return b.step == p[0] })
	if i < 0 {
		i = len(n.inside)
		n.inside = append(n.inside, branch{p[0], &place{}})
	}
	n.inside[i].to.add(p[1:], attr)
}

func (n *place) member(key []byte) *place {
	for i := range n.inside {
		if s := &n.inside[i]; s.step.Member != "" && s.step.Member == string(key) {
			return s.to
		}
	}
	return nil
}

func (n *place) element(index int) *place {
	for i := range n.inside {
		if s := &n.inside[i]; s.step.Member == "" && s.step.Index == index {
			return s.to
		}
	}
	return nil
}

// mappedRow is objectRow for attributes with paths.
func (d *Decoder) mappedRow(b *event.Batch, raw []byte) *RowError {
	if raw[0] != '{' && raw[0] != '[' {
		return &RowError{Problem: NotARow, Expected: "an object", Found: found(raw)}
	}
	if err := d.checkText(raw); err != nil {
		return err
	}
	clear(d.isSet)
	d.given = d.given[:0]
	d.json.ResetBytes(raw)
	if err := d.walk(b, d.paths); err != nil {
		return err
	}
	return d.complete(b)
}

// walk reads the value that the library is at.
func (d *Decoder) walk(b *event.Batch, n *place) *RowError {
	kind := d.json.Next()
	enter := kind == jx.Object || kind == jx.Array
	switch {
	case len(n.attrs) == 1 && len(n.inside) == 0:
		return d.give(b, n.attrs[0])
	case len(n.attrs) > 0:
		return d.each(b, n)
	case !enter || len(n.inside) == 0:
		return d.pass()
	}
	if kind == jx.Array {
		return d.walkArray(b, n)
	}
	it, err := d.json.ObjIter()
	if err != nil {
		return malformed(reason(err))
	}
	for it.Next() {
		if wrong := d.step(b, n.member(it.Key())); wrong != nil {
			return wrong
		}
	}
	if err := it.Err(); err != nil {
		return malformed(reason(err))
	}
	return nil
}

func (d *Decoder) walkArray(b *event.Batch, n *place) *RowError {
	it, err := d.json.ArrIter()
	if err != nil {
		return malformed(reason(err))
	}
	for i := 0; it.Next(); i++ {
		if wrong := d.step(b, n.element(i)); wrong != nil {
			return wrong
		}
	}
	if err := it.Err(); err != nil {
		return malformed(reason(err))
	}
	return nil
}

// step reads the value that the library is at, or skips it where no path leads.
func (d *Decoder) step(b *event.Batch, n *place) *RowError {
	if n == nil {
		return d.pass()
	}
	return d.walk(b, n)
}

// each gives a value to several attributes, and to those inside it.
func (d *Decoder) each(b *event.Batch, n *place) *RowError {
	raw, err := d.json.Raw()
	if err != nil {
		return malformed(reason(err))
	}
	outer := d.json
	defer func() { d.json = outer }()
	for _, i := range n.attrs {
		d.json = jx.DecodeBytes(raw)
		if err := d.give(b, i); err != nil {
			return err
		}
	}
	d.json = jx.DecodeBytes(raw)
	return d.walk(b, &place{inside: n.inside})
}

// give appends the value that the library is at to an attribute.
func (d *Decoder) give(b *event.Batch, i int) *RowError {
	if d.isSet[i] {
		return &RowError{Problem: Duplicate, Attr: d.schema.Attrs[i].Name}
	}
	d.isSet[i] = true
	d.given = append(d.given, i)
	return d.field(b, i)
}

// pass skips the value that the library is at.
func (d *Decoder) pass() *RowError {
	if err := d.json.Skip(); err != nil {
		return malformed(reason(err))
	}
	return nil
}

// enclosed returns where the message has its rows: the part of src to read. It returns false
// after an error, which it has recorded.
func (d *Decoder) enclosed() (from, to int, ok bool) {
	at, end := skipSpace(d.src, 0), len(d.src)
	for _, step := range d.mapping.Rows {
		raw, err := d.value(at)
		if err == nil {
			raw, err = d.inside(raw, step)
		}
		if err != nil {
			d.refuse(0, len(d.src), err)
			return 0, 0, false
		}
		// raw is a part of src.
		at = cap(d.src) - cap(raw)
		end = at + len(raw)
	}
	return at, end, true
}

// inside returns the value that a step leads to.
func (d *Decoder) inside(raw []byte, s Step) (found []byte, wrong *RowError) {
	j := jx.DecodeBytes(raw)
	var err error
	switch kind := j.Next(); {
	case s.Member != "" && kind == jx.Object:
		err = j.ObjBytes(func(j *jx.Decoder, key []byte) error {
			if found != nil || string(key) != s.Member {
				return j.Skip()
			}
			value, err := j.Raw()
			found = value
			return err
		})
	case s.Member == "" && kind == jx.Array:
		i := 0
		err = j.Arr(func(j *jx.Decoder) error {
			if i++; i-1 != s.Index {
				return j.Skip()
			}
			value, err := j.Raw()
			found = value
			return err
		})
	}
	if err != nil {
		return nil, malformed(reason(err))
	}
	if found == nil || len(bytes.TrimSpace(found)) == 0 {
		return nil, &RowError{Problem: Empty, Expected: "events at " + d.mapping.Rows.String()}
	}
	return found, nil
}
