package window

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/state"
)

// Items implements state.Lister: the rows in the window, in order.
func (k *Retained) Items(visit func(state.Item)) bool {
	q := k.queue
	for n := q.head; n < q.tail; n++ {
		r := q.Row(n, Current)
		visit(state.Item{
			Key: rowKey(n), Entry: blockKey(nil, n>>q.shift<<q.shift),
			Value: appendRow(nil, r.B, int(r.I), q.used),
		})
	}
	return true
}

// Item implements state.Lister.
func (k *Retained) Item(key string, _ []byte) (json.RawMessage, bool) {
	n, ok := rowNumber(key)
	if !ok || n < k.queue.head || n >= k.queue.tail {
		return nil, false
	}
	r := k.queue.Row(n, Current)
	return appendRow(nil, r.B, int(r.I), k.queue.used), true
}

const rowPrefix = "row "

func rowKey(number uint64) string { return rowPrefix + strconv.FormatUint(number, 10) }

func rowNumber(key string) (uint64, bool) {
	digits, ok := strings.CutPrefix(key, rowPrefix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil
}

// appendRow writes a row with the attributes that are kept.
func appendRow(dst []byte, b *event.Batch, i int, used []int) []byte {
	dst = strconv.AppendInt(append(dst, `{"ts":`...), b.TS[i], 10)
	dst = append(dst, `,"data":{`...)
	for n, c := range used {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, quoted(b.Schema.Attrs[c].Name)...), ':')
		dst = rowjson.AppendValue(dst, &b.Cols[c], i)
	}
	return append(dst, "}}"...)
}

func quoted(s string) []byte {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("window: a text has no JSON: %v", err))
	}
	return text
}

// Items implements state.Lister: the rows in their order.
func (w *sorted) Items(visit func(state.Item)) bool {
	for n, at := range w.order {
		visit(state.Item{Key: rowKey(uint64(n)), Entry: blockKey(nil, uint64(at/seatsPerBlock*seatsPerBlock)), Value: w.appendItem(n)})
	}
	return true
}

// Item implements state.Lister: the row at that position of the order.
func (w *sorted) Item(key string, _ []byte) (json.RawMessage, bool) {
	n, ok := rowNumber(key)
	if !ok || n >= uint64(len(w.order)) {
		return nil, false
	}
	return w.appendItem(int(n)), true
}

func (w *sorted) appendItem(n int) []byte {
	return appendRow(nil, w.pool.rows, int(w.seats[w.order[n]].place), w.pool.used)
}

// Items implements state.Lister: the sessions of each key.
func (w *sessions) Items(visit func(state.Item)) bool {
	for _, k := range w.all {
		name := state.ItemName(k.name)
		switch {
		case w.key < 0:
			name = "all"
		case k.null:
			name = "null"
		}
		visit(state.Item{Key: name, Entry: k.state(nil), Value: w.appendKey(k)})
	}
	return true
}

// Item implements state.Lister.
func (w *sessions) Item(_ string, entry []byte) (json.RawMessage, bool) {
	k := w.keyOfState(entry)
	if k == nil || k.now == nil && k.previous == nil {
		return nil, false
	}
	return w.appendKey(k), true
}

func (w *sessions) appendKey(k *sessionKey) []byte {
	value := []byte{'{'}
	for _, s := range []*session{k.previous, k.now} {
		if s == nil {
			continue
		}
		if len(value) > 1 {
			value = append(value, ',')
		}
		if s == k.now {
			value = append(value, `"now":`...)
		} else {
			value = append(value, `"previous":`...)
		}
		value = w.appendItem(value, s)
	}
	return append(value, '}')
}

// eachRow calls visit with the places of a session's rows, in the order of their expiry.
func (s *session) eachRow(visit func(place int32)) {
	for _, r := range s.merged {
		for _, place := range r.rows {
			visit(place)
		}
	}
	for _, place := range s.onTime.rows {
		visit(place)
	}
}

func (w *sessions) appendItem(dst []byte, s *session) []byte {
	dst = fmt.Appendf(dst, `{"start":%d,"end":%d,"rows":[`, s.start, s.end)
	first := true
	s.eachRow(func(place int32) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendRow(dst, w.pool.rows, int(place), w.pool.used)
	})
	return append(dst, "]}"...)
}
