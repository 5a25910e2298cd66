package rowtext

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

var (
	orders = &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "user", Type: event.String}, {Name: "amount", Type: event.Double}}}
	every  = &event.Schema{Name: "S", Attrs: []event.Attr{
		{Name: "b", Type: event.Bool},
		{Name: "i", Type: event.Int},
		{Name: "l", Type: event.Long},
		{Name: "f", Type: event.Float},
		{Name: "d", Type: event.Double},
		{Name: "s", Type: event.String},
	}}
	line = &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "line", Type: event.String}}}
)

// rowsOf decodes a message and returns the rows, then what is refused.
func rowsOf(d *Decoder, payload string) string {
	b := event.NewBatch(d.schema)
	before := d.Ignored()
	n, refused := d.Rows(b, []byte(payload), 1)
	var out []string
	for i := range b.Len() {
		out = append(out, string(rowjson.AppendArray(nil, b, i)))
	}
	if n != b.Len() {
		out = append(out, fmt.Sprintf("%d accepted", n))
	}
	for _, r := range refused {
		out = append(out, fmt.Sprintf("%d[%s] %v", r.Index, payload[r.Start:r.End], r.Err))
	}
	if n := d.Ignored() - before; n > 0 {
		out = append(out, fmt.Sprintf("ignored %d", n))
	}
	return strings.Join(out, " | ")
}

func comma(c CSV) *Mapping {
	if c.Delimiter == 0 {
		c.Delimiter = ','
	}
	return &Mapping{CSV: &c}
}

func optional(m *Mapping) *Mapping {
	m.Optional = true
	return m
}

