package rowproto

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Mapping says which message payloads are, and which fields the attributes are.
type Mapping struct {
	// Descriptors is a serialized google.protobuf.FileDescriptorSet.
	Descriptors string
	// Message is the full name of the message.
	Message string
	// Attrs has the path of each attribute.
	Attrs []rowjson.Path
	// NotFinite accepts numbers that are NaN or infinite, as results can have them.
	NotFinite bool
}

// ContentType returns the header that tells results in this format apart from others.
func (m *Mapping) ContentType() string { return "application/protobuf; message=" + m.Message }

// FieldError says that a message lacks a field of a path.
type FieldError struct {
	Message, Field string
	Have           []string
}

func (e *FieldError) Error() string {
	return fmt.Sprintf("message %s has no field %s", e.Message, e.Field)
}

const timestampName = "google.protobuf.Timestamp"

// Resolve returns the fields on a path from a message to a value that fits an attribute of
// type t. Its error is a *FieldError where a field does not exist.
func Resolve(m protoreflect.MessageDescriptor, path rowjson.Path, t event.Type) ([]protoreflect.FieldDescriptor, error) {
	fields, err := walk(m, path)
	if err != nil {
		return nil, err
	}
	last := fields[len(fields)-1]
	fit := fitting(last)
	if slices.Contains(fit, t) {
		return fields, nil
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("field %s is %s, and no attribute: expected the path of one of its fields, such as %s.%s", last.FullName(), kindOf(last), last.Name(), first(last.Message()))
	}
	return nil, fmt.Errorf("field %s is %s, and the attribute is %s: expected %s", last.FullName(), kindOf(last), t, orList(fit))
}

// walk returns the fields on a path.
func walk(m protoreflect.MessageDescriptor, path rowjson.Path) ([]protoreflect.FieldDescriptor, error) {
	var fields []protoreflect.FieldDescriptor
	for i, step := range path {
		if step.Member == "" {
			return nil, fmt.Errorf("found %s: a path leads through messages to one field, such as order.total", path)
		}
		f := m.Fields().ByName(protoreflect.Name(step.Member))
		if f == nil {
			f = m.Fields().ByJSONName(step.Member)
		}
		if f == nil {
			return nil, &FieldError{Message: string(m.FullName()), Field: step.Member, Have: names(m)}
		}
		fields = append(fields, f)
		switch {
		case f.IsMap() || f.IsList():
			return nil, fmt.Errorf("field %s is %s: an attribute is one value", f.FullName(), kindOf(f))
		case i == len(path)-1:
		case f.Message() == nil:
			return nil, fmt.Errorf("field %s is %s, and has no fields", f.FullName(), kindOf(f))
		default:
			m = f.Message()
		}
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("the path is empty: expected a field such as order.total")
	}
	return fields, nil
}

// fitting returns the types of attributes that hold every value of a field.
func fitting(f protoreflect.FieldDescriptor) []event.Type {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return []event.Type{event.Bool}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return []event.Type{event.Int, event.Long, event.Double}
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return []event.Type{event.Long, event.Double}
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return []event.Type{event.Long}
	case protoreflect.FloatKind:
		return []event.Type{event.Float, event.Double}
	case protoreflect.DoubleKind:
		return []event.Type{event.Double}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return []event.Type{event.String}
	case protoreflect.EnumKind:
		return []event.Type{event.String, event.Int, event.Long}
	}
	if f.Message().FullName() == timestampName {
		return []event.Type{event.Long}
	}
	return nil
}

func names(m protoreflect.MessageDescriptor) (list []string) {
	for i := range m.Fields().Len() {
		list = append(list, string(m.Fields().Get(i).Name()))
	}
	return list
}

func first(m protoreflect.MessageDescriptor) string {
	if m.Fields().Len() == 0 {
		return "x"
	}
	return string(m.Fields().Get(0).Name())
}

// kindOf describes the type of a field.
func kindOf(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "a map"
	case f.IsList():
		return "repeated"
	case f.Message() != nil:
		return "a message " + string(f.Message().FullName())
	case f.Enum() != nil:
		return "an enum " + string(f.Enum().FullName())
	}
	return f.Kind().String()
}

func orList(types []event.Type) string {
	list := make([]string, len(types))
	for i, t := range types {
		list[i] = t.String()
	}
	return strings.Join(list, " or ")
}
