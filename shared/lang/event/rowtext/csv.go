package rowtext

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

var byteOrderMark = []byte("\ufeff")

// records appends the records of a message. Records that the fast scanner does not read, such as
// those with escaped quotes, and all after them, go to encoding/csv.
func (d *Decoder) records(b *event.Batch, payload []byte, ts int64) {
	start := 0
	if bytes.HasPrefix(payload, byteOrderMark) {
		start = len(byteOrderMark)
	}
	d.others, d.headed, d.lines = false, !d.mapping.CSV.Header, 0
	if rest, done := d.scan(b, payload, start, ts); !done {
		d.read(b, payload, rest, ts)
	}
	if d.rows == 0 {
		d.refuse(0, len(payload), d.empty())
	}
}

// read appends the records from a position of the payload on, by encoding/csv.
func (d *Decoder) read(b *event.Batch, payload []byte, skipped int, ts int64) {
	d.source.Reset(payload[skipped:])
	defer d.source.Reset(nil)
	d.buffer.Reset(&d.source)
	r := csv.NewReader(d.buffer)
	r.Comma, r.FieldsPerRecord, r.ReuseRecord = d.mapping.CSV.Delimiter, -1, true
	for {
		start := skipped + int(r.InputOffset())
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			d.refuse(start, len(payload), d.malformed(err))
			return
		}
		if !d.take(b, payload, fields, start, skipped+int(r.InputOffset()), ts) {
			return
		}
	}
}

// take appends a record, which stands between two positions of the payload, or reads the header.
// It returns false if the rest of the message is refused.
func (d *Decoder) take(b *event.Batch, payload []byte, fields []string, start, end int, ts int64) bool {
	if !d.headed {
		d.headed = true
		if err := d.header(fields); err != nil {
			d.refuse(0, len(payload), fmt.Errorf("header: %w", err))
			return false
		}
		return true
	}
	if len(d.refusals) == rowjson.RefusedMax {
		d.refuse(start, len(payload), &rowjson.RowError{Problem: rowjson.TooMany})
		return false
	}
	if wrong := d.finish(b, d.record(b, fields), ts); wrong != nil {
		start, end := trim(payload, start, end)
		d.refuse(start, end, fmt.Errorf("record %d: %w", d.rows+1, wrong))
		return true
	}
	d.rows++
	if d.others {
		d.ignored++
	}
	return true
}

func (d *Decoder) empty() *rowjson.RowError {
	e := &rowjson.RowError{Problem: rowjson.Empty, Expected: "CSV records"}
	if d.mapping.CSV.Header {
		e.Expected += " after a header"
	}
	return e
}

// malformed describes an error of the library.
func (d *Decoder) malformed(err error) error {
	var at *csv.ParseError
	if errors.As(err, &at) {
		err = fmt.Errorf("line %d, byte %d: a quote is missing or out of place; write a field that contains quotes in quotes, and its quotes twice", d.lines+at.Line, at.Column)
	}
	return fmt.Errorf("record %d is not CSV, and the rest of the message was not read: %w", d.rows+1, err)
}

// header finds the columns of the attributes.
func (d *Decoder) header(names []string) *rowjson.RowError {
	if d.mapping.CSV.Columns != nil {
		return nil
	}
	for i, a := range d.schema.Attrs {
		d.columns[i] = slices.Index(names, a.Name)
		switch c := d.columns[i]; {
		case c < 0 && !d.mapping.Optional:
			return &rowjson.RowError{
				Problem: rowjson.Missing, Attr: a.Name,
				Expected: "a column of this name", Found: rowjson.Quoted(strings.Join(names, ", ")),
			}
		case c >= 0 && slices.Contains(names[c+1:], a.Name):
			return &rowjson.RowError{Problem: rowjson.Duplicate, Attr: a.Name}
		}
	}
	d.others = slices.ContainsFunc(names, func(name string) bool { return d.schema.Index(name) < 0 })
	return nil
}

// record appends the values of a record. When it fails, columns may be left longer than
// others.
func (d *Decoder) record(b *event.Batch, fields []string) *rowjson.RowError {
	f, n := d.mapping.CSV, len(d.schema.Attrs)
	inOrder := f.Columns == nil && !f.Header
	if inOrder && (len(fields) > n || len(fields) < n && !d.mapping.Optional) {
		return &rowjson.RowError{
			Problem:  rowjson.WrongCount,
			Expected: fmt.Sprintf("%d columns separated by %q for %s", n, f.Delimiter, d.schema), Found: fmt.Sprint(len(fields)),
		}
	}
	for i, column := range d.columns {
		var err *rowjson.RowError
		switch {
		case column >= 0 && column < len(fields):
			err = d.value(b, i, fields[column])
		case d.mapping.Optional:
			b.Cols[i].AppendNull()
		default:
			err = &rowjson.RowError{
				Problem:  rowjson.Missing,
				Expected: b.Cols[i].Type.String(), Found: fmt.Sprintf("a record whose last column is %d", len(fields)-1),
			}
		}
		if err != nil {
			err.Attr = fmt.Sprintf("column %d (%s)", column, d.schema.Attrs[i].Name)
			return err
		}
	}
	return nil
}

// trim returns the bounds of a record without the line breaks around it.
func trim(payload []byte, start, end int) (from, to int) {
	text := bytes.TrimLeft(payload[start:end], "\r\n")
	start = end - len(text)
	return start, start + len(bytes.TrimRight(text, "\r\n"))
}