func TestCSV(t *testing.T) {
	for _, one := range []struct {
		name    string
		s       *event.Schema
		m       *Mapping
		payload string
		want    string
	}{
		{"in order", orders, comma(CSV{}), "a,1.5\r\n\r\n b ,-2e3\n", `["a",1.5] | [" b ",-2000]`},
		{"every type", every, comma(CSV{}), "true,-1,9007199254740993,0.1,0.1,x\nfalse,2.0,1e3,3,4,\"\"", `[true,-1,9007199254740993,0.1,0.1,"x"] | [false,2,1000,3,4,null]`},
		{"empty fields are null, in quotes or not", every, comma(CSV{}), `,,,,"",""`, `[null,null,null,null,null,null]`},
		{"quotes", orders, comma(CSV{}), "\"a, \"\"b\"\"\nc\",\"1\"", `["a, \"b\"\nc",1]`},
		{"delimiter", orders, comma(CSV{Delimiter: ';'}), "a,b;1", `["a,b",1]`},
		{"byte order mark", orders, comma(CSV{}), "\ufeffa,1", `["a",1]`},
		{"a wrong number among others", orders, comma(CSV{}), "a,1\nb,two\nc,3", `["a",1] | ["c",3] | 1[b,two] record 2: column 1 (amount): expected double, found "two"`},
		{"blanks are no part of a number", orders, comma(CSV{}), "a, 1", `0[a, 1] record 1: column 1 (amount): expected double, found " 1"`},
		{
			"numbers are those of JSON", every, comma(CSV{}), "true,01,1,1,1,\ntrue,+1,1,1,1,\ntrue,1,0x1,1,1,\ntrue,1,1,NaN,1,\ntrue,1,1,1,1_0,",
			`0[true,01,1,1,1,] record 1: column 1 (i): expected int, found "01" | 1[true,+1,1,1,1,] record 2: column 1 (i): expected int, found "+1" | ` +
				`2[true,1,0x1,1,1,] record 3: column 2 (l): expected long, found "0x1" | 3[true,1,1,NaN,1,] record 4: column 3 (f): expected float, found "NaN" | ` +
				`4[true,1,1,1,1_0,] record 5: column 4 (d): expected double, found "1_0"`,
		},
		{"ranges and fractions", every, comma(CSV{}), "true,2147483648,1,1,1,\ntrue,1,1.5,1,1,", `0[true,2147483648,1,1,1,] record 1: column 1 (i): expected int (-2147483648 to 2147483647), found "2147483648" | ` +
			`1[true,1,1.5,1,1,] record 2: column 2 (l): expected long, found "1.5"`},
		{"bools are true and false", every, comma(CSV{}), "TRUE,1,1,1,1,", `0[TRUE,1,1,1,1,] record 1: column 0 (b): expected bool, found "TRUE"`},
		{"invalid UTF-8", orders, comma(CSV{}), "\xff,1", "0[\xff,1] record 1: column 0 (user): expected UTF-8, found invalid bytes in \"\ufffd\""},
		{"too many and too few columns", orders, comma(CSV{}), "a,1,2\nb\nc,3", `["c",3] | 0[a,1,2] record 1: expected 2 columns separated by ',' for S(user string, amount double), found 3 | ` +
			`1[b] record 2: expected 2 columns separated by ',' for S(user string, amount double), found 1`},
		{"missing columns are null", orders, optional(comma(CSV{})), "a\na,1,2", `["a",null] | 1[a,1,2] record 2: expected 2 columns separated by ',' for S(user string, amount double), found 3`},
		{"a quote out of place", orders, comma(CSV{}), "a,1\nb\"c,2\nd,3", "[\"a\",1] | 1[b\"c,2\nd,3] record 2 is not CSV, and the rest of the message was not read: line 2, byte 2: a quote is missing or out of place; write a field that contains quotes in quotes, and its quotes twice"},
		{"an open quote", orders, comma(CSV{}), "a,1\n\"b,2\n", "[\"a\",1] | 1[\"b,2\n] record 2 is not CSV, and the rest of the message was not read: line 2, byte 6: a quote is missing or out of place; write a field that contains quotes in quotes, and its quotes twice"},
		{"nothing", orders, comma(CSV{}), "\n\n", "0[\n\n] no event in the message: expected CSV records"},
		{"numbered columns", orders, comma(CSV{Columns: []int{2, 0}}), "1,x,a\n2,x", `["a",1] | 1[2,x] record 2: column 2 (user): expected string, found a record whose last column is 1`},
		{"numbered and missing", orders, optional(comma(CSV{Columns: []int{2, 0}})), "1,x,a\n2,x", `["a",1] | [null,2]`},
		{"a column for two attributes", orders, comma(CSV{Columns: []int{0, 0}}), "7", `["7",7]`},
		{"header", orders, comma(CSV{Header: true}), "amount,x,user\n1,,a\n2,,b", `["a",1] | ["b",2] | ignored 2`},
		{"header without other columns", orders, comma(CSV{Header: true}), "\ufeffamount,user\n1,a\n2", `["a",1] | 1[2] record 2: column 1 (user): expected string, found a record whose last column is 0`},
		{"header without an attribute", orders, comma(CSV{Header: true}), "user,amuont\na,1", "0[user,amuont\na,1] header: amount: expected a column of this name, found \"user, amuont\""},
		{"header without an attribute, which is null", orders, optional(comma(CSV{Header: true})), "user\na", `["a",null]`},
		{"header with an attribute twice", orders, comma(CSV{Header: true}), "user,amount,user\na,1,b", "0[user,amount,user\na,1,b] header: duplicate attribute \"user\""},
		{"header alone", orders, comma(CSV{Header: true}), "user,amount\n", "0[user,amount\n] no event in the message: expected CSV records after a header"},
		{"header before numbered columns", orders, comma(CSV{Header: true, Columns: []int{1, 0}}), "sum,who\n1,a", `["a",1]`},
	} {
		d := New(one.s, one.m)
		for range 2 { // a message leaves nothing behind
			if got := rowsOf(d, one.payload); got != one.want {
				t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
			}
		}
	}
}

