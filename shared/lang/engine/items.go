package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// Items and Item show the state of components to people; see state.Lister. In a partition,
// the name of an item starts with the partition key.

func (s *memory) itemKey(key string) string {
	switch {
	case s.home == nil && key == "":
		return "all"
	case s.home == nil:
		return key
	case key == "":
		return state.ItemName(s.home.key)
	}
	return state.ItemName(s.home.key) + "/" + key
}

// Items implements state.Lister, if the unit does.
func (c unitSource) Items(visit func(state.Item)) bool {
	told := true
	c.q.each(func(s *memory) {
		l, ok := s.unit(c.part).(state.Lister)
		if !ok {
			told = false
			return
		}
		told = l.Items(func(i state.Item) {
			i.Key, i.Entry = s.itemKey(i.Key), append(s.prefix(nil), i.Entry...)
			visit(i)
		}) && told
	})
	return told
}

// Item implements state.Lister.
func (c unitSource) Item(key string, entry []byte) (json.RawMessage, bool) {
	s, entry := c.q.locate(entry)
	if s == nil {
		return nil, false
	}
	l, ok := s.unit(c.part).(state.Lister)
	if !ok {
		return nil, false
	}
	if s.home != nil {
		key = strings.TrimPrefix(strings.TrimPrefix(key, state.ItemName(s.home.key)), "/")
	}
	return l.Item(key, entry)
}

// Items implements state.Lister: the groups, in the order of their entries.
func (c aggregateSource) Items(visit func(state.Item)) bool {
	names := c.q.aggregateNames()
	c.q.each(func(s *memory) {
		if s.groups == nil {
			visit(state.Item{Key: s.itemKey(""), Entry: append(s.prefix(nil), ungrouped...), Value: s.appendGroup(nil, names, 0, -1)})
			return
		}
		var keys [][]byte
		s.groups.each(func(_ int, key []byte) { keys = append(keys, bytes.Clone(key)) })
		slices.SortFunc(keys, bytes.Compare)
		for _, key := range keys {
			slot, _ := s.groups.find(key)
			visit(state.Item{
				Key: s.itemKey(s.groupName(key)), Entry: append(s.prefix(nil), key...),
				Value: s.appendGroup(nil, names, slot, s.groups.slots[slot].rows),
			})
		}
	})
	return true
}

// Item implements state.Lister.
func (c aggregateSource) Item(_ string, entry []byte) (json.RawMessage, bool) {
	s, key := c.q.locate(entry)
	switch {
	case s == nil:
		return nil, false
	case s.groups == nil:
		return s.appendGroup(nil, c.q.aggregateNames(), 0, -1), string(key) == ungrouped
	}
	slot, ok := s.groups.find(key)
	if !ok || s.groups.slots[slot].rows == 0 {
		return nil, false
	}
	return s.appendGroup(nil, c.q.aggregateNames(), slot, s.groups.slots[slot].rows), true
}

// aggregateNames names the aggregators after the attributes that they are selected as.
func (q *query) aggregateNames() []string {
	names := make([]string, len(q.plan.Aggs))
	taken := map[string]bool{}
	for i, x := range q.plan.Select {
		if a, ok := x.(*siddhiql.AggResult); ok && names[a.Index] == "" {
			names[a.Index] = q.plan.Output.Attrs[i].Name
			taken[names[a.Index]] = true
		}
	}
	for i, a := range q.plan.Aggs {
		if names[i] == "" { // it is a part of an expression
			names[i] = a.Name + "()"
			if taken[names[i]] {
				names[i] = fmt.Sprintf("%s()#%d", a.Name, i+1)
			}
			taken[names[i]] = true
		}
	}
	return names
}

// appendGroup writes the aggregates of a group, and its number of rows unless that is
// negative.
func (s *memory) appendGroup(dst []byte, names []string, slot int, rows int64) []byte {
	dst = append(dst, '{')
	if rows >= 0 {
		dst = strconv.AppendInt(append(dst, `"rows":`...), rows, 10)
		dst = append(dst, ',')
	}
	dst = append(dst, `"values":{`...)
	for i, a := range s.aggs {
		if i > 0 {
			dst = append(dst, ',')
		}
		var v event.Value
		a.Result(slot, &v)
		dst = append(append(dst, asJSON(names[i])...), ':')
		dst = appendValue(dst, s.q.plan.Aggs[i].Type, &v)
	}
	return append(dst, "}}"...)
}

func appendValue(dst []byte, t event.Type, v *event.Value) []byte {
	c := event.Column{Type: t}
	switch {
	case v.Null:
		c.AppendNull()
	case t.Class() == event.Reals:
		c.AppendFloat(v.Real)
	case t.Class() == event.Texts:
		c.AppendText(v.Text)
	default:
		c.AppendInt(v.Int)
	}
	return rowjson.AppendValue(dst, &c, 0)
}

func asJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("engine: %T has no JSON: %v", v, err))
	}
	return data
}

// groupName writes the key of a group as the values of its attributes.
func (s *memory) groupName(key []byte) string {
	k, err := decodeGroupKey(key)
	if err != nil {
		return fmt.Sprintf("%x", key)
	}
	attrs := s.q.plan.In.Attrs
	by := s.q.plan.GroupBy
	switch {
	case k.kind == nullKey:
		return "null"
	case len(by) > 1:
		return namesOf(k.text, by, attrs)
	case k.kind == textKey:
		return state.ItemName(k.text)
	}
	t := attrs[by[0]].Holds()
	if t.Class() == event.Texts { // packed: its length in the highest byte
		text := binary.LittleEndian.AppendUint64(nil, k.word)
		return state.ItemName(string(text[:min(int(k.word>>56), event.ShortBytesMax)]))
	}
	return wordText(k.word, t)
}

