package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

var schema = &event.Schema{Name: "T", Attrs: []event.Attr{
	{Name: "k", Type: event.String}, {Name: "n", Type: event.Long}, {Name: "x", Type: event.Double}, {Name: "b", Type: event.Bool},
}}

// kinds are the kinds of tables: by primary keys of one and of two attributes, and without.
var kinds = map[string]func() *Table{
	"key":       func() *Table { return New(schema, []int{0}, []int{1}) },
	"two":       func() *Table { return New(schema, []int{1, 0}, []int{2, 3}) },
	"insertion": func() *Table { return New(schema, nil, []int{0, 1}) },
}

func drawRow(t *rapid.T) []Value {
	null := func() bool { return rapid.IntRange(0, 9).Draw(t, "null") == 0 }
	return []Value{
		{Null: null(), Text: rapid.SampledFrom([]string{"", "a", "b", "a\x00", "\ue000", "😀", "long enough to be kept elsewhere"}).Draw(t, "k")},
		{Null: null(), Int: rapid.SampledFrom([]int64{-5, 0, 1, 2, 1 << 40}).Draw(t, "n")},
		{Null: null(), Real: rapid.SampledFrom([]float64{-1.5, 0, 2, 1e300}).Draw(t, "x")},
		{Null: null(), Int: int64(rapid.IntRange(0, 1).Draw(t, "b"))},
	}
}

// naive is a table as a list of rows.
type naive struct {
	key  []int
	rows [][]Value
}

func (m *naive) same(a, b []Value) bool {
	return !slices.ContainsFunc(m.key, func(k int) bool { return a[k] != b[k] })
}

func (m *naive) free(row []Value, but func(i int) bool) bool {
	if m.key == nil {
		return true
	}
	for _, k := range m.key {
		if row[k].Null {
			return false
		}
	}
	for i, r := range m.rows {
		if !but(i) && m.same(r, row) {
			return false
		}
	}
	return true
}

func (m *naive) sorted() [][]Value {
	rows := slices.Clone(m.rows)
	if m.key == nil {
		return rows
	}
	slices.SortStableFunc(rows, func(a, b []Value) int {
		for _, k := range m.key {
			x, y := a[k], b[k]
			if n := slices.Compare(utf16.Encode([]rune(x.Text)), utf16.Encode([]rune(y.Text))); n != 0 {
				return n
			}
			if x.Int != y.Int {
				return map[bool]int{true: -1, false: 1}[x.Int < y.Int]
			}
		}
		return 0
	})
	return rows
}

func rowOf(t *Table, slot int32) (row []Value) {
	for a := range t.cols {
		row = append(row, t.Value(slot, a))
	}
	return row
}

func clean(row []Value) []Value {
	row = slices.Clone(row)
	for i := range row {
		if row[i].Null {
			row[i] = Value{Null: true}
		}
	}
	return row
}

// compare checks all that a table says against the rows that it must have.
func compare(t *rapid.T, m *naive, got *Table) {
	want := m.sorted()
	var have [][]Value
	for _, slot := range got.Rows() {
		have = append(have, rowOf(got, slot))
	}
	if fmt.Sprint(have) != fmt.Sprint(want) || got.Len() != len(want) {
		t.Fatalf("rows\n%v, want\n%v", have, want)
	}
	for _, x := range got.indexes {
		for _, probe := range want {
			var rows [][]Value
			for _, slot := range got.ByIndex(x.attr, &probe[x.attr]) {
				rows = append(rows, rowOf(got, slot))
			}
			var right [][]Value
			for _, r := range want {
				if !r[x.attr].Null && r[x.attr] == probe[x.attr] {
					right = append(right, r)
				}
			}
			if fmt.Sprint(rows) != fmt.Sprint(right) {
				t.Fatalf("attribute %d is %v: found %v, want %v", x.attr, probe[x.attr], rows, right)
			}
		}
	}
	for _, r := range want {
		var key []Value
		for _, k := range m.key {
			key = append(key, r[k])
		}
		if slot, ok := got.ByKey(key); m.key != nil && (!ok || fmt.Sprint(rowOf(got, slot)) != fmt.Sprint(r)) {
			t.Fatalf("the row of key %v is not found", key)
		}
	}
}

