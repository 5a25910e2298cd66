package siddhiql

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowtext"
)

const (
	columnMax   = 9999 // of @attributes, from 0
	regexPrefix = "regex."
)

// Settings of @map inside @source.
var (
	csvKeys  = []string{"type", "delimiter", "header", "fail.on.missing.attribute"}
	textKeys = []string{"type", "regex.A", "fail.on.missing.attribute"} // regex.A is an example
)

// otherMapKeys are settings of Siddhi's maps of type csv and text, with what to do instead.
var otherMapKeys = map[string]string{
	"event.grouping.enabled":    "CSV may have several events to a message, and a text is one event: leave it out",
	"fail.on.unknown.attribute": "it is called `fail.on.missing.attribute` here",
	"new.line.character":        "write line breaks into the regular expressions, as `\\n`: leave it out",
	"regex.groupid":             "a text is one event: leave it out",
}

// typeOfMap returns the type of a @map in lower case, or "".
func typeOfMap(a *Annotation) string {
	for _, e := range a.Elems {
		if e.Nested == nil && strings.EqualFold(e.Key, "type") {
			return strings.ToLower(e.Value)
		}
	}
	return ""
}

// textElems is elems for a @map of type csv or text.
func (mp *mappingChecker) textElems(a *Annotation, allowed []string) (elems map[string]*AnnotationElem, ok bool) {
	ok = true
	for _, e := range a.Elems {
		if hint := otherMapKeys[strings.ToLower(e.Key)]; hint != "" && e.Nested == nil {
			mp.errorf(e.Pos, "unknown key %s of `@map`: %s", tick(e.Key), hint)
			ok = false
		}
	}
	if !ok {
		return nil, false
	}
	return mp.elems(a, allowed...)
}

// csvMapping reads @map(type='csv', delimiter=';', header='true',
// fail.on.missing.attribute='false', @attributes(a='0')).
func (mp *mappingChecker) csvMapping(a, attributes *Annotation, s *Stream) *rowtext.Mapping {
	elems, good := mp.textElems(a, csvKeys)
	if !good {
		return nil
	}
	m := &rowtext.Mapping{
		Optional: !mp.yes(elems["fail.on.missing.attribute"], true),
		CSV:      &rowtext.CSV{Delimiter: ',', Header: mp.yes(elems["header"], false)},
	}
	if e := elems["delimiter"]; e != nil {
		m.CSV.Delimiter = mp.delimiter(e)
	}
	mp.noObjects(a, s)
	if attributes == nil {
		return m
	}
	m.CSV.Columns = make([]int, len(s.Schema.Attrs))
	seen := mp.attributes(attributes, s, "column", "0", func(i int, e *AnnotationElem) {
		n, err := strconv.Atoi(e.Value)
		if err != nil || n < 0 || n > columnMax {
			mp.errorf(e.Pos, "found %s='%s', expected the number of its column, from 0 to %d", s.Schema.Attrs[i].Name, shorten(e.Value), columnMax)
		}
		m.CSV.Columns[i] = n
	})
	mp.allNamed(attributes, s, "column", seen)
	return m
}

// delimiter reads what separates fields.
func (mp *mappingChecker) delimiter(e *AnnotationElem) rune {
	if e.Value == `\t` {
		return '\t'
	}
	r, size := utf8.DecodeRuneInString(e.Value)
	if size == 0 || size < len(e.Value) || r == utf8.RuneError || strings.ContainsRune("\"\r\n\x00", r) {
		mp.errorf(e.Pos, "found delimiter='%s', expected one character such as ';', or '\\t' for a tab", shorten(e.Value))
		return ','
	}
	return r
}

// noObjects refuses attributes that only JSON has.
func (mp *mappingChecker) noObjects(a *Annotation, s *Stream) {
	for _, attr := range s.Schema.Attrs {
		if attr.Type == event.Object {
			mp.errorf(a.Pos, "attribute %s of stream %s is an object, which only JSON has: expected a number, a bool or a string", tick(attr.Name), tick(s.Name))
		}
	}
}

// allNamed refuses @attributes without some attribute.
func (mp *mappingChecker) allNamed(attributes *Annotation, s *Stream, what string, seen []bool) {
	if i := slices.Index(seen, false); i >= 0 {
		mp.errorf(attributes.Pos, "`@attributes` does not have the %s of %s: expected one for each attribute of stream %s", what, tick(s.Schema.Attrs[i].Name), tick(s.Name))
	}
}

