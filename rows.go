package eventflux

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// shape maps the fields of a Go type to the attributes of a stream. Types that are not structs,
// such as map[string]any or json.RawMessage, are not checked here.
type shape struct {
	schema *event.Schema
	fields map[string]field // by JSON name; nil if the type is not a struct
}

type field struct {
	index []int
	typ   reflect.Type
}

func shapeOf(t reflect.Type, s *event.Schema) shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	sh := shape{schema: s}
	if t.Kind() != reflect.Struct || implements(t, marshaler) || implements(t, unmarshaler) {
		return sh
	}
	sh.fields = map[string]field{}
	for _, f := range reflect.VisibleFields(t) {
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || tag == "-" || f.Anonymous && tag == "" && f.Type.Kind() == reflect.Struct {
			continue
		}
		name := f.Name
		if tag != "" {
			name = tag
		}
		sh.fields[name] = field{f.Index, f.Type}
	}
	return sh
}

var (
	marshaler       = reflect.TypeFor[json.Marshaler]()
	unmarshaler     = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

func implements(t, what reflect.Type) bool {
	return t.Implements(what) || reflect.PointerTo(t).Implements(what)
}

// checkEvents returns an error unless the type has a field of the right type for each attribute,
// and no other fields.
func (s shape) checkEvents() error { return s.check(sends, "events", true) }

// checkResults returns an error unless results of the stream fit the type. The type may omit
// attributes.
func (s shape) checkResults() error { return s.check(receives, "results", false) }

func (s shape) check(fits func(event.Type, reflect.Type) bool, what string, all bool) error {
	if s.fields == nil {
		return nil
	}
	var errs []error
	matched := 0
	for _, a := range s.schema.Attrs {
		f, ok := s.fields[a.Name]
		switch {
		case ok && !fits(a.Holds(), f.typ):
			errs = append(errs, fmt.Errorf("attribute %s is %s, and its field is %s", a.Name, a.Type, f.typ))
		case !ok && all:
			errs = append(errs, fmt.Errorf("attribute %s has no field: add one with the tag `json:%q`", a.Name, a.Name))
		}
		if ok {
			matched++
		}
	}
	if matched < len(s.fields) {
		for name := range s.fields {
			if s.schema.Index(name) < 0 {
				errs = append(errs, fmt.Errorf("field %s is no attribute: leave it out with the tag `json:\"-\"`", name))
			}
		}
	}
	if errs != nil {
		return fmt.Errorf("%s of %s do not fit the Go type: %w", what, s.schema, errors.Join(errs...))
	}
	return nil
}

// sends reports whether values of the Go type can be sent as an attribute of type a.
func sends(a event.Type, t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if a == event.Object || t.Kind() == reflect.Interface || implements(t, marshaler) {
		return true
	}
	if implements(t, textMarshaler) {
		return a == event.String
	}
	switch a {
	case event.String:
		return t.Kind() == reflect.String
	case event.Bool:
		return t.Kind() == reflect.Bool
	case event.Int, event.Long:
		return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uintptr
	default:
		return t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64
	}
}

// receives reports whether every value of an attribute of type a fits the Go type.
func receives(a event.Type, t reflect.Type) bool {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if a == event.Object || t.Kind() == reflect.Interface || implements(t, unmarshaler) {
		return true
	}
	if implements(t, textUnmarshaler) {
		return a == event.String
	}
	switch k := t.Kind(); a {
	case event.String:
		return k == reflect.String
	case event.Bool:
		return k == reflect.Bool
	case event.Int:
		return k == reflect.Int || k == reflect.Int32 || k == reflect.Int64 || k == reflect.Float64
	case event.Long:
		return k == reflect.Int64 || k == reflect.Int
	case event.Float:
		return k == reflect.Float32 || k == reflect.Float64
	default:
		return k == reflect.Float64
	}
}

// decode decodes a result into v, a pointer to the row. NaN and the infinities, which JSON
// lacks, arrive as strings.
func (s shape) decode(data []byte, v any) error {
	err := json.Unmarshal(data, v)
	var wrong *json.UnmarshalTypeError
	if err == nil || s.fields == nil || !errors.As(err, &wrong) {
		return err
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal(data, &raw) != nil {
		return err
	}
	special := map[string]float64{}
	for _, a := range s.schema.Attrs {
		if x, ok := notFinite[string(raw[a.Name])]; ok && (a.Holds() == event.Double || a.Holds() == event.Float) {
			special[a.Name] = x
			delete(raw, a.Name)
		}
	}
	if len(special) == 0 {
		return err
	}
	rest, err := json.Marshal(raw)
	if err == nil {
		err = json.Unmarshal(rest, v)
	}
	if err != nil {
		return err
	}
	for name, x := range special {
		if f, ok := s.fields[name]; ok {
			setFloat(reflect.ValueOf(v).Elem(), f.index, x)
		}
	}
	return nil
}

// notFinite maps the strings for numbers that JSON lacks.
var notFinite = map[string]float64{`"NaN"`: math.NaN(), `"Infinity"`: math.Inf(1), `"-Infinity"`: math.Inf(-1)}

// setFloat sets a field that checkResults accepted for a double or a float.
func setFloat(row reflect.Value, index []int, x float64) {
	for row.Kind() == reflect.Pointer {
		if row.IsNil() {
			row.Set(reflect.New(row.Type().Elem()))
		}
		row = row.Elem()
	}
	v := row.FieldByIndex(index)
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if v.Kind() == reflect.Interface {
		v.Set(reflect.ValueOf(x))
		return
	}
	v.SetFloat(x)
}
