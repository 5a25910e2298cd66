package rowavro

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/avro"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

const every = `{"type":"record","name":"All","namespace":"every","fields":[
	{"name":"b","type":"boolean"},{"name":"i","type":"int"},{"name":"l","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"f","type":"float"},{"name":"d","type":"double"},{"name":"s","type":"string"},{"name":"y","type":"bytes"},
	{"name":"e","type":{"type":"enum","name":"Color","symbols":["RED","BLUE"]}},
	{"name":"x","type":{"type":"fixed","name":"Hash","size":2}},
	{"name":"n","type":["null","string"]},
	{"name":"in","type":["null",{"type":"record","name":"In","fields":[{"name":"s","type":["string","Color"]},{"name":"more","type":["null","In"]}]}]},
	{"name":"list","type":{"type":"array","items":["int","In","null"]}},
	{"name":"map","type":{"type":"map","values":"Hash"}},
	{"name":"again","type":"In"},
	{"name":"empty","type":{"type":"array","items":{"type":"record","name":"Nothing","fields":[]}}},
	{"name":"amount","type":{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}},
	{"name":"last","type":"int"}]}`

// mapped returns a decoder of attributes, each `name type path`; the path may be missing.
func mapped(t testing.TB, schema, attributes string) *Decoder {
	t.Helper()
	s := &event.Schema{Name: "S"}
	m := &Mapping{Schema: schema}
	for a := range strings.SplitSeq(attributes, ",") {
		words := strings.Fields(a)
		kind, ok := event.ParseType(words[1])
		path, err := rowjson.ParsePath(words[len(words)-1])
		if len(words) == 2 {
			path = rowjson.Path{{Member: words[0]}}
		}
		if !ok || err != nil {
			t.Fatal(a, err)
		}
		s.Attrs = append(s.Attrs, event.Attr{Name: words[0], Type: kind})
		m.Attrs = append(m.Attrs, path)
	}
	return New(s, m)
}

func rowOf(d *Decoder, payload []byte) string {
	b := event.NewBatch(d.schema)
	n, refused := d.Rows(b, payload, 1)
	var out []string
	for i := range b.Len() {
		out = append(out, string(rowjson.AppendArray(nil, b, i)))
	}
	if n != b.Len() {
		out = append(out, fmt.Sprintf("%d accepted", n))
	}
	for _, r := range refused {
		out = append(out, r.Err.Error())
	}
	return strings.Join(out, " | ")
}

const everyAttr = "b bool, i int, l long, f float, d double, s string, y string, e string, x string, n string, inner string in.s, deep string in.more.s, " +
	"wide double i, again string again.more.s, last long, twice string s"

