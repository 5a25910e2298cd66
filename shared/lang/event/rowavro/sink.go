package rowavro

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/avro"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// SinkError says why rows of a stream cannot be written as records. Attr is the attribute, or
// -1 if it is about the record as a whole.
type SinkError struct {
	Attr int
	Err  error
}

// Target is the record that rows are written to.
type Target struct {
	root   *outValue
	header []byte // of each payload
}

// outValue is a value of a record that is written.
type outValue struct {
	kind   kind
	attr   int         // -1: none
	inside []*outValue // fields of a record
	// prefix has the branch of the union that the value is in; nil: it is in no union.
	prefix []byte
	// null has the branch of a null; nil: the value cannot be null.
	null []byte
}

// NewTarget resolves the paths of a mapping for rows of a schema. nullable says which attributes
// may be null. It returns all errors; the target is valid if there are none.
func NewTarget(schema *Schema, s *event.Schema, mapping *Mapping, nullable []bool) (*Target, []SinkError) {
	p := &planner{schema: schema, rows: s, nullable: nullable}
	var wants []wanted
	for i := range s.Attrs {
		if len(mapping.Attrs[i]) == 0 {
			p.fail(i, errors.New("the path is empty: expected a field such as order.total"))
			continue
		}
		wants = append(wants, wanted{mapping.Attrs[i], i})
	}
	t := &Target{root: p.record(schema.root, wants, false)}
	if mapping.SingleObject {
		t.header = schema.header[:]
	}
	slices.SortStableFunc(p.errs, func(a, b SinkError) int { return a.Attr - b.Attr })
	return t, p.errs
}

// wanted is an attribute that fills a value.
type wanted struct {
	path rowjson.Path
	attr int
}

// planner makes the values of a target.
type planner struct {
	schema   *Schema
	rows     *event.Schema
	nullable []bool
	errs     []SinkError
}

func (p *planner) fail(attr int, err error) { p.errs = append(p.errs, SinkError{attr, err}) }

// record returns a record whose fields the attributes fill. hides says that the record is null
// where its only attribute is.
func (p *planner) record(n *avro.SchemaNode, wants []wanted, hides bool) *outValue {
	out := &outValue{kind: record, attr: -1}
	taken := make([]bool, len(wants))
	for i := range n.Fields {
		f := &n.Fields[i]
		var inside []wanted
		for k, w := range wants {
			if w.path[0].Member == f.Name {
				taken[k] = true
				inside = append(inside, wanted{w.path[1:], w.attr})
			}
		}
		what := "field " + f.Name + " of " + fullName(n)
		if len(inside) == 0 {
			out.inside = append(out.inside, p.unfilled(&f.Type, what))
			continue
		}
		out.inside = append(out.inside, p.value(&f.Type, inside, what, hides))
	}
	for k, w := range wants {
		if taken[k] {
			continue
		}
		if w.path[0].Member == "" {
			p.fail(w.attr, fmt.Errorf("found %s: a path leads through records to one field, such as order.total", w.path))
			continue
		}
		e := &FieldError{Record: fullName(n), Field: w.path[0].Member}
		for i := range n.Fields {
			e.Have = append(e.Have, n.Fields[i].Name)
		}
		p.fail(w.attr, e)
	}
	return out
}

// unfilled returns a value that no attribute fills: a null.
func (p *planner) unfilled(n *avro.SchemaNode, what string) *outValue {
	n = p.schema.of(n)
	out := &outValue{kind: null, attr: -1}
	if n.Type == "union" {
		out.prefix = branchOf(slices.IndexFunc(n.Branches, func(b avro.SchemaNode) bool { return b.Type == "null" }))
	}
	if n.Type != "null" && out.prefix == nil {
		p.fail(-1, fmt.Errorf("no attribute fills %s: expected one, or a union with null in the schema", what))
	}
	return out
}

