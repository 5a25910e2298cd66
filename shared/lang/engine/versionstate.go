package engine

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// versionSource is the state of the version in force: one entry, or none before the first
// deploy frame, as in all checkpoints of major version 0. Each form that a stream had in an
// earlier version has one more entry, by its number: events of that form may still come.
type versionSource struct {
	fieldsSource
	t *Task

	shown  *int // forms as of the last Changed
	loaded *[]pastForm
}

type pastForm struct {
	number uint32
	schema *event.Schema
}

// keyForm is the first byte of the key of a form.
const keyForm = 's'

func newVersionSource(t *Task) versionSource {
	return versionSource{fieldsSource{"version", func(f *window.Fields) {
		f.Uint(&t.version.number)
		f.Uint(&t.version.level)
		f.Require(t.version.number > 0 && t.version.level > 0, "version %d at level %d", t.version.number, t.version.level)
		f.Int(&t.version.stamp)
	}}, t, new(int), new([]pastForm)}
}

func formKey(n int) []byte { return binary.BigEndian.AppendUint32([]byte{keyForm}, uint32(n)) }

// Changed implements state.Source. A form never changes.
func (s versionSource) Changed(visit func(key []byte)) {
	s.visit(visit, *s.shown)
	*s.shown = len(s.t.past)
}

// Keys implements state.Source.
func (s versionSource) Keys(visit func(key []byte)) { s.visit(visit, 0) }

func (s versionSource) visit(visit func(key []byte), from int) {
	if s.t.version.number == 0 {
		return
	}
	s.fieldsSource.Keys(visit)
	for n := from; n < len(s.t.past); n++ {
		visit(formKey(n))
	}
}

// Append implements state.Source.
func (s versionSource) Append(dst, key []byte) ([]byte, bool) {
	if s.t.version.number == 0 {
		return dst, false
	}
	if len(key) != 5 || key[0] != keyForm {
		return s.fieldsSource.Append(dst, key)
	}
	n := binary.BigEndian.Uint32(key[1:])
	if uint64(n) >= uint64(len(s.t.past)) {
		return dst, false
	}
	return appendForm(dst, s.t.past[n]), true
}

// appendForm writes a schema: its name, then the types and the name of each attribute.
func appendForm(dst []byte, s *event.Schema) []byte {
	dst = append(binary.AppendUvarint(dst, uint64(len(s.Name))), s.Name...)
	for _, a := range s.Attrs {
		dst = append(dst, byte(a.Type), byte(a.Held))
		dst = append(binary.AppendUvarint(dst, uint64(len(a.Name))), a.Name...)
	}
	return dst
}

func readForm(src []byte) (*event.Schema, error) {
	s := &event.Schema{}
	var err error
	if s.Name, src, err = readFormName(src); err != nil {
		return nil, err
	}
	for len(src) > 0 {
		if len(src) < 2 || !event.Type(src[0]).Valid() || src[1] != 0 && !event.Type(src[1]).Valid() {
			return nil, fmt.Errorf("an attribute without a type")
		}
		a := event.Attr{Type: event.Type(src[0]), Held: event.Type(src[1])}
		if a.Name, src, err = readFormName(src[2:]); err != nil {
			return nil, err
		}
		if s.Index(a.Name) >= 0 {
			return nil, fmt.Errorf("attribute %q is there twice", a.Name)
		}
		s.Attrs = append(s.Attrs, a)
	}
	return s, nil
}

func readFormName(src []byte) (name string, rest []byte, err error) {
	size, n := binary.Uvarint(src)
	if n <= 0 || size == 0 || size > uint64(len(src)-n) {
		return "", nil, fmt.Errorf("a name is cut off, or empty")
	}
	return string(src[n : n+int(size)]), src[n+int(size):], nil
}

// Reset implements state.Source.
func (s versionSource) Reset() {
	s.fieldsSource.Reset()
	s.t.past, s.t.adapters = nil, nil
	*s.shown, *s.loaded = 0, nil
}

// Put implements state.Source.
func (s versionSource) Put(key, value []byte) error {
	if len(key) != 5 || key[0] != keyForm {
		return s.fieldsSource.Put(key, value)
	}
	form, err := readForm(value)
	if err != nil {
		return fmt.Errorf("form %x of a stream: %w", key[1:], err)
	}
	*s.loaded = append(*s.loaded, pastForm{binary.BigEndian.Uint32(key[1:]), form})
	return nil
}

// Ready implements state.Source.
func (s versionSource) Ready() error {
	list := *s.loaded
	slices.SortFunc(list, func(a, b pastForm) int { return cmp.Compare(a.number, b.number) })
	for n, f := range list {
		if f.number != uint32(n) || s.t.version.number == 0 || s.t.knew(f.schema) != nil {
			return fmt.Errorf("form %d of stream %s is there twice, or forms before it are missing", f.number, f.schema.Name)
		}
		s.t.past = append(s.t.past, f.schema)
	}
	*s.shown, *s.loaded = len(list), nil
	return nil
}

// Bytes implements state.Source.
func (s versionSource) Bytes() int64 { return 32 + 256*int64(len(s.t.past)) }

// Items implements state.Lister.
func (s versionSource) Items(visit func(state.Item)) bool {
	v := s.t.version
	if v.number == 0 {
		return true
	}
	visit(state.Item{Key: "version", Entry: []byte(s.name), Value: fmt.Appendf(nil, `{"number":%d,"level":%d,"deployed_ms":%d}`, v.number, v.level, v.stamp)})
	for n, p := range s.t.past {
		visit(state.Item{Key: fmt.Sprintf("form %d", n+1), Entry: formKey(n), Value: asJSON(p.String())})
	}
	return true
}

// Item implements state.Lister.
func (s versionSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(s, key) }