// change changes a table at random, and what it must have then if that is not nil.
func change(t *rapid.T, got *Table, m *naive) {
	rows := got.Rows()
	var picked []int32
	var at []int
	for i, slot := range rows {
		if rapid.IntRange(0, 3).Draw(t, "pick") == 0 {
			picked, at = append(picked, slot), append(at, i)
		}
	}
	find := func(i int) int { // the i-th of the sorted rows, among m's
		want := m.sorted()[i]
		return slices.IndexFunc(m.rows, func(r []Value) bool { return &r[0] == &want[0] })
	}
	switch rapid.IntRange(0, 3).Draw(t, "what") {
	case 0, 1:
		row := drawRow(t)
		ok := got.Insert(row) == ""
		if m == nil {
			return
		}
		if row = clean(row); ok != m.free(row, func(int) bool { return false }) {
			t.Fatalf("insert %v: %v", row, ok)
		}
		if ok {
			m.rows = append(m.rows, row)
		}
	case 2:
		var going []int
		if m != nil {
			for _, i := range at {
				going = append(going, find(i))
			}
			kept := [][]Value{}
			for i, r := range m.rows {
				if !slices.Contains(going, i) {
					kept = append(kept, r)
				}
			}
			m.rows = kept
		}
		got.Delete(picked)
	case 3:
		attr, value := rapid.IntRange(0, 3).Draw(t, "attr"), drawRow(t)
		changes := make([][]Change, len(picked))
		for i := range changes {
			changes[i] = []Change{{attr, value[attr]}}
		}
		ok := got.Update(picked, changes) == ""
		if m == nil {
			return
		}
		update(t, m, at, find, attr, clean(value)[attr], ok)
	}
}

func update(t *rapid.T, m *naive, at []int, find func(int) int, attr int, value Value, ok bool) {
	next := &naive{key: m.key, rows: slices.Clone(m.rows)}
	var moved []int
	for _, i := range at {
		n := find(i)
		row := slices.Clone(m.rows[n])
		row[attr] = value
		next.rows[n] = row
		moved = append(moved, n)
	}
	right := true
	for _, n := range moved {
		right = right && (!slices.Contains(m.key, attr) || next.free(next.rows[n], func(i int) bool { return i == n }))
	}
	if ok != right {
		t.Fatalf("update of %v to %v: %v", moved, value, ok)
	}
	if ok {
		m.rows = next.rows
	}
}

// TestTablesAreRows: whatever is done to a table, it has the rows of a plain list.
func TestTablesAreRows(t *testing.T) {
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				got := make()
				m := &naive{key: got.key}
				for range rapid.IntRange(1, 40).Draw(t, "steps") {
					change(t, got, m)
					compare(t, m, got)
				}
			})
		})
	}
}

func TestLawsOfState(t *testing.T) {
	for name, make := range kinds {
		t.Run(name, func(t *testing.T) {
			statetest.Run(t, func() state.Source { return make() }, func(t *rapid.T, s state.Source) { change(t, s.(*Table), nil) })
		})
	}
}

// TestWrongEntries: entries that do not fit together are refused.
func TestWrongEntries(t *testing.T) {
	row := func(tab *Table, k string) []byte {
		_ = tab.Insert([]Value{{Text: k}, {Int: 1}, {}, {Int: 1}})
		value, _ := tab.Append(nil, tab.keyAt(0))
		return value
	}
	keyed, plain := kinds["key"](), kinds["insertion"]()
	one, two := row(keyed, "a"), row(plain, "a")
	id := []byte{0, 0, 0, 0, 0, 0, 0, 0}
	for _, c := range []struct {
		name    string
		table   string
		entries [][2][]byte
		want    string
	}{
		{"another key", "key", [][2][]byte{{[]byte("b\x00\x00"), one}}, "is not that of its entry"},
		{"twice", "key", [][2][]byte{{[]byte("a\x00\x00"), one}, {[]byte("a\x00\x00"), one}}, "the same primary key"},
		{"short", "key", [][2][]byte{{[]byte("a\x00\x00"), one[:3]}}, "expected 1 bytes, 0 are left"},
		{"long", "key", [][2][]byte{{[]byte("a\x00\x00"), append(slices.Clone(one), 0)}}, "1 bytes too many"},
		{"no number", "insertion", [][2][]byte{{[]byte("abc"), two}}, "no row number"},
		{"no next number", "insertion", [][2][]byte{{id, two}}, "the next one gets 0"},
		{"next number twice", "insertion", [][2][]byte{{[]byte("f"), {1}}, {[]byte("f"), {1}}}, "is there twice"},
		{"the same number", "insertion", [][2][]byte{{id, two}, {id, two}, {[]byte("f"), {1}}}, "two rows have the number 0"},
	} {
		tab := kinds[c.table]()
		tab.Reset()
		var err error
		for _, e := range c.entries {
			if err == nil {
				err = tab.Put(e[0], e[1])
			}
		}
		if err == nil {
			err = tab.Ready()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