// textMapping reads @map(type='text', regex.A='…', fail.on.missing.attribute='false',
// @attributes(a='A[1]', b='A[2]')).
func (mp *mappingChecker) textMapping(a, attributes *Annotation, s *Stream) *rowtext.Mapping {
	r := &regexReader{build: mp.build}
	a = r.take(a)
	elems, good := mp.textElems(a, textKeys)
	if !good {
		return nil
	}
	m := &rowtext.Mapping{Optional: !mp.yes(elems["fail.on.missing.attribute"], true), Text: &rowtext.Text{}}
	mp.noObjects(a, s)
	if attributes == nil {
		if len(r.list) > 0 {
			mp.errorf(r.at[0], "regex.%s is not used: write `@attributes(%s='%s[1]', …)` inside `@map`", r.list[0].Name, s.Schema.Attrs[0].Name, r.list[0].Name)
		} else if len(s.Schema.Attrs) != 1 || s.Schema.Attrs[0].Type != event.String {
			mp.errorf(a.Pos, "without `@attributes`, a text is the one attribute of its stream, a string: write `@map(type='text', regex.A='…', @attributes(%s='A[1]', …))`", s.Schema.Attrs[0].Name)
		}
		return m
	}
	m.Text.Groups = make([]rowtext.Group, len(s.Schema.Attrs))
	seen := mp.attributes(attributes, s, "group", "A[1]", func(i int, e *AnnotationElem) { m.Text.Groups[i] = r.group(e) })
	mp.allNamed(attributes, s, "group", seen)
	for i, x := range r.list {
		if !r.used[i] && !r.unknown {
			mp.errorf(r.at[i], "regex.%s is not used in `@attributes`: leave it out", x.Name)
		}
	}
	m.Text.Regexes = r.list
	return m
}

// regexReader reads the regular expressions of a @map, and what refers to them.
type regexReader struct {
	*build
	list   []rowtext.Regex
	at     []Pos
	groups []int // of each one; -1: it is wrong
	used   []bool
	// unknown says that an attribute refers to no regular expression.
	unknown bool
}

// take takes regex.A='…' and the like out of a.
func (r *regexReader) take(a *Annotation) *Annotation {
	rest := *a
	rest.Elems = nil
	for _, e := range a.Elems {
		n := len(regexPrefix)
		if e.Nested != nil || len(e.Key) <= n || !strings.EqualFold(e.Key[:n], regexPrefix) || otherMapKeys[strings.ToLower(e.Key)] != "" {
			rest.Elems = append(rest.Elems, e)
			continue
		}
		name, groups := e.Key[n:], -1
		if r.index(name) >= 0 {
			r.errorf(e.Pos, "the key %s of `@map` stands twice", tick(e.Key))
			continue
		}
		if x, err := regexp.Compile(e.Value); err != nil {
			r.errorf(e.Pos, "regex.%s is no regular expression of RE2, which has no lookaround and no backreferences: %v", name, err)
		} else {
			groups = x.NumSubexp()
		}
		r.list = append(r.list, rowtext.Regex{Name: name, Expr: e.Value})
		r.at, r.groups, r.used = append(r.at, e.Pos), append(r.groups, groups), append(r.used, false)
	}
	return &rest
}

func (r *regexReader) index(name string) int {
	return slices.IndexFunc(r.list, func(x rowtext.Regex) bool { return x.Name == name })
}

// group reads A[2], or A for A[1].
func (r *regexReader) group(e *AnnotationElem) rowtext.Group {
	name, rest, numbered := strings.Cut(e.Value, "[")
	g := rowtext.Group{Regex: r.index(name), Number: 1}
	if g.Regex < 0 {
		r.unknown = true
		var names []string
		for _, x := range r.list {
			names = append(names, x.Name)
		}
		r.errorf(e.Pos, "found '%s', expected a group such as A[1], and regex.A='…' in `@map`%s", shorten(e.Value), didYouMean(name, names))
		return rowtext.Group{}
	}
	r.used[g.Regex] = true
	if numbered {
		n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		if err != nil || n < 0 || !strings.HasSuffix(rest, "]") {
			r.errorf(e.Pos, "found '%s', expected a group such as %s[1]", shorten(e.Value), name)
			return rowtext.Group{}
		}
		g.Number = n
	}
	if have := r.groups[g.Regex]; have >= 0 && g.Number > have {
		r.errorf(e.Pos, "found '%s', but regex.%s has %s: put parentheses around the value", shorten(e.Value), name, count(have, "group"))
	}
	return g
}
