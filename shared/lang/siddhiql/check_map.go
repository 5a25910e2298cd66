package siddhiql

import (
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Values of `type` in @map.
const (
	mapJSON  = "json"
	mapCSV   = "csv"
	mapText  = "text"
	mapProto = "protobuf"
	mapAvro  = "avro"
)

// mapKeys are the settings of @map of type json inside @source.
var mapKeys = []string{"type", "strict", "fail.on.missing.attribute", "enclosing.element"}

// nested takes the annotations called name out of a, and returns the first of them, or nil,
// and a without them.
func (bd *build) nested(a *Annotation, name string) (inner, rest *Annotation) {
	other := *a
	other.Elems = slices.DeleteFunc(slices.Clone(a.Elems), func(e *AnnotationElem) bool {
		if e.Nested == nil || !is(e.Nested, name) {
			return false
		}
		if inner != nil {
			bd.errorf(e.Pos, "`@%s` stands twice in `@%s`: first at %s", name, a.Name, inner.Pos)
		} else {
			inner = e.Nested
		}
		return true
	})
	return inner, &other
}

// mappingChecker checks how messages become events, and results messages.
type mappingChecker struct {
	*build
	catalog *catalog
	files   map[string]*embedded // by name
}

// mapping reads @map(type='json', strict='true', fail.on.missing.attribute='false',
// enclosing.element='$.events', @attributes(a='$.x.y')), and the maps of other types.
func (mp *mappingChecker) mapping(a *Annotation, s *Stream) {
	attributes, a := mp.nested(a, "attributes")
	switch typeOfMap(a) {
	case mapCSV:
		s.Text = mp.csvMapping(a, attributes, s)
		return
	case mapText:
		s.Text = mp.textMapping(a, attributes, s)
		return
	case mapProto:
		s.Proto = mp.protoMapping(a, attributes, s)
		return
	case mapAvro:
		s.Avro = mp.avroMapping(a, attributes, s)
		return
	}
	elems, good := mp.elems(a, mapKeys...)
	if !good {
		return
	}
	if e := elems["type"]; e == nil {
		mp.errorf(a.Pos, "`@map` names no type: write `@map(type='json', …)`")
	} else if !strings.EqualFold(e.Value, mapJSON) {
		mp.errorf(e.Pos, "found type='%s', expected 'json', 'csv', 'text', 'protobuf' or 'avro'", shorten(e.Value))
	}
	m := rowjson.Mapping{
		Strict:   mp.yes(elems["strict"], false),
		Optional: !mp.yes(elems["fail.on.missing.attribute"], true),
	}
	if e := elems["enclosing.element"]; e != nil {
		m.Rows = mp.jsonPath(e)
	}
	if attributes != nil {
		m.Attrs = mp.attributePaths(attributes, s)
		if m.Strict {
			mp.errorf(elems["strict"].Pos, "`strict` refuses members that are no attributes, but with `@attributes` an event may have any: leave one of them out")
		}
	}
	s.Map = m
}

// yes reads 'true' or 'false'.
func (bd *build) yes(e *AnnotationElem, absent bool) bool {
	switch {
	case e == nil:
		return absent
	case strings.EqualFold(e.Value, "true"):
		return true
	case !strings.EqualFold(e.Value, "false"):
		bd.errorf(e.Pos, "found %s='%s', expected 'true' or 'false'", e.Key, shorten(e.Value))
	}
	return false
}

func (mp *mappingChecker) jsonPath(e *AnnotationElem) rowjson.Path {
	p, err := rowjson.ParsePath(e.Value)
	if err != nil {
		mp.errorf(e.Pos, "%v", err)
	}
	return p
}

// attributePaths reads @attributes(a='$.x', b='$.y') or @attributes('$.x', '$.y'). An
// attribute that it does not name is the member of its name.
func (mp *mappingChecker) attributePaths(a *Annotation, s *Stream) []rowjson.Path {
	paths := make([]rowjson.Path, len(s.Schema.Attrs))
	for i, attr := range s.Schema.Attrs {
		paths[i] = rowjson.Path{{Member: attr.Name}}
	}
	mp.attributes(a, s, "path", "$.x", func(i int, e *AnnotationElem) { paths[i] = mp.jsonPath(e) })
	return paths
}

// attributes reads @attributes, which says of each attribute, by name or by order, what in
// the message it is. It calls read for each one, and returns which attributes it has found, or
// nil after an error.
func (mp *mappingChecker) attributes(a *Annotation, s *Stream, what, example string, read func(i int, e *AnnotationElem)) []bool {
	seen, good := make([]bool, len(s.Schema.Attrs)), true
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
			mp.errorf(e.Pos, "found `@%s` inside `@attributes`, expected the %s of an attribute such as %s='%s'", e.Nested.Name, what, names[0], example)
		case (e.Key == "") != (a.Elems[0].Key == ""):
			mp.errorf(e.Pos, "`@attributes` mixes %ss with and without names: expected names for all, or for none", what)
		case i < 0:
			mp.errorf(e.Pos, "stream %s has no attribute %s%s", tick(s.Name), tick(e.Key), didYouMean(e.Key, names))
		case i >= len(seen):
			mp.errorf(e.Pos, "`@attributes` has %s, but stream %s has %s", count(len(a.Elems), what), tick(s.Name), count(len(seen), "attribute"))
			return nil
		case seen[i]:
			mp.errorf(e.Pos, "`@attributes` names %s twice", tick(s.Schema.Attrs[i].Name))
		default:
			seen[i] = true
			read(i, e)
			continue
		}
		good = false
	}
	if !good {
		return nil
	}
	return seen
}
