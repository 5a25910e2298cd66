package rowjson

import (
	"bytes"
	"errors"
	"unicode/utf8"

	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/shared/lang/event"
)

const depthMax = 64 // levels of brackets in a row, its own included

// RefusedMax is how many rows of one message are refused one by one, so that a small message
// cannot ask for much memory. The rest is then refused as a whole.
const RefusedMax = 10_000

// Decoder reads rows of one schema. It keeps its memory from call to call, and is
// not safe for concurrent use.
type Decoder struct {
	schema *event.Schema
	index  map[string]int
	keys   []string // `"name":` of each attribute
	order  []int    // of the attributes in the last row that the library read
	json   *jx.Decoder

	mapping Mapping
	paths   *place // of the attributes; nil: each is the member of its name
	names   *place // the same for members of their names; nil: too many to search one by one
	slow    bool   // the library reads every row: tests compare both
	ignored uint64 // rows with members that are no attributes

	check func(b *event.Batch) *RowError // checks the last row of b; nil: every row is accepted

	// Of the current message:
	src      []byte
	sound    bool // src is valid UTF-8
	rows     int  // read so far
	refusals []Refused

	// Of the current row:
	given []int  // attributes, in order of arrival
	other []byte // a member that is no attribute
	isSet []bool
	text  []byte
	// others says that fastWalk has found members that are no attributes.
	others bool
}

// namesMax is how many names of attributes are searched one by one.
const namesMax = 32

// NewDecoder returns a decoder of rows of s whose members have the names of the attributes. Other
// members are refused.
func NewDecoder(s *event.Schema) *Decoder { return NewMapped(s, Mapping{Strict: true}) }

// NewMapped returns a decoder of rows of s that are mapped.
func NewMapped(s *event.Schema, m Mapping) *Decoder {
	d := &Decoder{
		schema:  s,
		mapping: m,
		index:   make(map[string]int, len(s.Attrs)),
		json:    jx.DecodeBytes(nil),
		isSet:   make([]bool, len(s.Attrs)),
	}
	for i, a := range s.Attrs {
		d.index[a.Name] = i
		d.keys = append(d.keys, string(appendKey(nil, a.Name)))
		d.order = append(d.order, i)
	}
	if len(s.Attrs) <= namesMax {
		d.names = &place{}
		for i, a := range s.Attrs {
			d.names.add(Path{{Member: a.Name}}, i)
		}
	}
	if m.Attrs != nil {
		d.paths = &place{}
		for i, p := range m.Attrs {
			d.paths.add(p, i)
		}
	}
	return d
}

// Ignored returns how many rows had members that are not attributes. With Mapping.Attrs,
// they are not counted.
func (d *Decoder) Ignored() uint64 { return d.ignored }

// Check sets a function that checks every further row once it is read. It may change the
// row's timestamp, the last of the batch. If it returns an error, the row is refused.
func (d *Decoder) Check(check func(b *event.Batch) *RowError) { d.check = check }

// accept ends a row whose values are in b.
func (d *Decoder) accept(b *event.Batch, ts int64) *RowError {
	b.TS = append(b.TS, ts)
	if d.check == nil {
		return nil
	}
	err := d.check(b)
	if err != nil {
		b.Truncate(len(b.TS) - 1)
	}
	return err
}

// Rows appends the rows of payload to b, a batch of the decoder's schema, each with
// timestamp ts (ms). Refused rows leave nothing in b. The payload is not kept.
func (d *Decoder) Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []Refused) {
	d.src, d.sound, d.rows = payload, utf8.Valid(payload), 0
	before := b.Len()
	p, end, found := skipSpace(payload, 0), len(payload), true
	if len(d.mapping.Rows) > 0 && p < end {
		p, end, found = d.enclosed()
		d.src = payload[:end]
	}
	switch {
	case !found:
	case p == end:
		d.refuse(0, p, emptyMessage())
	case payload[p] == '[':
		d.array(b, p+1, ts)
	default:
		d.sequence(b, p, ts)
	}
	refused = d.refusals
	d.src, d.refusals = nil, nil
	return b.Len() - before, refused
}

// Values appends one row with timestamp ts (ms), given as an array of its values
// in the order of the schema, or as an object. The error is a *RowError, and then
// b is as it was.
func (d *Decoder) Values(b *event.Batch, data []byte, ts int64) error {
	d.src, d.sound = data, utf8.Valid(data)
	defer func() { d.src = nil }()
	p := skipSpace(data, 0)
	if p == len(data) {
		return emptyMessage()
	}
	end, err := d.row(b, p, ts, data[p] == '[')
	if err != nil {
		return err
	}
	if p = skipSpace(data, end); p < len(data) {
		b.Truncate(b.Len() - 1)
		return malformed("text after the row: " + clip(data[p:]))
	}
	return nil
}

