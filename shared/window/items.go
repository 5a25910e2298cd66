package window

import (
	"encoding/json"
	"fmt"
	"strconv"

	"eventflux/shared/event"
	"eventflux/shared/event/rowjson"
	"eventflux/shared/state"
)

// Items implements state.Lister: the rows that are in the window, in their order.
func (k *Kept) Items(visit func(state.Item)) bool {
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

func rowKey(number uint64) string { return "row " + strconv.FormatUint(number, 10) }

// appendRow writes a row with those of its attributes that are kept.
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
	for n, place := range w.order {
		visit(state.Item{Key: rowKey(uint64(n)), Entry: []byte{keyFields}, Value: appendRow(nil, w.pool.rows, int(place), w.pool.used)})
	}
	return true
}

// Items implements state.Lister: the sessions of each key.
func (w *sessions) Items(visit func(state.Item)) bool {
	for _, k := range w.all {
		name := k.name
		switch {
		case w.key < 0:
			name = "all"
		case k.null:
			name = "null"
		}
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
		visit(state.Item{Key: name, Entry: k.state(nil), Value: append(value, '}')})
	}
	return true
}

func (w *sessions) appendItem(dst []byte, s *session) []byte {
	dst = fmt.Appendf(dst, `{"start":%d,"end":%d,"rows":[`, s.start, s.end)
	first := true
	for _, places := range [][]int32{s.merged, s.onTime} {
		for _, place := range places {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = appendRow(dst, w.pool.rows, int(place), w.pool.used)
		}
	}
	return append(dst, "]}"...)
}
