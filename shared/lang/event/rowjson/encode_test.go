package rowjson

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// one returns a column of one value.
func one(t event.Type, v any) *event.Column {
	c := &event.Column{Type: t}
	switch v := v.(type) {
	case nil:
		c.AppendNull()
	case bool:
		c.AppendBool(v)
	case int64:
		c.AppendInt(v)
	case float64:
		c.AppendFloat(v)
	case string:
		c.AppendText(v)
	}
	return c
}

func TestValuesAndTextsAsWritten(t *testing.T) {
	for _, c := range []struct {
		t          event.Type
		v          any
		json, text string
	}{
		{event.Bool, true, `true`, `true`},
		{event.Bool, false, `false`, `false`},
		{event.Int, int64(-5), `-5`, `-5`},
		{event.Long, int64(math.MinInt64), `-9223372036854775808`, `-9223372036854775808`},
		{event.Double, 5.0, `5`, `5`},
		{event.Double, 0.1, `0.1`, `0.1`},
		{event.Double, math.Copysign(0, -1), `-0`, `-0`},
		{event.Double, 1e-7, `1e-7`, `1e-7`},
		{event.Double, 1e-10, `1e-10`, `1e-10`},
		{event.Double, math.MaxFloat64, `1.7976931348623157e+308`, `1.7976931348623157e+308`},
		{event.Double, math.NaN(), `"NaN"`, `NaN`},
		{event.Double, math.Inf(1), `"Infinity"`, `Infinity`},
		{event.Float, math.Inf(-1), `"-Infinity"`, `-Infinity`},
		{event.Float, float64(float32(75.6)), `75.6`, `75.6`},
		{event.String, `a"b\c/d`, `"a\"b\\c/d"`, `a"b\c/d`},
		{event.String, "\x00\x1f\x7f\n\r\t", `"\u0000\u001f` + "\x7f" + `\n\r\t"`, "\x00\x1f\x7f\n\r\t"},
		{event.String, "é😀<&>\u2028", "\"é😀<&>\u2028\"", "é😀<&>\u2028"},
		{event.String, "a\xffb\xe2\x82", `"a\ufffdb\ufffd\ufffd"`, "a\xffb\xe2\x82"},
		{event.String, "\ufffd", "\"\ufffd\"", "\ufffd"},
		{event.String, "", `""`, ``},
		{event.Object, `{"a":1.50}`, `{"a":1.50}`, `{"a":1.50}`},
		{event.String, nil, `null`, ``},
		{event.Double, nil, `null`, ``},
		{event.Object, nil, `null`, ``},
	} {
		column := one(c.t, c.v)
		if got := string(AppendValue([]byte("x"), column, 0)); got != "x"+c.json {
			t.Errorf("%s %v is written %s, want %s", c.t, c.v, got[1:], c.json)
		}
		if got := string(AppendText([]byte("x"), column, 0)); got != "x"+c.text {
			t.Errorf("%s %v has text %q, want %q", c.t, c.v, got[1:], c.text)
		}
	}
}

func TestRowsAsWritten(t *testing.T) {
	s := schema("S", event.Attr{Name: "a", Type: event.Int}, event.Attr{Name: `b"`, Type: event.String})
	b := event.NewBatch(s)
	for _, text := range []string{"x", "y"} {
		b.Cols[0].AppendInt(7)
		b.Cols[1].AppendText(text)
		b.TS = append(b.TS, 1)
	}
	if got := string(AppendObject(nil, b, 1)); got != `{"a":7,"b\"":"y"}` {
		t.Errorf("object %s", got)
	}
	if got := string(AppendArray(nil, b, 0)); got != `[7,"x"]` {
		t.Errorf("array %s", got)
	}
	if got := string(AppendObject(nil, event.NewBatch(schema("E")), 0)); got != `{}` {
		t.Errorf("a row without attributes: %s", got)
	}
}

// What the label of an attribute says does not change how its values are written.
func TestTheTypeOfTheColumnDecides(t *testing.T) {
	b := event.NewBatch(schema("S", event.Attr{Name: "a", Type: event.String, Held: event.Bool}))
	b.Cols[0].AppendBool(true)
	b.TS = append(b.TS, 1)
	if got := string(AppendObject(nil, b, 0)); got != `{"a":true}` {
		t.Errorf("%s, want a bool", got)
	}
}

func TestNumbersReadAsThoseOfEncodingJSON(t *testing.T) {
	same := func(t rapid.TB, v any, got []byte) {
		t.Helper()
		if want, err := json.Marshal(v); err != nil || string(want) != string(got) {
			t.Fatalf("%v is written %s, encoding/json writes %s (%v)", v, got, want, err)
		}
	}
	for e := -30; e <= 30; e++ {
		for _, v := range []float64{math.Pow10(e), -1.5 * math.Pow10(e), math.Nextafter(math.Pow10(e), 0)} {
			same(t, v, appendReal(nil, v, 64))
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Float64().Draw(t, "double")
		same(t, v, appendReal(nil, v, 64))
		// The bounds of the exponent are those of the double: a column has nothing else.
		f := rapid.Float32Range(1e-3, 1e20).Draw(t, "float")
		same(t, f, appendReal(nil, float64(f), 32))
	})
}

func TestAnyBytesAreWrittenAsValidJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.SampledFrom([]byte("a\"\\\n\x01\x7f\x80\xc3\xa9\xe2\x82\xac\xf0\x9f\xff"))).Draw(t, "bytes"))
		var back string
		written := appendString(nil, text)
		if err := json.Unmarshal(written, &back); err != nil {
			t.Fatalf("%q: %v", written, err)
		}
		if want := string([]rune(text)); back != want {
			t.Fatalf("%q is written %s and reads %q, want %q", text, written, back, want)
		}
	})
}

func TestEncodingAllocatesNothing(t *testing.T) {
	b := event.NewBatch(everyType())
	data := `[true,1,2,3.5,4.5e-7,"` + strings.Repeat(`\n\u00e9`, 5) + `",{"k":1}]`
	if err := NewDecoder(b.Schema).Values(b, []byte(data), 1); err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() { dst = AppendObject(dst[:0], b, 0) }); n != 0 {
		t.Errorf("%v allocations per row", n)
	}
}
