package rowavro

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Mapping says what payloads are, and which fields the attributes are.
type Mapping struct {
	// Schema is the JSON of an Avro schema.
	Schema string
	// SingleObject says that each payload starts with the fingerprint of its schema.
	SingleObject bool
	// Attrs has the path of each attribute.
	Attrs []rowjson.Path
	// NotFinite accepts numbers that are NaN or infinite, as results can have them.
	NotFinite bool
}

// ContentType returns the header that tells results in this format apart from others. The
// mapping is sound.
func (m *Mapping) ContentType() string {
	schema, err := ReadSchema(m.Schema)
	if err != nil {
		panic(err)
	}
	text := "application/avro; fingerprint=" + hex.EncodeToString(schema.header[2:])
	if m.SingleObject {
		text += "; encoding=single-object"
	}
	return text
}

// FieldError says that a record lacks a field of a path.
type FieldError struct {
	Record, Field string
	Have          []string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("record %s has no field %s", e.Record, e.Field)
}

// Schema is a schema of records.
type Schema struct {
	root  *avro.SchemaNode
	named map[string]*avro.SchemaNode // by full name
	// header starts each payload in the single-object encoding.
	header [headerBytes]byte
}

const headerBytes = 10 // a magic number and a fingerprint

// ReadSchema reads the JSON of a schema, which must be a record.
func ReadSchema(text string) (*Schema, error) {
	s, err := avro.Parse(text)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "avro: "))
	}
	schema := &Schema{root: s.Root(), named: map[string]*avro.SchemaNode{}}
	schema.name(schema.root, "")
	sum := avro.NewRabin()
	sum.Write(s.Canonical())
	schema.header[0], schema.header[1] = 0xc3, 0x01
	binary.LittleEndian.PutUint64(schema.header[2:], sum.Sum64())
	if schema.root.Type != "record" {
		return nil, fmt.Errorf("it is %s: expected a record", kindOf(schema.root))
	}
	return schema, nil
}

// name notes the named types of a schema, and gives references to them full names. scope is
// the namespace around n. A schema defines a type before it refers to it.
func (s *Schema) name(n *avro.SchemaNode, scope string) {
	switch n.Type {
	case "record", "error", "enum", "fixed":
		full := fullName(n)
		s.named[full] = n
		scope = full[:max(0, strings.LastIndexByte(full, '.'))]
	case "array":
		s.name(n.Items, scope)
		return
	case "map":
		s.name(n.Values, scope)
		return
	default:
		if scope != "" && s.named[scope+"."+n.Type] != nil {
			n.Type = scope + "." + n.Type
		}
	}
	for i := range n.Fields {
		s.name(&n.Fields[i].Type, scope)
	}
	for i := range n.Branches {
		s.name(&n.Branches[i], scope)
	}
}

func fullName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// of returns the definition of a type, which n may only name.
func (s *Schema) of(n *avro.SchemaNode) *avro.SchemaNode {
	if d := s.named[n.Type]; d != nil {
		return d
	}
	return n
}

// Resolve reports whether the value on a path fits an attribute of type t. Its error is a
// *FieldError where a field does not exist.
func (s *Schema) Resolve(path rowjson.Path, t event.Type) error {
	if len(path) == 0 {
		return errors.New("the path is empty: expected a field such as order.total")
	}
	return s.resolve(s.root, path, t, "the value")
}

func (s *Schema) resolve(n *avro.SchemaNode, path rowjson.Path, t event.Type, what string) error {
	n = s.of(n)
	switch {
	case n.Type == "union":
		branches := 0
		for i := range n.Branches {
			if n.Branches[i].Type == "null" {
				continue
			}
			branches++
			if err := s.resolve(&n.Branches[i], path, t, what); err != nil {
				return err
			}
		}
		if branches == 0 {
			return fmt.Errorf("%s is always null", what)
		}
		return nil
	case len(path) > 0 && path[0].Member == "":
		return fmt.Errorf("found %s: a path leads through records to one field, such as order.total", path)
	case len(path) > 0 && !isRecord(n):
		return fmt.Errorf("%s is %s, and has no fields", what, kindOf(n))
	case len(path) > 0:
		for i := range n.Fields {
			if n.Fields[i].Name == path[0].Member {
				return s.resolve(&n.Fields[i].Type, path[1:], t, "field "+n.Fields[i].Name+" of "+fullName(n))
			}
		}
		e := &FieldError{Record: fullName(n), Field: path[0].Member}
		for i := range n.Fields {
			e.Have = append(e.Have, n.Fields[i].Name)
		}
		return e
	case isRecord(n):
		return fmt.Errorf("%s is %s, and no attribute: expected the path of one of its fields", what, kindOf(n))
	}
	fit := fitting(n)
	switch {
	case slices.Contains(fit, t):
		return nil
	case len(fit) == 0:
		return fmt.Errorf("%s is %s: an attribute is one number, bool or text", what, kindOf(n))
	}
	return fmt.Errorf("%s is %s, and the attribute is %s: expected %s", what, kindOf(n), t, orList(fit))
}

// fitting returns the types of attributes that hold every value of a type.
func fitting(n *avro.SchemaNode) []event.Type {
	if n.LogicalType == "decimal" {
		return nil
	}
	switch n.Type {
	case "boolean":
		return []event.Type{event.Bool}
	case "int":
		return []event.Type{event.Int, event.Long, event.Double}
	case "long":
		return []event.Type{event.Long}
	case "float":
		return []event.Type{event.Float, event.Double}
	case "double":
		return []event.Type{event.Double}
	case "string", "enum", "bytes", "fixed":
		return []event.Type{event.String}
	}
	return nil
}

func isRecord(n *avro.SchemaNode) bool { return n.Type == "record" || n.Type == "error" }

// kindOf describes a type.
func kindOf(n *avro.SchemaNode) string {
	switch {
	case isRecord(n), n.Type == "enum", n.Type == "fixed":
		return n.Type + " " + fullName(n)
	case n.LogicalType == "decimal":
		return "a decimal"
	case n.Type == "array", n.Type == "union":
		return "an " + n.Type
	case n.Type == "map":
		return "a map"
	}
	return n.Type
}

func orList(types []event.Type) string {
	list := make([]string, len(types))
	for i, t := range types {
		list[i] = t.String()
	}
	return strings.Join(list, " or ")
}
