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
	"github.com/eventflux/eventflux/shared/state/wire"
)

// versionSource is the state of the version in force: one entry, or none before the first
// deploy frame, as in all checkpoints of major version 0. Each form that a stream had in an
// earlier version has one more entry, by its number: events of that form may still come.
type versionSource struct {
	fieldsSource
	t *Task

	shown     *int // forms as of the last Changed
	shownKept *int // spans as of the last Changed
	loaded    *[]pastForm
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
	}}, t, new(int), new(int), new([]pastForm)}
}

func formKey(n int) []byte { return binary.BigEndian.AppendUint32([]byte{keyForm}, uint32(n)) }

// Changed implements state.Source. A form never changes.
func (s versionSource) Changed(visit func(key []byte)) {
	s.visit(visit, *s.shown)
	if len(s.t.kept) == 0 && *s.shownKept > 0 {
		visit([]byte(keyKept))
	}
	*s.shown, *s.shownKept = len(s.t.past), len(s.t.kept)
}

// Keys implements state.Source.
func (s versionSource) Keys(visit func(key []byte)) { s.visit(visit, 0) }

func (s versionSource) visit(visit func(key []byte), from int) {
	if s.t.version.number == 0 {
		return
	}
	s.fieldsSource.Keys(visit)
	if len(s.t.kept) > 0 {
		visit([]byte(keyKept))
	}
	for n := from; n < len(s.t.past); n++ {
		visit(formKey(n))
	}
}

// Append implements state.Source.
func (s versionSource) Append(dst, key []byte) ([]byte, bool) {
	if s.t.version.number == 0 {
		return dst, false
	}
	if string(key) == keyKept {
		return appendKept(dst, s.t.kept), len(s.t.kept) > 0
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
	r := wire.New(src)
	s := &event.Schema{Name: readFormName(&r)}
	for r.Len() > 0 {
		a := event.Attr{Type: event.Type(r.Byte()), Held: event.Type(r.Byte())}
		if !a.Type.Valid() || a.Held != 0 && !a.Held.Valid() {
			r.Fail("an attribute without a type")
		}
		a.Name = readFormName(&r)
		if s.Index(a.Name) >= 0 {
			r.Fail("attribute %q is there twice", a.Name)
		}
		s.Attrs = append(s.Attrs, a)
	}
	return s, r.End()
}

func readFormName(r *wire.Reader) string {
	name := string(r.Sized())
	if name == "" {
		r.Fail("a name is empty")
	}
	return name
}

// Reset implements state.Source.
func (s versionSource) Reset() {
	s.fieldsSource.Reset()
	s.t.past, s.t.adapters, s.t.kept = nil, nil, nil
	*s.shown, *s.shownKept, *s.loaded = 0, 0, nil
}

// Put implements state.Source.
func (s versionSource) Put(key, value []byte) (err error) {
	if string(key) == keyKept {
		s.t.kept, err = readKept(value)
		return err
	}
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
	if n := len(s.t.kept); n > 0 && s.t.version.number > s.t.kept[n-1].Last {
		return fmt.Errorf("versions up to %d do not come into force, and version %d is", s.t.kept[n-1].Last, s.t.version.number)
	}
	*s.shown, *s.shownKept, *s.loaded = len(list), len(s.t.kept), nil
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
	if len(s.t.kept) > 0 {
		visit(state.Item{Key: keyKept, Entry: []byte(keyKept), Value: asJSON(keptText(s.t.kept))})
	}
	for n, p := range s.t.past {
		visit(state.Item{Key: fmt.Sprintf("form %d", n+1), Entry: formKey(n), Value: asJSON(p.String())})
	}
	return true
}

// Item implements state.Lister.
func (s versionSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(s, key) }
