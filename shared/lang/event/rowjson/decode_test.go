package rowjson

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func schema(name string, attrs ...event.Attr) *event.Schema {
	return &event.Schema{Name: name, Attrs: attrs}
}

func flightsSchema() *event.Schema {
	return schema("Flights",
		event.Attr{Name: "time", Type: event.Long},
		event.Attr{Name: "origin", Type: event.String},
		event.Attr{Name: "destination", Type: event.String},
		event.Attr{Name: "delay", Type: event.Int},
		event.Attr{Name: "distance", Type: event.Int})
}

func quakesSchema() *event.Schema {
	return schema("Quakes",
		event.Attr{Name: "id", Type: event.String},
		event.Attr{Name: "time", Type: event.Long},
		event.Attr{Name: "net", Type: event.String},
		event.Attr{Name: "mag", Type: event.Double},
		event.Attr{Name: "depth", Type: event.Float},
		event.Attr{Name: "place", Type: event.String},
		event.Attr{Name: "type", Type: event.String})
}

func TestRealDataReadsBackAsItWasWritten(t *testing.T) {
	for _, c := range []struct {
		file   string
		schema *event.Schema
		rows   int
	}{
		{"flights.ndjson", flightsSchema(), 20000},
		{"earthquakes.ndjson", quakesSchema(), 1707},
	} {
		payload := realData(t, c.file)
		b := event.NewBatch(c.schema)
		accepted, refused := NewDecoder(c.schema).Rows(b, payload, 7)
		if accepted != c.rows || len(refused) > 0 {
			t.Fatalf("%s: %d rows accepted, refused %v", c.file, accepted, refused)
		}
		var written []byte
		for i := range b.Len() {
			written = append(AppendObject(written, b, i), '\n')
		}
		if !bytes.Equal(written, payload) {
			t.Errorf("%s: written rows differ from those read", c.file)
		}
	}
}

func realData(tb testing.TB, file string) []byte {
	tb.Helper()
	payload, err := os.ReadFile("../../../../examples/data/" + file)
	if err != nil {
		tb.Fatal(err)
	}
	return payload
}

// everyType has an attribute of each type, named by its first letter.
func everyType() *event.Schema {
	s := schema("S")
	for _, t := range event.Types() {
		s.Attrs = append(s.Attrs, event.Attr{Name: t.String()[:1], Type: t})
	}
	s.Attrs[4].Name = "x" // double, because tests of near names need a d
	return s
}

// text returns the rows of b as JSON arrays, one a line.
func text(b *event.Batch) string {
	var dst []byte
	for i := range b.Len() {
		dst = append(AppendArray(dst, b, i), '\n')
	}
	return string(dst)
}