// array reads the elements of an array from p on, after its bracket.
func (d *Decoder) array(b *event.Batch, p int, ts int64) {
	src := d.src
	p = skipSpace(src, p)
	if p < len(src) && src[p] == ']' {
		d.refuse(0, p+1, emptyMessage())
		d.nothingAfter(p + 1)
		return
	}
	for {
		end, err := d.row(b, p, ts, false)
		lost := err != nil && err.givesUp()
		if lost {
			end = len(src)
		}
		if !d.count(p, end, err) || lost {
			return
		}
		p = skipSpace(src, end)
		switch {
		case p < len(src) && src[p] == ',':
			p = skipSpace(src, p+1)
		case p < len(src) && src[p] == ']':
			d.nothingAfter(p + 1)
			return
		default:
			d.refuse(p, len(src), malformed(`expected "," or "]" after the row, found `+rest(src[p:])))
			return
		}
	}
}

// nothingAfter refuses text after an array.
func (d *Decoder) nothingAfter(p int) {
	if p = skipSpace(d.src, p); p < len(d.src) {
		d.refuse(p, len(d.src), malformed("text after the array: "+clip(d.src[p:])))
	}
}

// sequence reads one row after another.
func (d *Decoder) sequence(b *event.Batch, p int, ts int64) {
	for p < len(d.src) {
		end, err := d.row(b, p, ts, false)
		if err != nil && err.givesUp() {
			end = nextLine(d.src, p)
		}
		if !d.count(p, end, err) {
			return
		}
		p = skipSpace(d.src, end)
	}
}

// count records the row between start and end, which is refused if err is set, and reports
// whether to read on.
func (d *Decoder) count(start, end int, err *RowError) bool {
	switch {
	case err == nil:
		d.rows++
	case len(d.refusals) == RefusedMax:
		d.refuse(start, len(d.src), &RowError{Problem: TooMany})
		return false
	default:
		d.refuse(start, end, err)
	}
	return true
}

func (d *Decoder) refuse(start, end int, err *RowError) {
	d.refusals = append(d.refusals, Refused{Index: d.rows, Start: start, End: end, Err: err})
	d.rows++
}

// row appends the row that starts at p and returns where it ends. After an error that gives
// up, the end is unknown.
func (d *Decoder) row(b *event.Batch, p int, ts int64, isArray bool) (int, *RowError) {
	if p == len(d.src) {
		return 0, malformed("expected a row, found the end of the message")
	}
	before := b.Len()
	if d.sound && !d.slow {
		if end, ok := d.fast(b, p, isArray); ok {
			return end, d.accept(b, ts)
		}
		b.Truncate(before)
	}
	raw, err := d.value(p)
	if err != nil {
		return 0, err
	}
	switch {
	case isArray:
		err = d.valuesRow(b, raw)
	case d.paths != nil:
		err = d.mappedRow(b, raw)
	default:
		err = d.objectRow(b, raw)
	}
	if err != nil {
		b.Truncate(before)
		return p + len(raw), err
	}
	return p + len(raw), d.accept(b, ts)
}

// fast appends the row at p if it has a common shape, as fastRow says.
func (d *Decoder) fast(b *event.Batch, p int, isArray bool) (end int, ok bool) {
	before := b.Len()
	switch {
	case d.paths == nil:
		if end, ok = d.fastRow(b, p, isArray); ok || isArray || d.mapping.Strict || d.names == nil {
			return end, ok
		}
		b.Truncate(before)
		if end, ok = d.fastWalk(b, d.names, p); !ok {
			return 0, false
		}
		if len(d.given) == len(d.schema.Attrs) {
			copy(d.order, d.given)
		}
		if d.others {
			d.ignored++
		}
		return end, true
	case isArray:
		return 0, false
	}
	return d.fastWalk(b, d.paths, p)
}

// value returns the text of the JSON value at p, a position without white space.
func (d *Decoder) value(p int) ([]byte, *RowError) {
	if tooDeep(d.src[p:]) {
		return nil, &RowError{Problem: TooDeep, Expected: "at most 64 levels of nesting", Found: "more"}
	}
	d.json.ResetBytes(d.src[p:])
	raw, err := d.json.Raw()
	if err != nil {
		return nil, malformed(reason(err))
	}
	return raw, nil
}

// reason returns the innermost text of the library's error.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

func rest(src []byte) string {
	if len(src) == 0 {
		return "the end of the message"
	}
	return clip(bytes.TrimSpace(src))
}

func malformed(why string) *RowError { return &RowError{Problem: Malformed, Found: why} }

func emptyMessage() *RowError {
	return &RowError{Problem: Empty, Expected: "a JSON object, an array of objects, or NDJSON"}
}
