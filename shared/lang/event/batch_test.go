package event

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// value is a cell of the model: a plain row-wise copy of what a batch should hold.
type value struct {
	null bool
	n    int64
	f    float64
	s    string
}

type row struct {
	ts     int64
	values []value
}

func drawSchema(t *rapid.T) *Schema {
	types := rapid.SliceOfN(rapid.SampledFrom(Types()), 1, 6).Draw(t, "types")
	s := &Schema{Name: "S"}
	for i, ty := range types {
		s.Attrs = append(s.Attrs, Attr{Name: string(rune('a' + i)), Type: ty})
	}
	return s
}

func drawRow(t *rapid.T, s *Schema) row {
	r := row{ts: rapid.Int64().Draw(t, "ts")}
	for _, a := range s.Attrs {
		v := value{null: rapid.IntRange(0, 3).Draw(t, "null") == 0}
		switch {
		case v.null:
		case a.Type == Bool:
			v.n = int64(rapid.IntRange(0, 1).Draw(t, "bool"))
		case a.Type.Class() == Integers:
			v.n = rapid.Int64().Draw(t, "int")
		case a.Type.Class() == Reals:
			v.f = rapid.Float64().Draw(t, "real")
		default:
			v.s = rapid.String().Draw(t, "text")
		}
		r.values = append(r.values, v)
	}
	return r
}

func (r row) appendTo(b *Batch) {
	for i, v := range r.values {
		switch c := &b.Cols[i]; {
		case v.null:
			c.AppendNull()
		case c.Type == Bool:
			c.AppendBool(v.n != 0)
		case c.Type.Class() == Integers:
			c.AppendInt(v.n)
		case c.Type.Class() == Reals:
			c.AppendFloat(v.f)
		default:
			c.AppendText(v.s)
		}
	}
	b.TS = append(b.TS, r.ts)
}

// check compares a batch with the rows that it should hold, and with a batch that
// was filled with them alone: both must be the same in every slice.
func check(t *rapid.T, b *Batch, rows []row) {
	t.Helper()
	if b.Len() != len(rows) {
		t.Fatalf("%d rows, want %d", b.Len(), len(rows))
	}
	fresh := NewBatch(b.Schema)
	for i, r := range rows {
		r.appendTo(fresh)
		if b.TS[i] != r.ts {
			t.Fatalf("row %d: timestamp %d, want %d", i, b.TS[i], r.ts)
		}
		for n, want := range r.values {
			if got := b.Cols[n].at(i); got != want {
				t.Fatalf("row %d, column %d: %+v, want %+v", i, n, got, want)
			}
		}
	}
	for n := range b.Cols {
		got, want := &b.Cols[n], &fresh.Cols[n]
		if got.Len() != want.Len() || !slices.Equal(got.Ints, want.Ints) || !slices.Equal(got.Floats, want.Floats) ||
			!slices.Equal(got.Ends, want.Ends) || !slices.Equal(got.Bytes, want.Bytes) {
			t.Fatalf("column %d differs from a fresh one:\n%+v\n%+v", n, got, want)
		}
		if !slices.Equal(got.Nulls(), want.Nulls()) || got.HasNulls() != want.HasNulls() {
			t.Fatalf("column %d: nulls %b, a fresh one has %b", n, got.Nulls(), want.Nulls())
		}
	}
	if b.Bytes() != fresh.Bytes() {
		t.Fatalf("%d bytes, a fresh batch has %d", b.Bytes(), fresh.Bytes())
	}
}

func (c *Column) at(i int) value {
	v := value{null: c.IsNull(i)}
	switch c.Type.Class() {
	case Integers:
		v.n = c.Ints[i]
	case Reals:
		v.f = c.Floats[i]
	default:
		v.s = c.Text(i)
	}
	return v
}

func TestBatchHoldsWhatAListOfRowsWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSchema(t)
		b, other := NewBatch(s), NewBatch(s)
		var rows, otherRows []row
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 1, 3, 70}).Draw(t, "count") {
					r := drawRow(t, s)
					r.appendTo(b)
					rows = append(rows, r)
				}
			},
			"append without nulls": func(t *rapid.T) {
				r := drawRow(t, s)
				for i := range r.values {
					r.values[i].null = false
				}
				r.appendTo(b)
				rows = append(rows, r)
			},
			"truncate": func(t *rapid.T) {
				n := rapid.IntRange(0, len(rows)).Draw(t, "n")
				b.Truncate(n)
				rows = rows[:n]
			},
			"drop a half-written row": func(t *rapid.T) {
				half := drawRow(t, s)
				half.values = half.values[:rapid.IntRange(0, len(s.Attrs)).Draw(t, "columns")]
				half.appendTo(b)
				b.TS = b.TS[:len(rows)]
				b.Truncate(len(rows))
			},
			"reset": func(*rapid.T) {
				b.Reset()
				rows = rows[:0]
			},
			"copy a row": func(t *rapid.T) {
				if len(rows) > 0 {
					i := rapid.IntRange(0, len(rows)-1).Draw(t, "row")
					other.AppendRow(b, i)
					otherRows = append(otherRows, rows[i])
				}
			},
			"copy rows": func(t *rapid.T) {
				from := rapid.IntRange(0, len(rows)).Draw(t, "from")
				to := rapid.IntRange(from, len(rows)).Draw(t, "to")
				other.AppendRows(b, from, to)
				otherRows = append(otherRows, rows[from:to]...)
			},
			"swap": func(*rapid.T) {
				b, other, rows, otherRows = other, b, otherRows, rows
			},
			"": func(t *rapid.T) {
				check(t, b, rows)
				check(t, other, otherRows)
			},
		})
	})
}

func TestSetNullsKeepsWhatNullsGave(t *testing.T) {
	var c Column
	c.Type = Long
	for i := range int64(200) {
		if i%67 == 3 {
			c.AppendNull()
		} else {
			c.AppendInt(i)
		}
	}
	words := append(slices.Clone(c.Nulls()), 0, 0)
	d := Column{Type: Long, Ints: slices.Clone(c.Ints)}
	d.SetNulls(words)
	words[0] = math.MaxUint64 // the column has its own copy
	if !slices.Equal(d.Nulls(), c.Nulls()) {
		t.Errorf("nulls %b, want %b", d.Nulls(), c.Nulls())
	}
	d.SetNulls(make([]uint64, 4))
	if d.HasNulls() || d.Nulls() != nil {
		t.Errorf("words without a bit left nulls %b", d.Nulls())
	}
}

func TestNegativeZeroAndNaNSurviveACopy(t *testing.T) {
	src := Column{Type: Double}
	for _, v := range []float64{math.Copysign(0, -1), math.NaN(), math.Inf(1)} {
		src.AppendFloat(v)
	}
	dst := Column{Type: Double}
	dst.appendRange(&src, 0, 3)
	for i, v := range src.Floats {
		if math.Float64bits(dst.Floats[i]) != math.Float64bits(v) {
			t.Errorf("%v became %v", v, dst.Floats[i])
		}
	}
}
