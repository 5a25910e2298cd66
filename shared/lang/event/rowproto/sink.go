package rowproto

import (
	"cmp"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// SinkError says why rows of a stream cannot be written as messages. Attr is the attribute, or
// -1 if it is about the message as a whole.
type SinkError struct {
	Attr int
	Err  error
}

// Target is the message that rows are written to.
type Target struct {
	root *outMessage
	// Unmarked has the attributes that may be null and whose fields have no presence: their
	// nulls are written as the field's default.
	Unmarked []int
}

// outMessage is a message, or one inside it, with the fields that attributes fill.
type outMessage struct {
	fields []*outField // by number
	oneofs map[protoreflect.Name]protoreflect.Name
}

// outField is a field that an attribute fills, or a message with such fields.
type outField struct {
	num      protowire.Number
	kind     protoreflect.Kind
	attr     int         // -1: it has fields
	inside   *outMessage // nil: it is an attribute
	presence bool
	stamp    bool // a google.protobuf.Timestamp
}

// NewTarget resolves the paths of a mapping for rows of a schema. nullable says which attributes
// may be null. It returns all errors; the target is valid if there are none.
func NewTarget(m protoreflect.MessageDescriptor, s *event.Schema, mapping *Mapping, nullable []bool) (*Target, []SinkError) {
	t := &Target{root: &outMessage{}}
	var errs []SinkError
	for i, a := range s.Attrs {
		fields, err := walk(m, mapping.Attrs[i])
		if err == nil {
			err = takes(fields, a.Holds())
		}
		if err == nil {
			err = t.root.add(fields, i)
		}
		if err != nil {
			errs = append(errs, SinkError{i, err})
			continue
		}
		if last := fields[len(fields)-1]; nullable[i] && !last.HasPresence() {
			t.Unmarked = append(t.Unmarked, i)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	t.root.sort()
	if errs = t.root.required(m, nullable); len(errs) > 0 {
		return nil, errs
	}
	return t, nil
}

// takes returns an error unless the last field holds every value of an attribute of type t.
func takes(fields []protoreflect.FieldDescriptor, t event.Type) error {
	for _, f := range fields {
		if f.Kind() == protoreflect.GroupKind {
			return fmt.Errorf("field %s is a group: a group is only read", f.FullName())
		}
	}
	last := fields[len(fields)-1]
	types, why := taking(last)
	switch {
	case slices.Contains(types, t):
		return nil
	case why != "":
		return fmt.Errorf("field %s is %s, %s", last.FullName(), kindOf(last), why)
	case len(types) == 0:
		return fmt.Errorf("field %s is %s, and no attribute: expected the path of one of its fields, such as %s.%s", last.FullName(), kindOf(last), last.Name(), first(last.Message()))
	}
	return fmt.Errorf("field %s is %s, which does not hold every value of the attribute, a %s: expected an attribute of type %s, or another field", last.FullName(), kindOf(last), t, orList(types))
}

// taking returns the types of attributes whose every value a field holds; why says why there
// are none.
func taking(f protoreflect.FieldDescriptor) (types []event.Type, why string) {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return []event.Type{event.Bool}, ""
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return []event.Type{event.Int}, ""
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return []event.Type{event.Int, event.Long}, ""
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return nil, "which has no negative numbers, and an attribute can be negative: expected int32 or int64 in the message"
	case protoreflect.FloatKind:
		return []event.Type{event.Float}, ""
	case protoreflect.DoubleKind:
		return []event.Type{event.Int, event.Float, event.Double}, ""
	case protoreflect.StringKind:
		return []event.Type{event.String}, ""
	case protoreflect.BytesKind:
		return nil, "and not every text is base64: expected a string in the message"
	case protoreflect.EnumKind:
		if f.Enum().IsClosed() {
			return nil, "and not every number or text is one of its values: expected int32 or string in the message"
		}
		return []event.Type{event.Int}, ""
	}
	if f.Message().FullName() == timestampName {
		return []event.Type{event.Long}, ""
	}
	return nil, ""
}

// add adds the field of an attribute.
func (m *outMessage) add(fields []protoreflect.FieldDescriptor, attr int) error {
	for i, f := range fields {
		last := i == len(fields)-1
		at := slices.IndexFunc(m.fields, func(o *outField) bool { return o.num == f.Number() })
		if at >= 0 && (last || m.fields[at].inside == nil) {
			return fmt.Errorf("another attribute fills field %s: expected a field for each", f.FullName())
		}
		if at < 0 {
			if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
				if other := m.oneofs[one.Name()]; other != "" {
					return fmt.Errorf("only one of the fields %s and %s of oneof %s can be set: expected fields outside of it", other, f.Name(), one.Name())
				}
				if m.oneofs == nil {
					m.oneofs = map[protoreflect.Name]protoreflect.Name{}
				}
				m.oneofs[one.Name()] = f.Name()
			}
			o := &outField{num: f.Number(), kind: f.Kind(), attr: -1, presence: f.HasPresence()}
			if last {
				o.attr, o.stamp = attr, f.Message() != nil
			} else {
				o.inside = &outMessage{}
			}
			m.fields = append(m.fields, o)
			at = len(m.fields) - 1
		}
		m = m.fields[at].inside
	}
	return nil
}

func (m *outMessage) sort() {
	slices.SortFunc(m.fields, func(a, b *outField) int { return cmp.Compare(a.num, b.num) })
	for _, f := range m.fields {
		if f.inside != nil {
			f.inside.sort()
		}
	}
}

// required returns an error for each required field that a row may leave out.
func (m *outMessage) required(desc protoreflect.MessageDescriptor, nullable []bool) (errs []SinkError) {
	for i := range desc.Fields().Len() {
		f := desc.Fields().Get(i)
		at := slices.IndexFunc(m.fields, func(o *outField) bool { return o.num == f.Number() })
		if at >= 0 && m.fields[at].inside != nil {
			errs = append(errs, m.fields[at].inside.required(f.Message(), nullable)...)
		}
		switch {
		case f.Cardinality() != protoreflect.Required:
		case at < 0:
			errs = append(errs, SinkError{-1, fmt.Errorf("field %s is required, and no attribute fills it: expected one, or an optional field", f.FullName())})
		case m.fields[at].mayBeUnset(nullable):
			errs = append(errs, SinkError{m.fields[at].attr, fmt.Errorf("field %s is required, and the row may be null there: expected an optional field, or `default(…)` in each query", f.FullName())})
		}
	}
	return errs
}

// mayBeUnset reports whether a row may leave the field out.
func (f *outField) mayBeUnset(nullable []bool) bool {
	if f.inside == nil {
		return nullable[f.attr]
	}
	return !slices.ContainsFunc(f.inside.fields, func(i *outField) bool { return !i.mayBeUnset(nullable) })
}
