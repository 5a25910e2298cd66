package event

import (
	"fmt"
	"strings"
)

// Type is the type of an attribute. The zero value is invalid, so that a zero-filled record
// never decodes to a valid schema. The numbers are durable: WAL frames and state files hold
// them.
type Type uint8

// The types of the language (int is 32-bit, long 64-bit, float IEEE 32, double
// IEEE 64). Object is an opaque JSON value.
const (
	Bool   Type = 1
	Int    Type = 2
	Long   Type = 3
	Float  Type = 4
	Double Type = 5
	String Type = 6
	Object Type = 7
)

var typeNames = [...]string{Bool: "bool", Int: "int", Long: "long", Float: "float", Double: "double", String: "string", Object: "object"}

// Types lists all types in the order of their numbers.
func Types() []Type { return []Type{Bool, Int, Long, Float, Double, String, Object} }

// String returns the name of the type as the language writes it.
func (t Type) String() string {
	if t.Valid() {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Valid reports whether t is one of the types above.
func (t Type) Valid() bool { return t >= Bool && t <= Object }

// Numeric reports whether arithmetic is defined on t.
func (t Type) Numeric() bool { return t >= Int && t <= Double }

// ParseType returns the type called name. Like the language's keywords, the name may be in
// upper or lower case.
func ParseType(name string) (Type, bool) {
	for _, t := range Types() {
		if strings.EqualFold(typeNames[t], name) {
			return t, true
		}
	}
	return 0, false
}

// Class says which of a column's slices holds the values of a type.
type Class uint8

// The classes of columns: Bool (as 0 and 1), Int and Long in Ints; Float and
// Double in Floats; String and Object in text.
const (
	Integers Class = iota
	Reals
	Texts
)

// Class returns the class of t's values.
func (t Type) Class() Class {
	switch t {
	case Float, Double:
		return Reals
	case String, Object:
		return Texts
	default:
		return Integers
	}
}
