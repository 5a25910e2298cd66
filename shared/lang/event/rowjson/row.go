package rowjson

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// objectRow appends the values of raw, valid JSON, to the columns of b. When it
// fails, columns may be left longer than others.
func (d *Decoder) objectRow(b *event.Batch, raw []byte) *RowError {
	if raw[0] != '{' {
		return &RowError{Problem: NotARow, Expected: "an object with the attributes of " + d.schema.String(), Found: found(raw)}
	}
	if err := d.checkText(raw); err != nil {
		return err
	}
	clear(d.isSet)
	d.given, d.others = d.given[:0], false
	d.json.ResetBytes(raw)
	it, err := d.json.ObjIter()
	if err != nil {
		return malformed(reason(err))
	}
	other := d.other[:0] // the first member that is no attribute
	for it.Next() {
		i, ok := d.index[string(it.Key())]
		var err *RowError
		switch {
		case ok:
			err = d.give(b, i)
		case d.mapping.Strict:
			err = d.unknown(it.Key())
		default:
			d.others = true
			if len(other) == 0 {
				other = append(other, it.Key()...)
			}
			err = d.pass()
		}
		if err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return malformed(reason(err))
	}
	if len(d.given) == len(d.schema.Attrs) {
		copy(d.order, d.given)
	}
	d.other = other
	if err := d.complete(b); err != nil {
		if len(other) > 0 {
			if slip := d.unknown(other); slip.Expected == err.Attr {
				return slip
			}
		}
		return err
	}
	if d.others {
		d.ignored++
	}
	return nil
}

// valuesRow is objectRow for an array of values.
func (d *Decoder) valuesRow(b *event.Batch, raw []byte) *RowError {
	if err := d.checkText(raw); err != nil {
		return err
	}
	d.json.ResetBytes(raw)
	it, err := d.json.ArrIter()
	if err != nil {
		return malformed(reason(err))
	}
	n := 0
	for ; it.Next(); n++ {
		if n == len(d.schema.Attrs) {
			return d.wrongCount("more")
		}
		if err := d.field(b, n); err != nil {
			return err
		}
	}
	if err := it.Err(); err != nil {
		return malformed(reason(err))
	}
	if n < len(d.schema.Attrs) {
		return d.wrongCount(fmt.Sprint(n))
	}
	return nil
}

// checkText refuses what the library lets pass.
func (d *Decoder) checkText(raw []byte) *RowError {
	if !d.sound && !utf8.Valid(raw) {
		return &RowError{Problem: BadUnicode, Expected: "UTF-8", Found: "invalid bytes in " + clip(raw)}
	}
	if escape := loneSurrogate(raw); escape != nil {
		return &RowError{Problem: BadUnicode, Expected: "surrogates in pairs", Found: "a single " + string(escape)}
	}
	return nil
}

// complete makes missing attributes null, or refuses the row.
func (d *Decoder) complete(b *event.Batch) *RowError {
	if len(d.given) == len(d.schema.Attrs) {
		return nil
	}
	for i, a := range d.schema.Attrs {
		switch {
		case d.isSet[i]:
		case d.mapping.Optional:
			b.Cols[i].AppendNull()
		default:
			missing := &RowError{Problem: Missing, Attr: a.Name, Expected: a.Holds().String()}
			if d.paths != nil {
				missing.Attr = a.Name + " (" + d.mapping.Attrs[i].String() + ")"
			}
			return missing
		}
	}
	return nil
}

// field appends the value that the library is at to column i.
func (d *Decoder) field(b *event.Batch, i int) *RowError {
	c := &b.Cols[i]
	kind := d.json.Next()
	switch {
	case kind == jx.Null:
		if err := d.json.Null(); err != nil {
			return malformed(reason(err))
		}
		c.AppendNull()
		return nil
	case kind == jx.String && c.Type == event.String:
		text, err := d.json.StrAppend(d.text[:0])
		if err != nil {
			return malformed(reason(err))
		}
		d.text = text
		c.AppendText(view(text))
		scribble.Bytes(text)
		return nil
	}
	raw, err := d.json.Raw()
	if err != nil {
		return malformed(reason(err))
	}
	if problem := appendValue(c, kind, raw); problem != "" {
		return &RowError{Problem: problem, Attr: d.schema.Attrs[i].Name, Expected: expected(c.Type, problem), Found: found(raw)}
	}
	return nil
}

// appendValue appends raw, a value other than null or a string for a string.
func appendValue(c *event.Column, kind jx.Type, raw []byte) Problem {
	switch {
	case c.Type == event.Object:
		c.Bytes = appendCompact(c.Bytes, raw)
		c.Ends = append(c.Ends, uint32(len(c.Bytes)))
	case c.Type == event.Bool && kind == jx.Bool:
		c.AppendBool(raw[0] == 't')
	case c.Type.Numeric() && kind == jx.Number && c.Type.Class() == event.Integers:
		v, problem := integer(raw, c.Type)
		if problem != "" {
			return problem
		}
		c.AppendInt(v)
	case c.Type.Numeric() && kind == jx.Number:
		v, problem := real(raw, c.Type)
		if problem != "" {
			return problem
		}
		c.AppendFloat(v)
	default:
		return WrongType
	}
	return ""
}

// expected names the type, and its limits where they are the problem.
func expected(t event.Type, problem Problem) string {
	if problem != OutOfRange {
		return t.String()
	}
	switch t {
	case event.Int:
		return fmt.Sprintf("int (%d to %d)", math.MinInt32, math.MaxInt32)
	case event.Long:
		return fmt.Sprintf("long (%d to %d)", math.MinInt64, math.MaxInt64)
	case event.Float:
		return fmt.Sprintf("float (at most %g)", math.MaxFloat32)
	default:
		return fmt.Sprintf("%s (at most %g)", t, math.MaxFloat64)
	}
}

func (d *Decoder) wrongCount(given string) *RowError {
	return &RowError{
		Problem:  WrongCount,
		Expected: fmt.Sprintf("%d values for %s", len(d.schema.Attrs), d.schema),
		Found:    given,
	}
}

// unknown names the attribute that may have been meant, if one is near.
func (d *Decoder) unknown(key []byte) *RowError {
	e := &RowError{Problem: Unknown, Attr: clip(bytes.Clone(key))}
	nearest := foundCharsMax
	for _, a := range d.schema.Attrs {
		distance := levenshtein.ComputeDistance(strings.ToLower(e.Attr), strings.ToLower(a.Name))
		if distance < nearest && 2*distance <= max(len(e.Attr), len(a.Name)) {
			nearest, e.Expected = distance, a.Name
		}
	}
	return e
}
