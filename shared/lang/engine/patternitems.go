package engine

import (
	"encoding/json"
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/pattern"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// patternUnit is a matcher that can be read by people: which events a partial match has so
// far, what it waits for, and until when.
type patternUnit struct {
	*pattern.Matcher
	x *patternQuery
}

// Items implements state.Lister.
func (u patternUnit) Items(visit func(state.Item)) bool {
	u.Each(func(m pattern.Match) {
		visit(state.Item{Key: strconv.FormatUint(m.Number(), 10), Entry: m.Key(), Value: u.x.show(m)})
	})
	return true
}

// Item implements state.Lister.
func (u patternUnit) Item(_ string, entry []byte) (json.RawMessage, bool) {
	number, ok := pattern.Number(entry)
	if !ok {
		return nil, false
	}
	m, ok := u.Find(number)
	if !ok {
		return nil, false
	}
	return u.x.show(m), true
}

// show writes a partial match as JSON.
func (x *patternQuery) show(m pattern.Match) json.RawMessage {
	p := x.q.plan.Pattern
	dst := []byte(`{"events":{`)
	first, last := m.Waits()
	n := 0
	for s := range p.Steps[:last+1] {
		for _, i := range p.Steps[s].Items {
			events := m.Events(i)
			if len(events) == 0 {
				continue
			}
			if n++; n > 1 {
				dst = append(dst, ',')
			}
			name := p.Items[i].Name
			if name == "" {
				name = p.Items[i].Stream.Name
			}
			dst = append(append(dst, asJSON(name)...), ':', '[')
			for k, e := range events {
				if k > 0 {
					dst = append(dst, ',')
				}
				dst = x.showEvent(dst, i, e)
			}
			dst = append(dst, ']')
		}
	}
	dst = append(dst, `},"waits_for":[`...)
	for s := first; s <= last; s++ {
		if s > first {
			dst = append(dst, ',')
		}
		dst = append(dst, asJSON(awaited(p, m, s))...)
	}
	dst = append(dst, ']')
	if at, ok := m.Until(); ok {
		dst = strconv.AppendInt(append(dst, `,"until":`...), at, 10)
	}
	return append(dst, '}')
}

// awaited is what a match waits for at a step: of a pair, what has not come yet.
func awaited(p *siddhiql.Pattern, m pattern.Match, s int) string {
	step := &p.Steps[s]
	if len(step.Items) == 2 && m.Open(0) != m.Open(1) {
		if m.Open(0) {
			return p.Items[step.Items[0]].Text
		}
		return p.Items[step.Items[1]].Text
	}
	return step.Text
}

func (x *patternQuery) showEvent(dst []byte, item int, e pattern.Kept) []byte {
	dst = strconv.AppendInt(append(dst, `{"ts":`...), e.TS, 10)
	for _, a := range x.machine.Items[item].Used {
		dst = append(append(append(dst, ','), asJSON(e.Row.Schema.Attrs[a].Name)...), ':')
		dst = rowjson.AppendValue(dst, &e.Row.Cols[a], 0)
	}
	return append(dst, '}')
}