func TestOneAttribute(t *testing.T) {
	for _, c := range []struct {
		t    event.Type
		json string
		want string // the value as written, or the error
	}{
		{event.Int, `66`, `66`},
		{event.Int, `-0`, `0`},
		{event.Int, `2147483647`, `2147483647`},
		{event.Int, `-2147483648`, `-2147483648`},
		{event.Int, `2147483648`, `a: expected int (-2147483648 to 2147483647), found number 2147483648`},
		{event.Int, `-2147483649`, `a: expected int (-2147483648 to 2147483647), found number -2147483649`},
		{event.Int, `5.0`, `5`},
		{event.Int, `1e3`, `1000`},
		{event.Int, `-12.50E+1`, `-125`},
		{event.Int, `0.0e999999999999999999999`, `0`},
		{event.Int, `5.5`, `a: expected int, found number 5.5`},
		{event.Int, `1e-1`, `a: expected int, found number 1e-1`},
		{event.Int, `10e-1`, `1`},
		{event.Int, `1e99999999999999999999`, `a: expected int (-2147483648 to 2147483647), found number 1e99999999999999999999`},
		{event.Int, `1e-99999999999999999999`, `a: expected int, found number 1e-99999999999999999999`},
		{event.Int, `"66"`, `a: expected int, found string "66"`},
		{event.Int, `true`, `a: expected int, found true`},
		{event.Int, `[1]`, `a: expected int, found array [1]`},
		{event.Int, `null`, `null`},
		{event.Long, `9223372036854775807`, `9223372036854775807`},
		{event.Long, `-9223372036854775808`, `-9223372036854775808`},
		{event.Long, `9007199254740993`, `9007199254740993`}, // 2^53+1: no double has it
		{event.Long, `9007199254740993.0`, `9007199254740993`},
		{event.Long, `922337203685477580.7e1`, `9223372036854775807`},
		{event.Long, `9223372036854775808`, `a: expected long (-9223372036854775808 to 9223372036854775807), found number 9223372036854775808`},
		{event.Long, `1e19`, `a: expected long (-9223372036854775808 to 9223372036854775807), found number 1e19`},
		{event.Double, `5`, `5`},
		{event.Double, `5.0`, `5`},
		{event.Double, `-0.0`, `-0`},
		{event.Double, `0.1`, `0.1`},
		{event.Double, `9007199254740993`, `9007199254740992`},
		{event.Double, `123456789.123456789`, `123456789.12345679`},
		{event.Double, `1e21`, `1e+21`},
		{event.Double, `1e-7`, `1e-7`},
		{event.Double, `1e-999`, `0`},
		{event.Double, `1e400`, `a: expected double (at most 1.7976931348623157e+308), found number 1e400`},
		{event.Double, `"NaN"`, `a: expected double, found string "NaN"`},
		{event.Float, `75.6`, `75.6`},
		{event.Float, `16777217`, `16777216`},
		{event.Float, `3.4028235e38`, `3.4028235e+38`},
		{event.Float, `3.5e38`, `a: expected float (at most 3.4028234663852886e+38), found number 3.5e38`},
		{event.Bool, `true`, `true`},
		{event.Bool, `false`, `false`},
		{event.Bool, `1`, `a: expected bool, found number 1`},
		{event.Bool, `"true"`, `a: expected bool, found string "true"`},
		{event.Bool, `null`, `null`},
		{event.String, `""`, `""`},
		{event.String, `"a\"\\\/\b\f\n\r\té\u00e9\ud83d\ude00"`, `"a\"\\/\u0008\u000c\n\r\téé😀"`},
		{event.String, `"\ud83d"`, `expected surrogates in pairs, found a single \ud83d`},
		{event.String, `"\ude00\ud83d"`, `expected surrogates in pairs, found a single \ude00`},
		{event.String, `"\ud83d\ud83d\ude00"`, `expected surrogates in pairs, found a single \ud83d`},
		{event.String, `"\\ud83d"`, `"\\ud83d"`},
		{event.String, "\"\xff\"", "expected UTF-8, found invalid bytes in {\"a\":\"\ufffd\"}"},
		{event.String, "\"a\nb\"", `not JSON: unexpected byte 10 '\n' at 7`},
		{event.String, `5`, `a: expected string, found number 5`},
		{event.String, `null`, `null`},
		{event.Object, `{ "b" : [1, "x y", null] }`, `{"b":[1,"x y",null]}`},
		{event.Object, `"text \" with \\ escapes"`, `"text \" with \\ escapes"`},
		{event.Object, `1.50`, `1.50`},
		{event.Object, `["\udc00"]`, `expected surrogates in pairs, found a single \udc00`},
		{event.Object, `null`, `null`},
		{event.Object, `{"b":}`, `not JSON: unexpected byte 125 '}' at 10`},
		{event.Object, nested(depthMax - 1), nested(depthMax - 1)},
		{event.Object, nested(depthMax), `expected at most 64 levels of nesting, found more`},
		{event.Int, nested(1 << 20), `expected at most 64 levels of nesting, found more`},
		{event.Int, `"` + strings.Repeat("é", 100) + `"`, `a: expected int, found string "` + strings.Repeat("é", 39) + `…`},
		{event.Int, `05`, `not JSON: unexpected byte 53 '5' at 6`},
		{event.Int, `+5`, `not JSON: unexpected byte 43 '+' at 5`},
		{event.Double, `.5`, `not JSON: unexpected byte 46 '.' at 5`},
		{event.Double, `5.`, `not JSON: unexpected EOF`},
		{event.Double, `NaN`, `not JSON: unexpected byte 78 'N' at 5`},
		{event.Bool, `True`, `not JSON: unexpected byte 84 'T' at 5`},
	} {
		s := schema("S", event.Attr{Name: "a", Type: c.t})
		b := event.NewBatch(s)
		_, refused := NewDecoder(s).Rows(b, []byte(`{"a":`+c.json+`}`), 1)
		got := strings.TrimSuffix(strings.TrimPrefix(text(b), "["), "]\n")
		if len(refused) == 1 {
			got = refused[0].Err.Error()
		}
		if got != c.want {
			t.Errorf("%s %s\n got %s\nwant %s", c.t, clip([]byte(c.json)), got, c.want)
		}
	}
}

