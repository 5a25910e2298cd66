package event

import "testing"

func TestTypesAreReadByNameInAnyCase(t *testing.T) {
	for _, want := range Types() {
		if got, ok := ParseType(want.String()); !ok || got != want {
			t.Errorf("ParseType(%q) = %v, %v", want, got, ok)
		}
	}
	if got, ok := ParseType("DOUBLE"); !ok || got != Double {
		t.Errorf("ParseType(DOUBLE) = %v, %v", got, ok)
	}
	for _, name := range []string{"", "integer", "type(0)", "str"} {
		if got, ok := ParseType(name); ok {
			t.Errorf("ParseType(%q) = %v, want none", name, got)
		}
	}
}

// The numbers are in WAL frames and state files.
func TestNumbersOfTypesNeverChange(t *testing.T) {
	for i, want := range []string{"type(0)", "bool", "int", "long", "float", "double", "string", "object", "type(8)"} {
		if got := Type(i).String(); got != want {
			t.Errorf("type %d is %s, want %s", i, got, want)
		}
		if got := Type(i).Valid(); got != (i >= 1 && i <= 7) {
			t.Errorf("type %d: valid %v", i, got)
		}
	}
}

func TestColumnsAreMadeForTheTypeThatIsHeld(t *testing.T) {
	s := &Schema{Name: "S", Attrs: []Attr{{Name: "a", Type: String, Held: Int}, {Name: "b", Type: Float}}}
	b := NewBatch(s)
	if b.Cols[0].Type != Int || b.Cols[1].Type != Float {
		t.Errorf("columns of type %s and %s", b.Cols[0].Type, b.Cols[1].Type)
	}
	if got := s.String(); got != "S(a string, b float)" {
		t.Errorf("schema reads %q", got)
	}
	if s.Index("b") != 1 || s.Index("B") != -1 {
		t.Errorf("Index(b) = %d, Index(B) = %d", s.Index("b"), s.Index("B"))
	}
	if o := (&Schema{Name: "T", Attrs: s.Attrs}); !s.Same(o) {
		t.Error("the name of a stream must not matter to Same")
	}
	if o := (&Schema{Name: "S", Attrs: s.Attrs[:1]}); s.Same(o) {
		t.Error("a shorter schema is the same")
	}
}
