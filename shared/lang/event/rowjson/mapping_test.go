package rowjson

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

var mapped = &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "user", Type: event.String}, {Name: "amount", Type: event.Double}}}

func paths(t *testing.T, texts ...string) (list []Path) {
	t.Helper()
	for _, text := range texts {
		p, err := ParsePath(text)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
	return list
}

// rowsOf decodes a message and returns the rows, then what is refused.
func rowsOf(s *event.Schema, m Mapping, payload string) string {
	b := event.NewBatch(s)
	d := NewMapped(s, m)
	_, refused := d.Rows(b, []byte(payload), 1)
	var out []string
	for i := range b.Len() {
		out = append(out, string(AppendArray(nil, b, i)))
	}
	for _, r := range refused {
		out = append(out, fmt.Sprintf("%d[%s] %v", r.Index, payload[r.Start:r.End], r.Err))
	}
	if n := d.Ignored(); n > 0 {
		out = append(out, fmt.Sprintf("ignored %d", n))
	}
	return strings.Join(out, " | ")
}

func TestMappings(t *testing.T) {
	inside := Mapping{Attrs: paths(t, "$.payload.user", "payload.items[1].amount")}
	optional := inside
	optional.Optional = true
	orders := Mapping{Rows: paths(t, "$.orders")[0]}
	for _, one := range []struct {
		name    string
		m       Mapping
		payload string
		want    string
	}{
		{"other members are ignored, and counted", Mapping{}, `{"user":"a","x":{"y":[1]},"amount":1}`, `["a",1] | ignored 1`},
		{"strict", Mapping{Strict: true}, `{"user":"a","x":1,"amount":1}`, `0[{"user":"a","x":1,"amount":1}] unknown attribute "x"`},
		{"a slip of the pen", Mapping{}, `{"user":"a","amuont":1}`, `0[{"user":"a","amuont":1}] unknown attribute "amuont" (did you mean "amount"?)`},
		{"missing", Mapping{}, `{"user":"a","x":1}`, `0[{"user":"a","x":1}] missing attribute "amount": expected double; write null where there is no value`},
		{"missing is null", Mapping{Optional: true}, `{"amount":2} {"user":"a","amount":3} {}`, `[null,2] | ["a",3] | [null,null]`},
		{"twice", Mapping{}, `{"user":"a","amount":1,"user":"b"}`, `0[{"user":"a","amount":1,"user":"b"}] duplicate attribute "user"`},
		{"nested", inside, `{"payload":{"items":[{"amount":1},{"amount":2,"x":3}],"user":"a","z":null}}`, `["a",2]`},
		{"nested, several rows", inside, `[{"payload":{"user":"a","items":[0,{"amount":1}]}},{"payload":{"user":"b","items":[]}}]`, `["a",1] | 1[{"payload":{"user":"b","items":[]}}] missing attribute "amount ($.payload.items[1].amount)": expected double; write null where there is no value`},
		{"nested and missing", optional, `{"payload":{"user":"b","items":7}}{"payload":null}{}`, `["b",null] | [null,null] | [null,null]`},
		{"nested of a wrong type", inside, `{"payload":{"user":5,"items":[0,{"amount":1}]}}`, `0[{"payload":{"user":5,"items":[0,{"amount":1}]}}] user: expected string, found number 5`},
		{"a value for two attributes", Mapping{Attrs: paths(t, "$.a", "$.a")}, `{"a":null}`, `[null,null]`},
		{"enclosed rows", orders, `{"n":2,"orders":[{"user":"a","amount":1},{"user":"b"},{"user":"c","amount":3}]} `, `["a",1] | ["c",3] | 1[{"user":"b"}] missing attribute "amount": expected double; write null where there is no value`},
		{"an enclosed row", orders, ` {"orders":{"user":"a","amount":1}}`, `["a",1]`},
		{"nothing enclosed", orders, `{"order":{"user":"a","amount":1}}`, `0[{"order":{"user":"a","amount":1}}] no event in the message: expected events at $.orders`},
		{"enclosed in no JSON", orders, `{"orders":[`, `0[{"orders":[] not JSON: unexpected EOF`},
		{"no row at all", inside, `5`, `0[5] expected an object, found number 5`},
	} {
		if got := rowsOf(mapped, one.m, one.payload); got != one.want {
			t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
		}
	}
	whole := &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "all", Type: event.Object}, {Name: "id", Type: event.Int}}}
	if got, want := rowsOf(whole, Mapping{Attrs: paths(t, "$", "$['the id'][0]")}, `{"the id":[7]}`), `[{"the id":[7]},7]`; got != want {
		t.Errorf("the whole and a part: got %s, want %s", got, want)
	}
}

func TestPaths(t *testing.T) {
	for text, want := range map[string]string{
		"$": "$", "a": "$.a", "$.a.b[0][1].c": "$.a.b[0][1].c", "$['x y'].z": "$['x y'].z", `["a"]`: "$.a", "[3].a": "$[3].a",
		"$.": "name of a member is missing", "$..a": "searches all levels", "$.a[*]": "number of an element", "$.*": "many values",
		"$.a[": "number of an element", "$a": "expected `.name`", "$.a['b": "expected ['name']", "$.a[-1]": "number of an element", "$[99999999999]": "number of an element",
	} {
		p, err := ParsePath(text)
		if got := p.String(); err == nil && got != want || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %s, %v; want %s", text, got, err, want)
		}
	}
}

// FuzzMapped: no message makes a mapping panic, or leaves columns of different lengths.
func FuzzMapped(f *testing.F) {
	f.Add([]byte(`{"orders":[{"payload":{"user":"a","items":[0,{"amount":1}]}}]}`))
	f.Add([]byte(`[{"a":{"a":"a"}}]`))
	f.Add([]byte(`{"payload":{"user":"a","x":[-1.5e3,true,false,null,{"y":"z"},[]],"items":[{},{"amount":0.5}]},"user":null,"amount":1,"more":{}}`))
	f.Add([]byte(`{"amount":01,"user":"\u0041"} {"user":"a","amount":1,"user":"b"}`))
	all := []Mapping{
		{},
		{Optional: true},
		{Rows: Path{{Member: "orders"}}},
		{Optional: true, Rows: Path{{Member: "orders"}}, Attrs: []Path{{{Member: "payload"}, {Member: "user"}}, {{Member: "payload"}, {Member: "items"}, {Index: 1}, {Member: "amount"}}}},
		{Attrs: []Path{{{Member: "a"}}, {{Member: "a"}, {Member: "a"}}}},
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, m := range all {
			b, other := event.NewBatch(mapped), event.NewBatch(mapped)
			d, library := NewMapped(mapped, m), NewMapped(mapped, m)
			library.slow = true
			n, refused := d.Rows(b, payload, 1)
			if k, refusedToo := library.Rows(other, payload, 1); k != n || !reflect.DeepEqual(refused, refusedToo) || !same(b, other) || d.Ignored() != library.Ignored() {
				t.Fatalf("%q with %+v\nfast:    %d %s %v, ignored %d\nlibrary: %d %s %v, ignored %d", payload, m, n, text(b), refused, d.Ignored(), k, text(other), refusedToo, library.Ignored())
			}
			for i := range b.Cols {
				if b.Cols[i].Len() != n || b.Len() != n {
					t.Fatalf("%d rows, and column %d has %d", n, i, b.Cols[i].Len())
				}
			}
			for _, r := range refused {
				_ = payload[r.Start:r.End]
			}
		}
	})
}
