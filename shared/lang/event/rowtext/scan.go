package rowtext

import (
	"bytes"
	"unsafe"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// scan appends the records of a payload from a position on, as encoding/csv reads them. It stops
// before a record that it leaves to encoding/csv: one with a quote inside a field, or a line break
// in quotes, or one that is malformed. done is false if it has stopped there, at rest.
func (d *Decoder) scan(b *event.Batch, payload []byte, start int, ts int64) (rest int, done bool) {
	for start < len(payload) {
		line, end := payload[start:], len(payload)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, end = line[:i], start+i+1
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) > 0 {
			if !d.split(line) {
				return start, false
			}
			if !d.take(b, payload, d.fields, start, end, ts) {
				return 0, true
			}
		}
		start = end
		d.lines++
	}
	return 0, true
}

// split splits a line into its fields; false if it has quotes other than around a field.
func (d *Decoder) split(line []byte) bool {
	d.fields = d.fields[:0]
	quoted := bytes.IndexByte(line, '"') >= 0
	for {
		field, more := line, false
		switch {
		case quoted && len(line) > 0 && line[0] == '"':
			end := bytes.IndexByte(line[1:], '"') + 1
			if end == 0 {
				return false
			}
			field, line = line[1:end], line[end+1:]
			if more = bytes.HasPrefix(line, d.comma); more {
				line = line[len(d.comma):]
			} else if len(line) > 0 {
				return false
			}
		default:
			if i := d.delimiter(line); i >= 0 {
				field, line, more = line[:i], line[i+len(d.comma):], true
			}
			if quoted && bytes.IndexByte(field, '"') >= 0 {
				return false
			}
		}
		d.fields = append(d.fields, unsafe.String(unsafe.SliceData(field), len(field)))
		if !more {
			return true
		}
	}
}

// delimiter returns where the next delimiter is, or -1.
func (d *Decoder) delimiter(line []byte) int {
	if len(d.comma) == 1 {
		return bytes.IndexByte(line, d.comma[0])
	}
	return bytes.Index(line, d.comma)
}
