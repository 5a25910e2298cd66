package rowproto

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// targeted returns a target for attributes as mapped reads them, and a decoder of its messages.
// An attribute of never is never null.
func targeted(t testing.TB, file, message, attributes, never string) (*Target, *Decoder, []SinkError) {
	t.Helper()
	descriptors, files := read(t, file)
	var s event.Schema
	var m Mapping
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
	target, errs := NewTarget(files.Message(message), &s, &m, nullable)
	if errs != nil {
		return nil, nil, errs
	}
	return target, mapped(t, descriptors, message, attributes), nil
}

// fill appends a random row.
func fill(t *rapid.T, b *event.Batch) {
	for i := range b.Cols {
		c := &b.Cols[i]
		switch {
		case rapid.IntRange(0, 3).Draw(t, "null") == 0:
			c.AppendNull()
		case c.Type == event.Bool:
			c.AppendBool(rapid.Bool().Draw(t, "bool"))
		case c.Type == event.Int:
			c.AppendInt(int64(rapid.Int32().Draw(t, "int")))
		case b.Schema.Attrs[i].Name == "created":
			c.AppendInt(rapid.Int64Range(-62135596800000, 253402300799999).Draw(t, "time"))
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
}

// TestWrittenRowsAreReadBack: a row that is written and read again is the same row, except that
// the null of a field without presence becomes its default. Other readers find no unknown fields.
func TestWrittenRowsAreReadBack(t *testing.T) {
	for _, one := range []struct{ file, message, attributes string }{
		{"testdata/every.desc", "every.All", "a_bool bool, a_int32 int, a_sint32 int, a_sfixed32 int, a_int64 long, a_sint64 long inside.a_sint64, a_sfixed64 long, " +
			"a_float float, a_double double, a_string string, deep string inside.inside.a_string, more int inside.inside.a_int32, left string"},
		{"../../../../docs/examples/order.desc", "shop.Order", "id string, customer string customer.name, city string customer.address.city, zone long customer.address.zone, " +
			"total double, items int, status int, created long, account string transfer.account"},
	} {
		target, decoder, errs := targeted(t, one.file, one.message, one.attributes, "")
		if errs != nil {
			t.Fatal(errs)
		}
		_, files := read(t, one.file)
		rapid.Check(t, func(t *rapid.T) {
			b, got := event.NewBatch(decoder.schema), event.NewBatch(decoder.schema)
			fill(t, b)
			payload := target.Append([]byte("kept"), b, 0)[4:]
			if again := target.Append(nil, b, 0); !bytes.Equal(payload, again) {
				t.Fatalf("%x and then %x", payload, again)
			}
			m := dynamicpb.NewMessage(files.Message(one.message))
			if err := proto.Unmarshal(payload, m); err != nil || len(m.GetUnknown()) > 0 {
				t.Fatalf("%v, unknown %x", err, m.GetUnknown())
			}
			if n, refused := decoder.Rows(got, payload, 1); n != 1 {
				t.Fatal(refused[0].Err)
			}
			for i := range b.Cols {
				c := &b.Cols[i]
				want, have := string(rowjson.AppendValue(nil, c, 0)), string(rowjson.AppendValue(nil, &got.Cols[i], 0))
				unmarked := c.IsNull(0) && (have == "0" || have == `""` || have == "false") && one.message == "shop.Order"
				if want != have && !unmarked {
					t.Fatalf("%s: wrote %s, read %s", decoder.schema.Attrs[i].Name, want, have)
				}
			}
		})
	}
}

// TestSinksAreChecked: a message that cannot hold every row is refused.
func TestSinksAreChecked(t *testing.T) {
	const every = "testdata/every.desc"
	for _, one := range []struct{ message, attributes, never, want string }{
		{"every.All", "a_uint32 int", "", "0: field every.All.a_uint32 is uint32, which has no negative numbers, and an attribute can be negative: expected int32 or int64 in the message"},
		{"every.All", "a_int32 long", "", "0: field every.All.a_int32 is int32, which does not hold every value of the attribute, a long: expected an attribute of type int, or another field"},
		{"every.All", "a_bytes string", "", "0: field every.All.a_bytes is bytes, and not every text is base64: expected a string in the message"},
		{"every.All", "a_color int", "", "0: field every.All.a_color is an enum every.Color, and not every number or text is one of its values: expected int32 or string in the message"},
		{"every.All", "x string legacy.x", "", "0: field every.All.legacy is a group: a group is only read"},
		{"every.All", "left string, right long", "", "1: only one of the fields left and right of oneof choice can be set: expected fields outside of it"},
		{"every.All", "a_string string, b string a_string", "", "1: another attribute fills field every.All.a_string: expected a field for each"},
		{"every.All", "inside string", "", "0: field every.All.inside is a message every.All, and no attribute: expected the path of one of its fields, such as inside.a_bool"},
		{"every.All", "list int", "", "0: field every.All.list is repeated: an attribute is one value"},
		{"every.Needs", "n int", "", "0: field every.Needs.n is required, and the row may be null there: expected an optional field, or `default(…)` in each query"},
		{"every.Needs", "n int", "n", ""},
	} {
		_, _, errs := targeted(t, every, one.message, one.attributes, one.never)
		var got []string
		for _, e := range errs {
			got = append(got, fmt.Sprintf("%d: %v", e.Attr, e.Err))
		}
		if strings.Join(got, "\n") != one.want {
			t.Errorf("%s: %s", one.attributes, strings.Join(got, "\n"))
		}
	}
}

// Writing a row allocates nothing.
func TestWritingAllocatesNothing(t *testing.T) {
	target, decoder, errs := targeted(t, "../../../../docs/examples/order.desc", "shop.Order", "id string, city string customer.address.city, total double, created long", "")
	if errs != nil {
		t.Fatal(errs)
	}
	b := event.NewBatch(decoder.schema)
	decoder.Rows(b, []byte{0x0a, 1, 'x', 0x32, 2, 0x08, 5}, 1)
	dst := make([]byte, 0, 1000)
	if n := testing.AllocsPerRun(100, func() { target.Append(dst, b, 0) }); n != 0 || b.Len() != 1 {
		t.Errorf("%v allocations, %d rows", n, b.Len())
	}
}
