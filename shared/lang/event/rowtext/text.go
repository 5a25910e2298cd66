package rowtext

import (
	"unicode/utf8"
	"unsafe"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// text appends the values of a text. When it fails, columns may be left longer than others.
func (d *Decoder) text(b *event.Batch, payload []byte) *rowjson.RowError {
	if len(payload) == 0 {
		return &rowjson.RowError{Problem: rowjson.Empty, Expected: "a text"}
	}
	text := unsafe.String(unsafe.SliceData(payload), len(payload)) // values are copies
	if !utf8.Valid(payload) {
		return &rowjson.RowError{Problem: rowjson.BadUnicode, Expected: "UTF-8", Found: "invalid bytes in " + rowjson.Quoted(text)}
	}
	if d.mapping.Text.Groups == nil {
		return d.value(b, 0, text)
	}
	for i, r := range d.regexes {
		d.matches[i] = r.FindSubmatchIndex(payload)
	}
	for i, g := range d.mapping.Text.Groups {
		var err *rowjson.RowError
		switch match := d.matches[g.Regex]; {
		case match != nil && match[2*g.Number] >= 0:
			err = d.value(b, i, text[match[2*g.Number]:match[2*g.Number+1]])
		case d.mapping.Optional:
			b.Cols[i].AppendNull()
		default:
			err = &rowjson.RowError{
				Problem:  rowjson.Missing,
				Expected: "a match of regex." + d.mapping.Text.Regexes[g.Regex].Name, Found: rowjson.Quoted(text),
			}
		}
		if err != nil {
			err.Attr = d.schema.Attrs[i].Name
			return err
		}
	}
	return nil
}