// value returns a value that attributes fill. In a union it is the first branch that fits them.
func (p *planner) value(n *avro.SchemaNode, wants []wanted, what string, hides bool) *outValue {
	n = p.schema.of(n)
	if n.Type != "union" {
		return p.plain(n, wants, what, hides)
	}
	absent := branchOf(slices.IndexFunc(n.Branches, func(b avro.SchemaNode) bool { return b.Type == "null" }))
	before, kept := len(p.errs), []SinkError(nil)
	for i := range n.Branches {
		if n.Branches[i].Type == "null" {
			continue
		}
		out := p.plain(p.schema.of(&n.Branches[i]), wants, what, hides || absent != nil)
		if len(p.errs) == before {
			out.prefix, out.null = branchOf(i), absent
			return out
		}
		if kept == nil {
			kept = slices.Clone(p.errs[before:])
		}
		p.errs = p.errs[:before]
	}
	if kept == nil {
		kept = []SinkError{{wants[0].attr, fmt.Errorf("%s is always null", what)}}
	}
	p.errs = append(p.errs, kept...)
	return &outValue{}
}

// plain returns a value that is no union, or the branch of one. hides says that nulls of its only
// attribute are written elsewhere.
func (p *planner) plain(n *avro.SchemaNode, wants []wanted, what string, hides bool) *outValue {
	var leaf, deeper []wanted
	for _, w := range wants {
		if len(w.path) == 0 {
			leaf = append(leaf, w)
		} else {
			deeper = append(deeper, w)
		}
	}
	if isRecord(n) && len(leaf) == 0 {
		return p.record(n, deeper, hides && len(deeper) == 1)
	}
	w := wants[0]
	switch {
	case len(leaf) > 0 && isRecord(n):
		p.fail(leaf[0].attr, fmt.Errorf("%s is %s, and no attribute: expected the path of one of its fields", what, kindOf(n)))
	case len(deeper) > 0:
		p.fail(deeper[0].attr, fmt.Errorf("%s is %s, and has no fields", what, kindOf(n)))
	case len(leaf) > 1:
		p.fail(leaf[1].attr, fmt.Errorf("another attribute fills %s: expected a field for each", what))
	default:
		types, why := taking(n)
		t := p.rows.Attrs[w.attr].Holds()
		switch {
		case why != "":
			p.fail(w.attr, fmt.Errorf("%s is %s, %s", what, kindOf(n), why))
		case !slices.Contains(types, t):
			p.fail(w.attr, fmt.Errorf("%s is %s, which does not hold every value of the attribute, a %s: expected an attribute of type %s, or another field", what, kindOf(n), t, orList(types)))
		case !hides && p.nullable[w.attr]:
			p.fail(w.attr, fmt.Errorf("%s cannot be null, and the attribute can: expected [\"null\", \"%s\"] in the schema, or `default(…)` in each query", what, n.Type))
		}
	}
	return &outValue{kind: kinds[n.Type], attr: w.attr}
}

// taking returns the types of attributes whose every value a type holds; why says why there are
// none.
func taking(n *avro.SchemaNode) (types []event.Type, why string) {
	if n.LogicalType == "decimal" {
		return nil, "and no attribute has its type: expected a double in the schema"
	}
	switch n.Type {
	case "boolean":
		return []event.Type{event.Bool}, ""
	case "int":
		return []event.Type{event.Int}, ""
	case "long":
		return []event.Type{event.Int, event.Long}, ""
	case "float":
		return []event.Type{event.Float}, ""
	case "double":
		return []event.Type{event.Int, event.Float, event.Double}, ""
	case "string":
		return []event.Type{event.String}, ""
	case "enum":
		return nil, "and not every text is one of its symbols: expected a string in the schema"
	case "bytes", "fixed":
		return nil, "and not every text is base64: expected a string in the schema"
	}
	return nil, "and an attribute is one number, bool or text: expected such a type, or a field that is null"
}

// branchOf returns the bytes of a union's branch; nil for -1.
func branchOf(i int) []byte {
	if i < 0 {
		return nil
	}
	return appendLong(nil, int64(i))
}
