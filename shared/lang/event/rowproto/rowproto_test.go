package rowproto

import (
	"encoding/base64"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

func read(t testing.TB, file string) (string, *Files) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	files, err := ReadFiles(data)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), files
}

// attribute is `name type path`; the path may be missing.
func mapped(t testing.TB, descriptors, message, attributes string) *Decoder {
	t.Helper()
	s := &event.Schema{Name: "S"}
	m := &Mapping{Descriptors: descriptors, Message: message}
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
	before := d.Ignored()
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
	if d.Ignored() > before {
		out = append(out, "ignored")
	}
	return strings.Join(out, " | ")
}

const everyAttr = "a_bool bool, a_int32 int, a_sint32 int, a_sfixed32 long, a_uint32 long, a_fixed32 double, a_int64 long, a_sint64 long, a_sfixed64 long, " +
	"a_uint64 long, a_fixed64 long, a_float float, wide double a_float, a_double double, a_string string, a_bytes string, a_color string, number int a_color, " +
	"inner string inside.a_string, deep int inside.inside.a_sint32, old string legacy.x, left string, right long, both string both.d_string, " +
	"d_sint32 int, d_string string, d_color string, d_double double, d_bool bool, again string d_string"

func TestRows(t *testing.T) {
	every, everyFiles := read(t, "testdata/every.desc")
	order, orderFiles := read(t, "../../../../docs/examples/order.desc")
	const orderAttr = "id string, name string customer.name, city string customer.address.city, zone long customer.address.zone, total double, items int, status string, created long, account string transfer.account, sequence long"
	for _, one := range []struct {
		name, message, attributes, text, want string
	}{
		{
			"every kind", "every.All", everyAttr, `a_bool: true a_int32: -1 a_sint32: -2147483648 a_sfixed32: -5 a_uint32: 4294967295 a_fixed32: 4294967295 a_int64: -9223372036854775808
			a_sint64: -9 a_sfixed64: 9223372036854775807 a_uint64: 9223372036854775807 a_fixed64: 3 a_float: 0.1 a_double: 0.1 a_string: "ä" a_bytes: "\000\377" a_color: BLUE
			inside { a_string: "in" inside { a_sint32: 4 } } Legacy { x: "old" } list: [1, 2] pairs { key: "a" value: 1 } both {} d_string: "set" d_bool: false`,
			`[true,-1,-2147483648,-5,4294967295,4294967295,-9223372036854775808,-9,9223372036854775807,9223372036854775807,3,0.1,0.10000000149011612,0.1,"ä","AP8=","BLUE",5,` +
				`"in",4,"old",null,null,"none",-7,"set","BLUE",1.5,false,"set"]`,
		},
		{
			"nothing is set", "every.All", everyAttr, ``,
			`[` + strings.Repeat("null,", 24) + `-7,"none","BLUE",1.5,true,"none"]`,
		},
		{
			"an order", "shop.Order", orderAttr, `id: "o1" customer { name: "ann" address { city: "Bern" zone: -3 } } total: 2.5 items: 0 status: PAID created { seconds: 1 nanos: 999999999 } tags: "x" transfer { account: "77" } sequence: 8`,
			`["o1","ann","Bern",-3,2.5,0,"PAID",1999,"77",8]`,
		},
		{"zero where a message is, null where none is", "shop.Order", orderAttr, `customer {}`, `["","",null,null,0,null,"NEW",null,null,0]`},
		{"the start of a time", "shop.Order", "created long", `created {}`, `[0]`},
		{"before 1970", "shop.Order", "created long", `created { seconds: -1 nanos: 1000000 }`, `[-999]`},
		{"a time out of range", "shop.Order", "created long", `created { nanos: -1 }`, `created: expected a Timestamp of the years 1 to 9999, found 0 s and -1 ns`},
		{"a number that a long cannot hold", "shop.Order", "sequence long", `sequence: 9223372036854775808`, `sequence: expected long, found 9223372036854775808`},
		{"NaN", "shop.Order", "total double", `total: nan`, `total: expected a finite number, found NaN`},
		{"infinity", "every.All", "a_float float", `a_float: -inf`, `a_float: expected a finite number, found -Inf`},
		{"an enum's number without a name", "shop.Order", "status string", `status: 77`, `["77"]`},
		{"an alias is the first name", "every.All", "a_color string", `a_color: AZURE`, `["BLUE"]`},
		{"a negative enum", "every.All", "a_color string, n long a_color", `a_color: NONE`, `["NONE",-1]`},
		{"a required field", "every.Needs", "n int", ``, `n: expected int, found no value of a required field`},
		{"the JSON name of a field", "every.All", "x int aInt32", `a_int32: 5`, `[5]`},
	} {
		descriptors, files := every, everyFiles
		if strings.HasPrefix(one.message, "shop.") {
			descriptors, files = order, orderFiles
		}
		d := mapped(t, descriptors, one.message, one.attributes)
		m := dynamicpb.NewMessage(files.Message(one.message))
		if err := (prototext.UnmarshalOptions{AllowPartial: true}).Unmarshal([]byte(one.text), m); err != nil {
			t.Fatal(one.name, err)
		}
		payload, err := proto.MarshalOptions{AllowPartial: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // a message leaves nothing behind
			if got := rowOf(d, payload); got != one.want {
				t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
			}
		}
	}
}

