package siddhiql

import (
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// mapKeys are the settings of @map inside @source.
var mapKeys = []string{"type", "strict", "fail.on.missing.attribute", "enclosing.element"}

// nested takes the annotations called name out of a, and returns the first of them, or nil,
// and a without them.
func (c *checker) nested(a *Annotation, name string) (inner, rest *Annotation) {
	other := *a
	other.Elems = slices.DeleteFunc(slices.Clone(a.Elems), func(e *AnnotationElem) bool {
		if e.Nested == nil || !is(e.Nested, name) {
			return false
		}
		if inner != nil {
			c.errorf(e.Pos, "`@%s` stands twice in `@%s`: first at %s", name, a.Name, inner.Pos)
		} else {
			inner = e.Nested
		}
		return true
	})
	return inner, &other
}

// mapping reads @map(type='json', strict='true', fail.on.missing.attribute='false',
// enclosing.element='$.events', @attributes(a='$.x.y')).
func (c *checker) mapping(a *Annotation, s *Stream) {
	attributes, a := c.nested(a, "attributes")
	elems, good := c.elems(a, mapKeys...)
	if !good {
		return
	}
	if e := elems["type"]; e == nil {
		c.errorf(a.Pos, "`@map` names no type: write `@map(type='json', …)`")
	} else if !strings.EqualFold(e.Value, "json") {
		c.errorf(e.Pos, "found type='%s': events are JSON here; expected type='json'", shorten(e.Value))
	}
	m := rowjson.Mapping{
		Strict:   c.yes(elems["strict"], false),
		Optional: !c.yes(elems["fail.on.missing.attribute"], true),
	}
	if e := elems["enclosing.element"]; e != nil {
		m.Rows = c.jsonPath(e)
	}
	if attributes != nil {
		m.Attrs = c.attributePaths(attributes, s)
		if m.Strict {
			c.errorf(elems["strict"].Pos, "`strict` refuses members that are no attributes, but with `@attributes` an event may have any: leave one of them out")
		}
	}
	s.Map = m
}

// yes reads 'true' or 'false'.
func (c *checker) yes(e *AnnotationElem, absent bool) bool {
	switch {
	case e == nil:
		return absent
	case strings.EqualFold(e.Value, "true"):
		return true
	case !strings.EqualFold(e.Value, "false"):
		c.errorf(e.Pos, "found %s='%s', expected 'true' or 'false'", e.Key, shorten(e.Value))
	}
	return false
}

func (c *checker) jsonPath(e *AnnotationElem) rowjson.Path {
	p, err := rowjson.ParsePath(e.Value)
	if err != nil {
		c.errorf(e.Pos, "%v", err)
	}
	return p
}

// attributePaths reads @attributes(a='$.x', b='$.y') or @attributes('$.x', '$.y'). An
// attribute that it does not name is the member of its name.
func (c *checker) attributePaths(a *Annotation, s *Stream) []rowjson.Path {
	paths := make([]rowjson.Path, len(s.Schema.Attrs))
	for i, attr := range s.Schema.Attrs {
		paths[i] = rowjson.Path{{Member: attr.Name}}
	}
	seen := map[int]bool{}
	var names []string
	for _, attr := range s.Schema.Attrs {
		names = append(names, attr.Name)
	}
	for n, e := range a.Elems {
		i := n
		if e.Key != "" {
			i = s.Schema.Index(e.Key)
		}
		switch {
		case e.Nested != nil:
			c.errorf(e.Pos, "found `@%s` inside `@attributes`, expected the path of an attribute such as %s='$.x'", e.Nested.Name, names[0])
		case (e.Key == "") != (a.Elems[0].Key == ""):
			c.errorf(e.Pos, "`@attributes` mixes paths with and without names: expected names for all, or for none")
		case i < 0:
			c.errorf(e.Pos, "stream %s has no attribute %s%s", tick(s.Name), tick(e.Key), didYouMean(e.Key, names))
		case i >= len(paths):
			c.errorf(e.Pos, "`@attributes` has %s, but stream %s has %s", count(len(a.Elems), "path"), tick(s.Name), count(len(paths), "attribute"))
			return paths
		case seen[i]:
			c.errorf(e.Pos, "`@attributes` names %s twice", tick(s.Schema.Attrs[i].Name))
		default:
			seen[i] = true
			paths[i] = c.jsonPath(e)
		}
	}
	return paths
}