func wordText(word uint64, t event.Type) string {
	c := event.Column{Type: t}
	if t.Class() == event.Reals {
		c.AppendFloat(math.Float64frombits(word))
	} else {
		c.AppendInt(int64(word))
	}
	return string(rowjson.AppendText(nil, &c, 0))
}

// namesOf reads what groups.encode wrote.
func namesOf(text string, by []int, attrs []event.Attr) string {
	var names []string
	r := wire.New([]byte(text))
	for _, a := range by {
		if r.Len() == 0 {
			break
		}
		there, t := r.Byte() != 0, attrs[a].Holds()
		switch {
		case !there:
			names = append(names, "null")
		case t.Class() == event.Texts:
			names = append(names, state.ItemName(string(r.Sized())))
		default:
			names = append(names, wordText(r.Uint64(), t))
		}
	}
	if r.Failed() {
		return fmt.Sprintf("%x", text)
	}
	return strings.Join(names, ",")
}

// Items implements state.Lister: the partition keys in order of arrival.
func (c keysSource) Items(visit func(state.Item)) bool {
	c.b.each(func(home *instance) {
		value := map[string]any{"place": home.place}
		if home.dated {
			value["last"] = home.last
		}
		visit(state.Item{Key: state.ItemName(home.key), Entry: []byte(home.key), Value: asJSON(value)})
	})
	return true
}

// Item implements state.Lister.
func (c keysSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(c, key) }

// itemOf finds an item by listing all, where there are few or lookups are rare.
func itemOf(l interface{ Items(func(state.Item)) bool }, key string) (found json.RawMessage, ok bool) {
	l.Items(func(i state.Item) {
		if i.Key == key {
			found, ok = i.Value, true
		}
	})
	return found, ok
}

// clockSource is the clock, which can be read by people.
type clockSource struct {
	fieldsSource
	e *Engine
}

// Reset implements state.Source.
func (c clockSource) Reset() {
	c.fieldsSource.Reset()
	c.e.env.Now = window.NoTime
}

// Migrate implements state.Migrator. In version 1.0, 0 meant a clock that had not started.
func (c clockSource) Migrate(_ *semver.Version, key, value []byte) (newKey, newValue []byte, err error) {
	if len(value) == 0 || value[0] != 0 {
		return key, value, nil
	}
	now := int64(window.NoTime)
	begin := window.WriteFields(nil, func(f *window.Fields) { f.Int(&now) })
	return key, append(begin, value[1:]...), nil
}

// Items implements state.Lister.
func (c clockSource) Items(visit func(state.Item)) bool {
	visit(state.Item{Key: "clock", Entry: []byte(c.name), Value: fmt.Appendf(nil, `{"ms":%d,"dropped":%d,"chunks":%d}`, c.e.Clock(), c.e.env.Dropped, c.e.chunks)})
	return true
}

// Item implements state.Lister.
func (c clockSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(c, key) }

// stampSource is the largest arrival stamp, which can be read by people.
type stampSource struct {
	fieldsSource
	t *Task
}

// Items implements state.Lister.
func (c stampSource) Items(visit func(state.Item)) bool {
	visit(state.Item{Key: "stamp", Entry: []byte(c.name), Value: fmt.Appendf(nil, `{"ms":%d}`, c.t.stamp)})
	return true
}

// Item implements state.Lister.
func (c stampSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(c, key) }

// Items implements state.Lister: the newest frame of each writer.
func (c writersSource) Items(visit func(state.Item)) bool {
	for _, e := range c.chain.Entries(nil) {
		visit(state.Item{Key: fmt.Sprintf("%016x", e.Writer), Entry: writerKey(e), Value: asJSON(struct {
			Frame    uint64 `json:"frame"`
			CRC      string `json:"crc"`
			Sequence uint64 `json:"sequence"`
		}{e.Number, fmt.Sprintf("%08x", e.CRC), e.Seq})})
	}
	return true
}

// Item implements state.Lister.
func (c writersSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(c, key) }

func writerKey(e frame.Entry) []byte { return binary.BigEndian.AppendUint64(nil, e.Writer) }

// Items implements state.Lister: the message ids, oldest first.
func (d *dedup) Items(visit func(state.Item)) bool {
	for n := d.head; n < d.tail; n++ {
		x := &d.blocks[n/dedupBlock-d.head/dedupBlock][n%dedupBlock]
		visit(state.Item{Key: x.id, Entry: dedupKey(n / dedupBlock * dedupBlock), Value: asJSON(map[string]int64{"ms": x.at})})
	}
	return true
}

// Item implements state.Lister.
func (d *dedup) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(d, key) }

// Items implements state.Lister: the newest result of each subject.
func (l *linkTracker) Items(visit func(state.Item)) bool {
	subjects := make([]string, 0, len(l.newest))
	for subject := range l.newest {
		subjects = append(subjects, subject)
	}
	slices.Sort(subjects)
	for _, subject := range subjects {
		visit(state.Item{Key: subject, Entry: []byte(subject), Value: asJSON(l.newest[subject].at.String())})
	}
	return true
}

// Item implements state.Lister.
func (l *linkTracker) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(l, key) }