func TestText(t *testing.T) {
	parts := &Text{Regexes: []Regex{{"A", `(\w+) paid (\S*)`}}, Groups: []Group{{0, 1}, {0, 2}}}
	two := &Text{Regexes: []Regex{{"who", `by (\w+)|from (\w+)`}, {"sum", `[0-9.]+`}}, Groups: []Group{{0, 1}, {1, 0}}}
	for _, one := range []struct {
		name    string
		s       *event.Schema
		m       Mapping
		payload string
		want    string
	}{
		{"the whole text", line, Mapping{Text: &Text{}}, " a\n\"b\"\n", `[" a\n\"b\"\n"]`},
		{"nothing", line, Mapping{Text: &Text{}}, "", "0[] no event in the message: expected a text"},
		{"invalid UTF-8", line, Mapping{Text: &Text{}}, "a\xff", "0[a\xff] expected UTF-8, found invalid bytes in \"a\ufffd\""},
		{"groups", orders, Mapping{Text: parts}, "today ann paid 1.5 and bob paid 2", `["ann",1.5]`},
		{"an empty match is null", orders, Mapping{Text: parts}, "ann paid ", `["ann",null]`},
		{"a wrong number", orders, Mapping{Text: parts}, "ann paid much", `0[ann paid much] amount: expected double, found "much"`},
		{"no match", orders, Mapping{Text: parts}, "ann pays 1", `0[ann pays 1] user: expected a match of regex.A, found "ann pays 1"`},
		{"no match, and null", orders, Mapping{Optional: true, Text: parts}, "ann pays 1", `[null,null]`},
		{"several expressions", orders, Mapping{Text: two}, "7.5 by ann", `["ann",7.5]`},
		{"a group outside the match", orders, Mapping{Text: two}, "7.5 from ann", `0[7.5 from ann] user: expected a match of regex.who, found "7.5 from ann"`},
		{"a group outside the match, and null", orders, Mapping{Optional: true, Text: two}, "7.5 from ann", `[null,7.5]`},
	} {
		if got := rowsOf(New(one.s, &one.m), one.payload); got != one.want {
			t.Errorf("%s:\n got %s\nwant %s", one.name, got, one.want)
		}
	}
}

// TestManyRefused: a message of wrong records costs bounded memory.
func TestManyRefused(t *testing.T) {
	_, refused := New(orders, comma(CSV{})).Rows(event.NewBatch(orders), []byte(strings.Repeat("x\n", rowjson.RefusedMax+50)+"a,1"), 1)
	if len(refused) != rowjson.RefusedMax+1 {
		t.Fatalf("%d are refused", len(refused))
	}
	if got := refused[rowjson.RefusedMax].Err.Error(); !strings.Contains(got, "the rest was not read") {
		t.Error(got)
	}
}

// TestCheckedRows: a row that the check refuses leaves nothing in the batch.
func TestCheckedRows(t *testing.T) {
	d := New(orders, comma(CSV{}))
	d.Check(func(b *event.Batch) *rowjson.RowError {
		if b.Cols[1].Floats[b.Len()-1] < 0 {
			return &rowjson.RowError{Problem: rowjson.OutOfRange, Attr: "amount", Expected: "more", Found: "less"}
		}
		return nil
	})
	if got, want := rowsOf(d, "a,1\nb,-1\nc,2"), `["a",1] | ["c",2] | 1[b,-1] record 2: amount: expected more, found less`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzRows: no message makes a mapping panic, or leaves columns of different lengths, and a
// refused row is a part of the message.
func FuzzRows(f *testing.F) {
	for _, seed := range []string{"user,amount\na,1\n\"b\",2,3\n", "\ufeff\"a\"\"\n,1", "ann paid 1.5", "true,1,2,3,4,x\r\n\r\n,,,,,"} {
		f.Add([]byte(seed))
	}
	regexes := []Regex{{"A", `(\w+)\D*(\d*)`}}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, d := range []*Decoder{
			New(every, comma(CSV{})),
			New(orders, comma(CSV{Header: true})),
			New(orders, optional(comma(CSV{Columns: []int{3, 0}}))),
			New(line, &Mapping{Text: &Text{}}),
			New(orders, &Mapping{Text: &Text{Regexes: regexes, Groups: []Group{{0, 1}, {0, 2}}}}),
		} {
			b := event.NewBatch(d.schema)
			n, refused := d.Rows(b, payload, 1)
			for i := range b.Cols {
				if b.Cols[i].Len() != n || b.Len() != n {
					t.Fatalf("%d rows, and column %d has %d", n, i, b.Cols[i].Len())
				}
			}
			if n == 0 && len(refused) == 0 {
				t.Fatal("a message disappears")
			}
			for i, r := range refused {
				if _ = payload[r.Start:r.End]; i > 0 && r.Start < refused[i-1].End {
					t.Fatalf("refused rows overlap: %d and %d", refused[i-1].End, r.Start)
				}
			}
		}
	})
}
