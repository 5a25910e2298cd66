package rowavro

import (
	"github.com/twmb/avro"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// kind is a type of Avro.
type kind uint8

const (
	null kind = iota
	boolean
	integer
	long
	float
	double
	bytesKind
	text
	fixed
	enum
	record
	array // also a map: its items have keys
	union
)

var kinds = map[string]kind{
	"null": null, "boolean": boolean, "int": integer, "long": long, "float": float, "double": double, "bytes": bytesKind,
	"string": text, "fixed": fixed, "enum": enum, "record": record, "error": record, "array": array, "map": array, "union": union,
}

// node says how to read a value of a type at one place, or to skip it.
type node struct {
	kind    kind
	name    string  // of the field it is
	inside  []*node // fields, branches, or the items
	keyed   bool    // an array that is a map
	symbols []string
	size    int
	value   *value // of attributes; nil: skipped
	empty   bool   // it takes no bytes
}

// value is what attributes read.
type value struct {
	kind      kind
	bits      uint64
	text      []byte
	node      *node // that has set it in the current payload
	notFinite bool  // NaN and infinities are accepted
}

// builder makes nodes.
type builder struct {
	schema *Schema
	// skipped has the nodes of named types that are skipped: they may contain themselves.
	skipped map[string]*node
}

// want is an attribute inside a value.
type want struct {
	path  rowjson.Path
	value *value
}

// read returns the node of a value that has attributes inside.
func (b *builder) read(n *avro.SchemaNode, name string, wants []want) *node {
	if len(wants) == 0 {
		return b.skip(n, name)
	}
	n = b.schema.of(n)
	out := &node{kind: kinds[n.Type], name: name, symbols: n.Symbols, size: n.Size}
	switch out.kind {
	case union:
		for i := range n.Branches {
			w := wants
			if n.Branches[i].Type == "null" {
				w = nil
			}
			out.inside = append(out.inside, b.read(&n.Branches[i], name, w))
		}
	case record:
		for i := range n.Fields {
			f := &n.Fields[i]
			var inside []want
			for _, w := range wants {
				if w.path[0].Member == f.Name {
					inside = append(inside, want{w.path[1:], w.value})
				}
			}
			out.inside = append(out.inside, b.read(&f.Type, f.Name, inside))
		}
	default:
		out.value = wants[0].value
	}
	return out
}

// skip returns the node of a value without attributes.
func (b *builder) skip(n *avro.SchemaNode, name string) *node {
	n = b.schema.of(n)
	out := &node{kind: kinds[n.Type], name: name, symbols: n.Symbols, size: n.Size}
	if n.Name != "" && (out.kind == record || out.kind == enum || out.kind == fixed) {
		if known := b.skipped[fullName(n)]; known != nil {
			return known
		}
		out.name = "" // of several fields
		b.skipped[fullName(n)] = out
	}
	switch out.kind {
	case null:
		out.empty = true
	case fixed:
		out.empty = n.Size == 0
	case array:
		items := n.Items
		if out.keyed = n.Type == "map"; out.keyed {
			items = n.Values
		}
		out.inside = []*node{b.skip(items, name)}
	case union:
		for i := range n.Branches {
			out.inside = append(out.inside, b.skip(&n.Branches[i], name))
		}
	case record:
		out.empty = true
		for i := range n.Fields {
			f := b.skip(&n.Fields[i].Type, n.Fields[i].Name)
			out.inside = append(out.inside, f)
			out.empty = out.empty && f.empty
		}
	}
	return out
}