func nested(levels int) string {
	return strings.Repeat("[", levels) + strings.Repeat("]", levels)
}

func TestValues(t *testing.T) {
	s := everyType()
	for _, c := range []struct{ data, want string }{
		{`[true,1,2,3.5,4.5,"t",{"k":1}]`, `[true,1,2,3.5,4.5,"t",{"k":1}]`},
		{` [ null , null,null,null,null,null,null ] `, `[null,null,null,null,null,null,null]`},
		{`{"o":[],"s":"","x":0.1,"f":0.1,"l":-1,"i":-1,"b":false}`, `[false,-1,-1,0.1,0.1,"",[]]`},
		{`[true,1]`, `expected 7 values for S(b bool, i int, l long, f float, x double, s string, o object), found 2`},
		{`[true,1,2,3.5,4.5,"t",{},8]`, `expected 7 values for S(b bool, i int, l long, f float, x double, s string, o object), found more`},
		{`[true,"1",2,3.5,4.5,"t",{}]`, `i: expected int, found string "1"`},
		{`{"b":true}`, `missing attribute "i": expected int; write null where there is no value`},
		{`7`, `expected an object with the attributes of S(b bool, i int, l long, f float, x double, s string, o object), found number 7`},
		{`[true,1,2,3.5,4.5,"t",{}`, `not JSON: unexpected EOF`},
		{`[true,1,2,3.5,4.5,"t",{}] []`, `not JSON: text after the row: []`},
		{``, `no event in the message: expected a JSON object, an array of objects, or NDJSON`},
	} {
		b := event.NewBatch(s)
		err := NewDecoder(s).Values(b, []byte(c.data), 1)
		got := strings.TrimSuffix(text(b), "\n")
		if err != nil {
			got += err.Error()
		}
		if got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.data, got, c.want)
		}
	}
}

// Publishers write keys in an order of their own. From the second row on it is
// read without the library, and the values still reach their columns.
func TestAnotherOrderOfKeysIsLearnt(t *testing.T) {
	s := flightsSchema()
	d, b := NewDecoder(s), event.NewBatch(s)
	payload := []byte(`{"origin":"A","time":1,"distance":4,"delay":3,"destination":"B"}`)
	if n, refused := d.Rows(b, payload, 1); n != 1 {
		t.Fatal(refused)
	}
	d.src = payload
	if _, ok := d.fastRow(b, 0, false); !ok {
		t.Error("the second row was not read at once")
	}
	b.TS = append(b.TS, 1)
	if got, want := text(b), strings.Repeat("[1,\"A\",\"B\",3,4]\n", 2); got != want {
		t.Errorf("rows %s, want %s", got, want)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	s := flightsSchema()
	d, b := NewDecoder(s), event.NewBatch(s)
	for name, payload := range map[string]string{
		"common": `{"time":978310020000,"origin":"DTW","destination":"LAS","delay":66,"distance":1750}`,
		"escape": `{"time":978310020000,"origin":"D\u00e9W","destination":"LAS","delay":66,"distance":1750}`,
	} {
		p := []byte(payload)
		if n := testing.AllocsPerRun(100, func() { b.Reset(); d.Rows(b, p, 1) }); n != 0 {
			t.Errorf("%s: %v allocations per row", name, n)
		}
	}
}
