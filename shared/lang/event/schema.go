package event

import (
	"slices"
	"strings"
)

// Attr is one attribute of a stream.
type Attr struct {
	Name string
	Type Type
	// Held is the type that the values really have, if cast() gave the attribute another
	// type's name; zero if both are the same.
	Held Type
}

// Holds returns the type that the values of the attribute really have. Columns have that
// type.
func (a Attr) Holds() Type {
	if a.Held != 0 {
		return a.Held
	}
	return a.Type
}

// Schema is the shape of a stream: its name and its attributes in order. A
// schema never changes once batches refer to it.
type Schema struct {
	Name  string
	Attrs []Attr
}

// Index returns the position of the attribute called name, or -1.
func (s *Schema) Index(name string) int {
	return slices.IndexFunc(s.Attrs, func(a Attr) bool { return a.Name == name })
}

// Same reports whether both schemas have the same attributes in the same order, whatever
// the names of the streams.
func (s *Schema) Same(o *Schema) bool { return slices.Equal(s.Attrs, o.Attrs) }

// String returns the schema as its definition reads: "S(a int, b string)".
func (s *Schema) String() string {
	var b strings.Builder
	b.WriteString(s.Name)
	b.WriteByte('(')
	for i, a := range s.Attrs {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(a.Name)
		b.WriteByte(' ')
		b.WriteString(a.Type.String())
	}
	b.WriteByte(')')
	return b.String()
}