func encoded(t testing.TB, schema string, v any) []byte {
	t.Helper()
	s, err := avro.Parse(schema)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Encode(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func full() map[string]any {
	in := func(s string, more any) map[string]any { return map[string]any{"s": s, "more": more} }
	return map[string]any{
		"b": true, "i": int32(-7), "l": int64(1) << 60, "f": float32(0.1), "d": 0.1, "s": "ä", "y": []byte{0, 255}, "e": "BLUE", "x": []byte{1, 2}, "n": nil,
		"in": in("one", in("two", nil)), "list": []any{int32(1), in("x", nil), nil}, "map": map[string]any{"k": []byte{3, 4}}, "again": in("three", in("four", nil)),
		"empty": []any{map[string]any{}, map[string]any{}}, "amount": []byte{1}, "last": int32(9),
	}
}

func TestRows(t *testing.T) {
	d := mapped(t, every, everyAttr)
	null := full()
	null["n"], null["in"] = "set", nil
	for _, one := range []struct {
		name string
		v    map[string]any
		want string
	}{
		{"every type", full(), `[true,-7,1152921504606846976,0.1,0.1,"ä","AP8=","BLUE","AQI=",null,"one","two",-7,"four",9,"ä"]`},
		{"null records", null, `[true,-7,1152921504606846976,0.1,0.1,"ä","AP8=","BLUE","AQI=","set",null,null,-7,"four",9,"ä"]`},
	} {
		for range 2 {
			if got := rowOf(d, encoded(t, every, one.v)); got != one.want {
				t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
			}
		}
	}
}

// TestBytes: payloads that only a hand can write.
func TestBytes(t *testing.T) {
	record := func(fields string) string { return `{"type":"record","name":"R","fields":[` + fields + `]}` }
	const a = `{"name":"a","type":"int"}`
	for _, one := range []struct{ name, fields, attr, payload, want string }{
		{"an array in blocks with their sizes", `{"name":"l","type":{"type":"array","items":"int"}},` + a, "a int", "\x03\x04\x02\x04\x02\x06\x00\x0a", `[5]`},
		{"endless nothing", `{"name":"l","type":{"type":"array","items":"null"}},` + a, "a int", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x0a", `[5]`},
		{"endless something", `{"name":"l","type":{"type":"array","items":["null","int"]}},` + a, "a int", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x0a", "not a record R in Avro's binary encoding: field l before byte 13 of 13: found branch 5 of a union of 2"},
		{"endless text", `{"name":"s","type":"string"},` + a, "a int", "\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01ab", "not a record R in Avro's binary encoding: field s before byte 10 of 12: the value does not end"},
		{"a negative length", `{"name":"s","type":"string"},` + a, "a int", "\x01ab", "not a record R in Avro's binary encoding: field s before byte 1 of 3: the value does not end"},
		{"a number of more than 64 bits", a, "a int", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "not a record R in Avro's binary encoding: field a before byte 0 of 12: the value does not end"},
		{"a number of more than 32 bits", a, "a int", "\xff\xff\xff\xff\x1f", "not a record R in Avro's binary encoding: field a before byte 5 of 5: -4294967296 is no int"},
		{"a bool of 2", `{"name":"b","type":"boolean"}`, "b bool", "\x02", "not a record R in Avro's binary encoding: field b before byte 1 of 1: found a boolean of 2"},
		{"a symbol too many", `{"name":"e","type":{"type":"enum","name":"E","symbols":["A"]}}`, "e string", "\x02", "not a record R in Avro's binary encoding: field e before byte 1 of 1: found symbol 1 of an enum of 1"},
		{"more than the record", a, "a int", "\x02\x02", "not a record R in Avro's binary encoding: byte 1 of 2: 1 bytes follow the record"},
		{"nothing", a, "a int", "", "not a record R in Avro's binary encoding: field a before byte 0 of 0: the value does not end"},
		{"invalid UTF-8", `{"name":"s","type":"string"}`, "s string", "\x02\xff", `s: expected UTF-8, found invalid bytes in "` + "\ufffd" + `"`},
		{"infinity", `{"name":"f","type":"float"}`, "f float", "\x00\x00\x80\x7f", `f: expected a finite number, found +Inf`},
		{"a record inside itself", `{"name":"r","type":["null","R"]},` + a, "a int", strings.Repeat("\x02", 1000), "expected at most 200 levels of records, found more"},
	} {
		d := mapped(t, record(one.fields), one.attr)
		if got := rowOf(d, []byte(one.payload)); got != one.want {
			t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
		}
	}
}

// TestSingleObject: a payload with the fingerprint of another schema is refused.
func TestSingleObject(t *testing.T) {
	schema, err := avro.Parse(`{"type":"record","name":"R","doc":"x","fields":[{"name":"a","type":"int"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	s := &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "a", Type: event.Int}}}
	d := New(s, &Mapping{Schema: schema.String(), SingleObject: true, Attrs: []rowjson.Path{{{Member: "a"}}}})
	payload, err := schema.AppendSingleObject(nil, map[string]any{"a": 5})
	if err != nil {
		t.Fatal(err)
	}
	if got := rowOf(d, payload); got != "[5]" {
		t.Error(got)
	}
	payload[5]++
	for payload, want := range map[string]string{string(payload): "the publisher uses another schema", "\x0a": "c3 01", "": "c3 01"} {
		if got := rowOf(d, []byte(payload)); !strings.Contains(got, want) {
			t.Errorf("%q: %s", payload, got)
		}
	}
}

func TestSchemasThatDoNotFit(t *testing.T) {
	for _, one := range []struct{ path, kind, want string }{
		{"l", "int", "field l of every.All is long, and the attribute is int: expected long"},
		{"in", "string", "field in of every.All is record every.In, and no attribute: expected the path of one of its fields"},
		{"in.x", "string", "record every.In has no field x"},
		{"s.x", "string", "field s of every.All is string, and has no fields"},
		{"list", "string", "field list of every.All is an array: an attribute is one number, bool or text"},
		{"map", "string", "field map of every.All is a map: an attribute is one number, bool or text"},
		{"amount", "string", "field amount of every.All is a decimal: an attribute is one number, bool or text"},
		{"list[0]", "string", "found $[0]: a path leads through records to one field, such as order.total"},
	} {
		schema, err := ReadSchema(every)
		if err != nil {
			t.Fatal(err)
		}
		path, err := rowjson.ParsePath(one.path)
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := event.ParseType(one.kind)
		if err := schema.Resolve(path, kind); err == nil || err.Error() != one.want {
			t.Errorf("%s as %s: %v, want %s", one.path, one.kind, err, one.want)
		}
	}
	for _, text := range []string{"", "{", `"int"`, `{"type":"record","name":"R"}`, `{"type":"record","name":"R","fields":[{"name":"a","type":"Missing"}]}`} {
		if _, err := ReadSchema(text); err == nil {
			t.Errorf("%s is accepted", text)
		}
	}
}

// FuzzRows: no payload makes a decoder panic or leaves columns of different lengths, and it
// accepts what the library accepts.
func FuzzRows(f *testing.F) {
	f.Add(encoded(f, every, full()))
	f.Add([]byte("\x01\x02\x03"))
	schema := avro.MustParse(every)
	d := mapped(f, every, everyAttr)
	f.Fuzz(func(t *testing.T, payload []byte) {
		b := event.NewBatch(d.schema)
		n, refused := d.Rows(b, payload, 1)
		for i := range b.Cols {
			if b.Cols[i].Len() != n || b.Len() != n {
				t.Fatalf("%d rows, and column %d has %d", n, i, b.Cols[i].Len())
			}
		}
		if n+len(refused) != 1 {
			t.Fatalf("%d rows and %d refused", n, len(refused))
		}
		var v map[string]any
		rest, err := schema.Decode(payload, &v)
		if err != nil || len(rest) > 0 || n == 0 {
			return
		}
		if v["s"] != b.Cols[5].Text(0) || int64(v["last"].(int32)) != b.Cols[14].Ints[0] {
			t.Fatalf("%x: the library reads %v, and the decoder %s", payload, v, rowjson.AppendArray(nil, b, 0))
		}
	})
}

// TestNoAllocations: a row that is accepted costs no memory.
func TestNoAllocations(t *testing.T) {
	d := mapped(t, every, everyAttr)
	payload := encoded(t, every, full())
	b := event.NewBatch(d.schema)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		d.Rows(b, payload, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRows(b *testing.B) {
	d := mapped(b, every, "s string, inner string in.s, d double, i int, l long, e string")
	payload := encoded(b, every, full())
	batch := event.NewBatch(d.schema)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		batch.Reset()
		if n, _ := d.Rows(batch, payload, 1); n != 1 {
			b.Fatal("refused")
		}
	}
}
