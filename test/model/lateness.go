package model

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// waiting is a chunk that waits for its time, the largest time of its events.
type waiting struct {
	stream *siddhiql.Stream
	events []Event
	time   int64
	came   int // its number in the order of arrival of chunks
}

// come receives a chunk of an app with lateness. If its time is before the clock, it is late.
// Otherwise it waits, and the clock moves to the input clock minus the lateness.
func (m *Model) come(s *siddhiql.Stream, events []Event) {
	time := int64(math.MinInt64)
	for _, e := range events {
		time = max(time, e.TS)
	}
	if time < m.clock {
		m.tooLate(s, events)
		return
	}
	m.came++
	m.waiting = append(m.waiting, waiting{s, events, time, m.came})
	m.pass(time)
}

// pass moves the input clock, and then the clock. Timers and events are handled in order of time;
// at equal times, timers go first, then events in order of arrival.
func (m *Model) pass(time int64) {
	m.input = max(m.input, time)
	target := max(m.clock, m.input-m.plan.Lateness)
	m.beginPatterns(target)
	for {
		next := m.nextWaiting(target)
		if next >= 0 && !m.begun { // the first event by time
			m.begin(max(m.clock, m.waiting[next].time))
		}
		until := target
		if next >= 0 {
			until = m.waiting[next].time
		}
		if t, ok := m.takeTimer(until); ok {
			m.clock = max(m.clock, t.due)
			t.fire()
			continue
		}
		if next < 0 {
			break
		}
		w := m.waiting[next]
		m.waiting = append(m.waiting[:next:next], m.waiting[next+1:]...)
		m.clock = max(m.clock, w.time)
		m.arrive(w.stream, w.events)
	}
	m.clock = target
}

// nextWaiting returns the index of the next chunk with a time up to target, or -1.
func (m *Model) nextWaiting(target int64) int {
	best := -1
	for i, w := range m.waiting {
		if w.time > target {
			continue
		}
		if best < 0 || w.time < m.waiting[best].time || w.time == m.waiting[best].time && w.came < m.waiting[best].came {
			best = i
		}
	}
	return best
}

// tooLate sends late events to the fault stream, if a query reads it.
func (m *Model) tooLate(s *siddhiql.Stream, events []Event) {
	if s.Fault == nil {
		return
	}
	m.begin(m.clock)
	var late []Event
	for _, e := range events {
		reason := fmt.Sprintf(`"late: the event's time %d is before the app's clock %d"`, e.TS, m.clock)
		late = append(late, Event{TS: e.TS, Values: append(append([]any{}, e.Values...), json.RawMessage(reason))})
	}
	m.arrive(s.Fault, late)
}
