package rowavro

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/twmb/avro"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// targeted returns a target for attributes as mapped reads them, and the shape of its rows. An
// attribute of never is never null.
func targeted(t testing.TB, schema, attributes, never string, single bool) (*Target, *event.Schema, *Mapping, []SinkError) {
	t.Helper()
	read, err := ReadSchema(schema)
	if err != nil {
		t.Fatal(err)
	}
	s, m := &event.Schema{Name: "S"}, &Mapping{Schema: schema, SingleObject: single}
	for a := range strings.SplitSeq(attributes, ",") {
		words := strings.Fields(a)
		kind, _ := event.ParseType(words[1])
		path, err := rowjson.ParsePath(words[len(words)-1])
		if len(words) == 2 {
			path, err = rowjson.Path{{Member: words[0]}}, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		s.Attrs, m.Attrs = append(s.Attrs, event.Attr{Name: words[0], Type: kind}), append(m.Attrs, path)
	}
	nullable := make([]bool, len(s.Attrs))
	for i, a := range s.Attrs {
		nullable[i] = !strings.Contains(never, a.Name)
	}
	target, errs := NewTarget(read, s, m, nullable)
	return target, s, m, errs
}

const written = `{"type":"record","name":"Row","namespace":"shop","fields":[
	{"name":"b","type":["boolean","null"]},{"name":"i","type":["null","int"]},{"name":"l","type":["null",{"type":"long","logicalType":"timestamp-millis"}]},
	{"name":"f","type":["null","float"]},{"name":"d","type":["null","double"]},{"name":"s","type":["null","string"]},
	{"name":"unused","type":["int","null"]},{"name":"always","type":"string"},
	{"name":"in","type":["null",{"type":"record","name":"In","fields":[{"name":"a","type":["null","string"]},{"name":"more","type":["null","In"]},{"name":"n","type":["null","long"]}]}]},
	{"name":"only","type":["null",{"type":"record","name":"Only","fields":[{"name":"name","type":"string"},{"name":"nothing","type":"null"}]}]}]}`

// TestWrittenRowsAreReadBack: a row that is written and read again is the same row. Package avro
// reads it as well, to its last byte.
func TestWrittenRowsAreReadBack(t *testing.T) {
	const attributes = "b bool, i int, l long, f float, d double, s string, always string, a string in.a, deep string in.more.a, n int in.n, name string only.name"
	for _, single := range []bool{false, true} {
		target, s, m, errs := targeted(t, written, attributes, "always", single)
		if errs != nil {
			t.Fatal(errs)
		}
		read := *s
		read.Attrs = append([]event.Attr(nil), s.Attrs...)
		read.Attrs[9].Type = event.Long // Avro's long
		decoder, other := New(&read, m), avro.MustParse(written)
		rapid.Check(t, func(t *rapid.T) {
			b, got := event.NewBatch(s), event.NewBatch(&read)
			for i := range b.Cols {
				c := &b.Cols[i]
				switch {
				case s.Attrs[i].Name != "always" && rapid.IntRange(0, 2).Draw(t, "null") == 0:
					c.AppendNull()
				case c.Type == event.Bool:
					c.AppendBool(rapid.Bool().Draw(t, "bool"))
				case c.Type == event.Int:
					c.AppendInt(int64(rapid.Int32().Draw(t, "int")))
				case c.Type == event.Long:
					c.AppendInt(rapid.Int64().Draw(t, "long"))
				case c.Type == event.Float:
					c.AppendFloat(float64(rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32).Draw(t, "float")))
				case c.Type == event.Double:
					c.AppendFloat(rapid.Float64().Draw(t, "double"))
				default:
					c.AppendText(rapid.String().Draw(t, "string"))
				}
			}
			b.TS = append(b.TS, 1)
			payload := target.Append([]byte("kept"), b, 0)[4:]
			if again := target.Append(nil, b, 0); !bytes.Equal(payload, again) {
				t.Fatalf("%x and then %x", payload, again)
			}
			var any any
			if !single {
				if rest, err := other.Decode(payload, &any); err != nil || len(rest) > 0 {
					t.Fatalf("%x: %v, %d bytes left", payload, err, len(rest))
				}
			}
			if n, refused := decoder.Rows(got, payload, 1); n != 1 {
				t.Fatal(refused[0].Err)
			}
			if want, have := rowjson.AppendArray(nil, b, 0), rowjson.AppendArray(nil, got, 0); !bytes.Equal(want, have) {
				t.Fatalf("wrote %s, read %s", want, have)
			}
		})
	}
}

// TestSinksAreChecked: a record that cannot hold every row is refused.
func TestSinksAreChecked(t *testing.T) {
	for _, one := range []struct{ fields, attributes, never, want string }{
		{`{"name":"s","type":"string"}`, "s string", "", "0: field s of R cannot be null, and the attribute can: expected [\"null\", \"string\"] in the schema, or `default(…)` in each query"},
		{`{"name":"s","type":"string"}`, "s string", "s", ""},
		{`{"name":"s","type":["null","int"]}`, "s long", "", "0: field s of R is int, which does not hold every value of the attribute, a long: expected an attribute of type int, or another field"},
		{`{"name":"s","type":["null","int","long"]}`, "s long", "", ""},
		{`{"name":"s","type":["null","bytes"]}`, "s string", "", "0: field s of R is bytes, and not every text is base64: expected a string in the schema"},
		{`{"name":"s","type":["null",{"type":"enum","name":"E","symbols":["A"]}]}`, "s string", "", "0: field s of R is enum E, and not every text is one of its symbols: expected a string in the schema"},
		{`{"name":"s","type":["null"]}`, "s string", "", "0: field s of R is always null"},
		{`{"name":"s","type":["null","string"]},{"name":"t","type":"int"}`, "s string", "", "-1: no attribute fills field t of R: expected one, or a union with null in the schema"},
		{`{"name":"s","type":["null","string"]}`, "s string, t string s", "", "1: another attribute fills field s of R: expected a field for each"},
		{`{"name":"s","type":["null","string"]}`, "s string s.x", "", "0: field s of R is string, and has no fields"},
		{`{"name":"s","type":["null",{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}]}`, "s int", "", "0: field s of R is record I, and no attribute: expected the path of one of its fields"},
		{`{"name":"s","type":["null","string"]}`, "s string, t string", "", "1: record R has no field t"},
		{`{"name":"s","type":{"type":"array","items":"int"}}`, "s int", "", "0: field s of R is an array, and an attribute is one number, bool or text: expected such a type, or a field that is null"},
	} {
		_, _, _, errs := targeted(t, `{"type":"record","name":"R","fields":[`+one.fields+`]}`, one.attributes, one.never, false)
		var got []string
		for _, e := range errs {
			got = append(got, fmt.Sprintf("%d: %v", e.Attr, e.Err))
		}
		if strings.Join(got, "\n") != one.want {
			t.Errorf("%s: %s", one.fields, strings.Join(got, "\n"))
		}
	}
}
