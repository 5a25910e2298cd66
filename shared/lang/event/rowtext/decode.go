package rowtext

import (
	"bufio"
	"bytes"
	"regexp"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Decoder reads rows of one schema. It keeps its memory from call to call, and is not safe
// for concurrent use.
type Decoder struct {
	schema  *event.Schema
	mapping Mapping
	check   func(b *event.Batch) *rowjson.RowError // checks the last row of b; nil: every row is accepted
	ignored uint64                                 // rows with columns that are no attributes

	// Of CSV:
	source  bytes.Reader
	buffer  *bufio.Reader
	columns []int // of each attribute; -1: the header does not have it
	others  bool  // the header has columns that are no attributes
	comma   []byte
	fields  []string // of the current record; they share the memory of the payload
	headed  bool     // the header of the current message is read, or it has none
	lines   int      // that scan has read of the current message

	// Of text:
	regexes []*regexp.Regexp
	matches [][]int // of each regular expression in the current message

	// Of the current message:
	rows     int // read so far
	refusals []rowjson.Refused
}

// New returns a decoder of rows of s. Regular expressions that are wrong make it panic:
// the deploy has checked them.
func New(s *event.Schema, m *Mapping) *Decoder {
	d := &Decoder{schema: s, mapping: *m}
	if m.CSV != nil {
		d.buffer = bufio.NewReader(&d.source)
		d.comma = utf8.AppendRune(nil, m.CSV.Delimiter)
		d.columns = m.CSV.Columns
		if d.columns == nil {
			d.columns = make([]int, len(s.Attrs))
			for i := range d.columns {
				d.columns[i] = i
			}
		}
		return d
	}
	for _, r := range m.Text.Regexes {
		d.regexes = append(d.regexes, regexp.MustCompile(r.Expr))
	}
	d.matches = make([][]int, len(d.regexes))
	return d
}

// Ignored returns how many rows had columns, named by a header, that are not attributes.
func (d *Decoder) Ignored() uint64 { return d.ignored }

// Check sets a function that checks every further row once it is read. It may change the
// row's timestamp, the last of the batch. If it returns an error, the row is refused.
func (d *Decoder) Check(check func(b *event.Batch) *rowjson.RowError) { d.check = check }

// Rows appends the rows of payload to b, a batch of the decoder's schema, each with
// timestamp ts (ms). Refused rows leave nothing in b. The payload is not kept.
func (d *Decoder) Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []rowjson.Refused) {
	d.rows, d.refusals = 0, nil
	before := b.Len()
	if d.mapping.CSV != nil {
		d.records(b, payload, ts)
	} else if err := d.finish(b, d.text(b, payload), ts); err != nil {
		d.refuse(0, len(payload), err)
	}
	refused, d.refusals = d.refusals, nil
	return b.Len() - before, refused
}

// finish ends a row whose values are in b, unless err says that they are wrong.
func (d *Decoder) finish(b *event.Batch, err *rowjson.RowError, ts int64) error {
	before := b.Len()
	if err == nil {
		b.TS = append(b.TS, ts)
		if d.check != nil {
			err = d.check(b)
		}
	}
	if err == nil {
		return nil
	}
	b.Truncate(before)
	return err
}

// refuse records that the row between two positions of the payload is refused.
func (d *Decoder) refuse(start, end int, err error) {
	d.refusals = append(d.refusals, rowjson.Refused{Index: d.rows, Start: start, End: end, Err: err})
	d.rows++
}

// value appends the value that text stands for to attribute i.
func (d *Decoder) value(b *event.Batch, i int, text string) *rowjson.RowError {
	c := &b.Cols[i]
	switch {
	case text == "":
		c.AppendNull()
	case c.Type != event.String:
		return rowjson.Scalar(c, text)
	case !utf8.ValidString(text):
		return &rowjson.RowError{Problem: rowjson.BadUnicode, Expected: "UTF-8", Found: "invalid bytes in " + rowjson.Quoted(text)}
	default:
		c.AppendText(text)
	}
	return nil
}