// TestWire: payloads that only a hand can write.
func TestWire(t *testing.T) {
	every, _ := read(t, "testdata/every.desc")
	for _, one := range []struct{ name, payload, want string }{
		{"the last value counts", "\x10\x01\x10\x02", `[2,null,null,null,null]`},
		{"messages are merged", "\x8a\x01\x02\x10\x05\x8a\x01\x03\x72\x01a", `[null,5,"a",null,null]`},
		{"a later member of a oneof", "\xaa\x01\x01x\xb0\x01\x07", `[null,null,null,null,7]`},
		{"an earlier member of a oneof", "\xb0\x01\x07\xaa\x01\x01x", `[null,null,null,"x",null]`},
		{"another type on the wire is another field", "\x12\x01x", `[null,null,null,null,null]`},
		{"fields that the descriptor lacks", "\x82\x7d\x01a\x10\x01", `[1,null,null,null,null] | ignored`},
		{"not the end", "\x10\x01\x8a\x01\x05\x72\x01a", "not a message every.All: field inside at byte 4 of 8: unexpected EOF"},
		{"not the end of a string", "\x8a\x01\x03\x72\x05a", "not a message every.All: field a_string at byte 4 of 6: unexpected EOF"},
		{"not the end of a number", "\x10\xff", "not a message every.All: field a_int32 at byte 1 of 2: unexpected EOF"},
		{"JSON", `{"a_int32":1}`, "not a message every.All: field a_bytes at byte 1 of 13: unexpected EOF"},
		{"number 0", "\x00\x00", "not a message every.All: a field at byte 0 of 2: invalid field number"},
		{"a group without an end", "\x93\x01\x0a\x01a", "not a message every.All: field legacy at byte 2 of 5: unexpected EOF"},
		{"a group's end alone", "\x94\x01", "not a message every.All: field legacy at byte 2 of 2: mismatching end group marker"},
	} {
		d := mapped(t, every, "every.All", "a int a_int32, b int inside.a_int32, s string inside.a_string, left string, right long")
		if got := rowOf(d, []byte(one.payload)); got != one.want {
			t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
		}
	}
	d := mapped(t, every, "every.All", "a_string string")
	if got, want := rowOf(d, []byte("\x72\x01\xff")), `a_string: expected UTF-8, found invalid bytes in "`+"\ufffd"+`"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestPathsThatDoNotFit names what is wrong with a path.
func TestPathsThatDoNotFit(t *testing.T) {
	_, every := read(t, "testdata/every.desc")
	_, order := read(t, "../../../../docs/examples/order.desc")
	for _, one := range []struct{ message, path, kind, want string }{
		{"every.All", "a_uint32", "int", "field every.All.a_uint32 is uint32, and the attribute is int: expected long or double"},
		{"every.All", "a_string", "object", "field every.All.a_string is string, and the attribute is object: expected string"},
		{"every.All", "list", "int", "field every.All.list is repeated: an attribute is one value"},
		{"every.All", "list[0]", "int", "field every.All.list is repeated: an attribute is one value"},
		{"every.All", "pairs.key", "string", "field every.All.pairs is a map: an attribute is one value"},
		{"every.All", "inside", "string", "field every.All.inside is a message every.All, and no attribute: expected the path of one of its fields, such as inside.a_bool"},
		{"every.All", "a_string.x", "string", "field every.All.a_string is string, and has no fields"},
		{"every.All", "inside[0]", "string", "found $.inside[0]: a path leads through messages to one field, such as order.total"},
		{"every.All", "inside.x", "string", "message every.All has no field x"},
		{"every.All", "$", "string", "the path is empty: expected a field such as order.total"},
		{"shop.Order", "created", "string", "field shop.Order.created is a message google.protobuf.Timestamp, and the attribute is string: expected long"},
		{"shop.Order", "status", "bool", "field shop.Order.status is an enum shop.Status, and the attribute is bool: expected string or int or long"},
	} {
		files := every
		if strings.HasPrefix(one.message, "shop") {
			files = order
		}
		path, err := rowjson.ParsePath(one.path)
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := event.ParseType(one.kind)
		if _, err := Resolve(files.Message(one.message), path, kind); err == nil || err.Error() != one.want {
			t.Errorf("%s as %s: %v, want %s", one.path, one.kind, err, one.want)
		}
	}
}

func TestDescriptorSetsThatAreWrong(t *testing.T) {
	order, _ := read(t, "../../../../docs/examples/order.desc")
	for name, one := range map[string]struct{ data, want string }{
		"a .proto file": {`syntax = "proto3";`, "no descriptor set"},
		"nothing":       {"", "no descriptor set"},
		"half of it":    {order[:len(order)/2], "no descriptor set"},
		"no imports":    {withoutImports(t, order), "google/protobuf/timestamp.proto"},
	} {
		if _, err := ReadFiles([]byte(one.data)); err == nil || !strings.Contains(err.Error(), one.want) || !strings.Contains(err.Error(), "protoc --include_imports") {
			t.Errorf("%s: %v, want %q", name, err, one.want)
		}
	}
}

// withoutImports returns only the last file of a descriptor set.
func withoutImports(t *testing.T, descriptors string) string {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal([]byte(descriptors), &set); err != nil {
		t.Fatal(err)
	}
	set.File = set.File[len(set.File)-1:]
	data, err := proto.Marshal(&set)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// FuzzRows: no payload makes a decoder panic or leaves columns of different lengths, and what
// the library reads, the decoder reads in the same way.
func FuzzRows(f *testing.F) {
	every, files := read(f, "testdata/every.desc")
	f.Add([]byte("\x10\x01\x8a\x01\x05\x72\x03abc\xaa\x01\x01x\xb0\x01\x07\x93\x01\x0a\x01a\x94\x01"))
	f.Add([]byte("\x08\x01\x18\x03\x25\x00\x00\x00\x01\x28\x01\x35\x00\x00\x00\x01\x6d\x00\x00\x80\x3f"))
	f.Add([]byte("\xc2\x3e\x04\x72\x02\x68\x69\xb8\x01\x0d\xc8\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x69\x00\x00\x00\x00\x00\x00\xf0\x3f"))
	d := mapped(f, every, "every.All", everyAttr)
	message := files.Message("every.All")
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
		m := dynamicpb.NewMessage(message)
		if err := proto.Unmarshal(payload, m); err != nil || n == 0 {
			return // the decoder does not look into messages without attributes
		}
		if got, want := string(rowjson.AppendArray(nil, b, 0)), expected(m, d); got != want {
			t.Fatalf("%x:\n got %s\nwant %s", payload, got, want)
		}
	})
}

// expected returns the row of a message as the library reads it.
func expected(m protoreflect.Message, d *Decoder) string {
	b := event.NewBatch(d.schema)
	for i, a := range d.schema.Attrs {
		c := &b.Cols[i]
		at := m
		fields, err := Resolve(m.Descriptor(), everyPath(i), a.Type)
		if err != nil {
			panic(err)
		}
		there := true
		for _, f := range fields[:len(fields)-1] {
			there = there && at.Has(f)
			at = at.Get(f).Message()
		}
		f := fields[len(fields)-1]
		if !there || f.HasPresence() && !f.HasDefault() && !at.Has(f) {
			c.AppendNull()
			continue
		}
		switch v := at.Get(f); x := v.Interface().(type) {
		case bool:
			c.AppendBool(x)
		case int32:
			whole(c, int64(x))
		case int64:
			whole(c, x)
		case uint32:
			whole(c, int64(x))
		case uint64:
			whole(c, int64(x))
		case float32:
			c.AppendFloat(float64(x))
		case float64:
			c.AppendFloat(x)
		case string:
			c.AppendText(x)
		case []byte:
			c.AppendText(base64.StdEncoding.EncodeToString(x))
		case protoreflect.EnumNumber:
			name := strconv.Itoa(int(x))
			if e := f.Enum().Values().ByNumber(x); e != nil {
				name = string(e.Name())
			}
			if c.Type == event.String {
				c.AppendText(name)
			} else {
				c.AppendInt(int64(x))
			}
		}
	}
	b.TS = append(b.TS, 1)
	return string(rowjson.AppendArray(nil, b, 0))
}

func whole(c *event.Column, n int64) {
	if c.Type == event.Double {
		c.AppendFloat(float64(n))
	} else {
		c.AppendInt(n)
	}
}

func everyPath(i int) rowjson.Path {
	words := strings.Fields(strings.Split(everyAttr, ",")[i])
	path, _ := rowjson.ParsePath(words[len(words)-1])
	if len(words) == 2 {
		path = rowjson.Path{{Member: words[0]}}
	}
	return path
}

// TestNoAllocations: a row that is accepted costs no memory.
func TestNoAllocations(t *testing.T) {
	d, payload := benchmarked(t)
	b := event.NewBatch(d.schema)
	if n := testing.AllocsPerRun(100, func() {
		b.Reset()
		d.Rows(b, payload, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRows(b *testing.B) {
	d, payload := benchmarked(b)
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

func benchmarked(t testing.TB) (*Decoder, []byte) {
	order, files := read(t, "../../../../docs/examples/order.desc")
	d := mapped(t, order, "shop.Order", "id string, name string customer.name, city string customer.address.city, total double, items int, sequence long")
	m := dynamicpb.NewMessage(files.Message("shop.Order"))
	if err := prototext.Unmarshal([]byte(`id: "order-1" customer { name: "ann" address { city: "Bern" } } total: 2.5 items: 3 tags: "a" sequence: 88`), m); err != nil {
		t.Fatal(err)
	}
	payload, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return d, payload
}
