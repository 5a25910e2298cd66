package rowjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// breakFastPath makes d read every object with the library.
func breakFastPath(d *Decoder) { d.slow = true }

// agree reads the payloads one after another in three ways, with a decoder as it
// is, with the library alone, and with encoding/json, and compares what they
// accept, what they refuse and the values.
func agree(t rapid.TB, s *event.Schema, payloads ...[]byte) {
	t.Helper()
	d, library := NewDecoder(s), NewDecoder(s)
	breakFastPath(library)
	b, other := event.NewBatch(s), event.NewBatch(s)
	for _, batch := range []*event.Batch{b, other} {
		for i := range batch.Cols {
			batch.Cols[i].AppendNull()
		}
		batch.TS = append(batch.TS, 0)
	}
	for _, payload := range payloads {
		before := b.Len()
		accepted, refused := d.Rows(b, payload, 7)
		n, refusedToo := library.Rows(other, payload, 7)
		if accepted != n || !reflect.DeepEqual(refused, refusedToo) {
			t.Fatalf("%q\nfast:    %d %v\nlibrary: %d %v", payload, accepted, refused, n, refusedToo)
		}
		if !same(b, other) {
			t.Fatalf("%q\nfast:    %s\nlibrary: %s", payload, text(b), text(other))
		}
		checkRefusals(t, payload, accepted, refused)
		compareWithReference(t, s, payload, b, before, refused)
		checkRoundTrip(t, b)
	}
}

func same(a, b *event.Batch) bool {
	if a.Len() != b.Len() {
		return false
	}
	for i := range a.Cols {
		if a.Cols[i].Len() != a.Len() || b.Cols[i].Len() != b.Len() || !reflect.DeepEqual(a.Cols[i].Nulls(), b.Cols[i].Nulls()) {
			return false
		}
	}
	return text(a) == text(b) && a.Bytes() == b.Bytes()
}

// checkRefusals holds for any payload: rows are numbered and lie in order.
func checkRefusals(t rapid.TB, payload []byte, accepted int, refused []Refused) {
	t.Helper()
	if accepted+len(refused) == 0 {
		t.Fatalf("%q: neither accepted nor refused", payload)
	}
	index, end := -1, 0
	for _, r := range refused {
		if r.Index <= index || r.Start < end || r.End < r.Start || r.End > len(payload) || r.Index >= accepted+len(refused) {
			t.Fatalf("%q: refusals out of order: %+v", payload, refused)
		}
		if text := r.Err.Error(); !utf8.ValidString(text) || len(text) > 1000 {
			t.Fatalf("%q: error %q", payload, text)
		}
		index, end = r.Index, r.End
	}
}

// checkRoundTrip writes b and reads it again.
func checkRoundTrip(t rapid.TB, b *event.Batch) {
	t.Helper()
	d, again := NewDecoder(b.Schema), event.NewBatch(b.Schema)
	var dst []byte
	for i := range b.Len() {
		dst = AppendObject(dst[:0], b, i)
		if !json.Valid(dst) {
			t.Fatalf("written: %q", dst)
		}
		if n, refused := d.Rows(again, dst, b.TS[i]); n != 1 {
			t.Fatalf("%q was written and is refused: %v", dst, refused)
		}
	}
	if !same(b, again) {
		t.Fatalf("written and read again:\n%s\n%s", text(b), text(again))
	}
}

// compareWithReference walks the payload with encoding/json, as far as that can
// follow: it stops at the first text that is no JSON.
func compareWithReference(t rapid.TB, s *event.Schema, payload []byte, b *event.Batch, row int, refused []Refused) {
	t.Helper()
	isRefused := map[int]bool{}
	for _, r := range refused {
		isRefused[r.Index] = true
	}
	dec := json.NewDecoder(bytes.NewReader(payload))
	inArray := bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("["))
	if inArray {
		if _, err := dec.Token(); err != nil {
			t.Fatal(err)
		}
	}
	for index := 0; ; index++ {
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if errors.Is(err, io.EOF) && !inArray {
			if row != b.Len() {
				t.Fatalf("%q: rows accepted beyond the end", payload)
			}
			return
		}
		if err != nil || depth(raw) > depthMax || !inArray && strings.IndexByte("-0123456789", raw[0]) >= 0 {
			if len(refused) == 0 && (err == nil || !inArray || dec.More()) {
				t.Fatalf("%q: encoding/json stops at row %d (%v), nothing is refused", payload, index, err)
			}
			return
		}
		want := referenceRow(s, raw)
		if (want == nil) != isRefused[index] {
			t.Fatalf("%q: row %d: reference has %v, refused %v", payload, index, want, refused)
		}
		if want == nil {
			continue
		}
		for i, cell := range want {
			if got := cellText(&b.Cols[i], row); got != cell {
				t.Fatalf("%q: row %d, %s: %s, reference has %s", payload, index, s.Attrs[i].Name, got, cell)
			}
		}
		row++
	}
}

func cellText(c *event.Column, i int) string {
	switch {
	case c.IsNull(i):
		return "null"
	case c.Type == event.Bool:
		return strconv.FormatBool(c.Ints[i] == 1)
	case c.Type.Class() == event.Integers:
		return strconv.FormatInt(c.Ints[i], 10)
	case c.Type.Class() == event.Reals:
		return strconv.FormatFloat(c.Floats[i], 'g', -1, 64)
	default:
		return strconv.Quote(c.Text(i))
	}
}
