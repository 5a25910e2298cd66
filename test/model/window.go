package model

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// keeper is a window, section 5. It turns an incoming chunk into outgoing chunks.
type keeper interface {
	add(chunk []item) [][]item
	// fire is called at a scheduled time, with the number that schedule returned.
	fire(due int64, seq int) [][]item
}

// environment is what a window can use of its query.
type environment struct {
	now          func() int64
	schedule     func(at int64) (seq int)
	again        func(at int64, seq int) // schedules the next firing of a periodic timer
	needsExpired bool                    // the query outputs expired or all events
}

func newWindow(w *siddhiql.Window, env *environment) keeper {
	p := w.Params
	switch w.Name {
	case "length":
		return &length{environment: env, n: p[0].Int}
	case "lengthBatch":
		return &lengthBatch{environment: env, n: p[0].Int, stream: len(p) > 1 && p[1].Int != 0}
	case "time":
		return &timeWindow{environment: env, period: p[0].Int}
	case "timeBatch":
		b := &timeBatch{environment: env, period: p[0].Int}
		for _, q := range p[1:] {
			if q.Type == event.Bool {
				b.stream = q.Int != 0
			} else {
				b.start = &q.Int
			}
		}
		return b
	case "externalTime":
		return &externalTime{attr: p[0].Attr, period: p[1].Int}
	case "externalTimeBatch":
		return newExternalTimeBatch(p, env)
	case "session":
		return newSession(p, env)
	case "sort":
		return newSort(p, env)
	default:
		panic(fmt.Sprintf("the model knows no window %q", w.Name))
	}
}

// one returns a list of the chunk, or an empty list if the chunk is empty.
func one(chunk []item) [][]item {
	if len(chunk) == 0 {
		return nil
	}
	return [][]item{chunk}
}

// expireAll returns the rows as expired, with timestamp ts.
func expireAll(rows []item, ts int64) []item {
	var out []item
	for _, r := range rows {
		out = append(out, r.as(expired, ts))
	}
	return out
}

// atOnce is a window of size zero: it emits, expires and resets each event (5).
func atOnce(x item, now int64) []item {
	return []item{x, x.as(expired, now), {kind: reset}}
}

// length is 5.1.
type length struct {
	*environment
	n    int64
	rows []item
}

func (w *length) add(chunk []item) [][]item {
	var out []item
	for _, x := range chunk {
		if w.n <= 0 {
			out = append(out, atOnce(x, w.now())...)
			continue
		}
		if int64(len(w.rows)) == w.n {
			out = append(out, w.rows[0].as(expired, w.now()))
			w.rows = w.rows[1:]
		}
		out = append(out, x)
		w.rows = append(w.rows, x)
	}
	return one(out)
}

func (w *length) fire(int64, int) [][]item { return nil }

// lengthBatch is 5.2.
type lengthBatch struct {
	*environment
	n        int64
	stream   bool   // streamCurrent
	batch    []item // being collected, or with stream: emitted and not yet expired
	previous []item
}

func (w *lengthBatch) add(chunk []item) [][]item {
	var chunks [][]item
	for _, x := range chunk {
		switch {
		case w.n <= 0:
			chunks = append(chunks, atOnce(x, w.now()))
		case w.stream:
			chunks = append(chunks, w.addStream(x))
		default:
			chunks = append(chunks, one(w.addBatch(x))...)
		}
	}
	return chunks
}

func (w *lengthBatch) addStream(x item) []item {
	var out []item
	if int64(len(w.batch)) == w.n {
		if w.needsExpired {
			out = expireAll(w.batch, w.now())
		}
		out = append(out, item{kind: reset})
		w.batch = nil
	}
	w.batch = append(w.batch, x)
	return append(out, x)
}

func (w *lengthBatch) addBatch(x item) []item {
	w.batch = append(w.batch, x)
	if int64(len(w.batch)) < w.n {
		return nil
	}
	var out []item
	if w.needsExpired {
		out = expireAll(w.previous, w.now())
	}
	out = append(out, item{kind: reset})
	out = append(out, w.batch...)
	w.previous, w.batch = w.batch, nil
	return out
}

func (w *lengthBatch) fire(int64, int) [][]item { return nil }

// timeWindow is 5.3.
type timeWindow struct {
	*environment
	period int64
	rows   []item // by own timestamp, then by arrival
}

func (w *timeWindow) add(chunk []item) [][]item {
	var out []item
	for _, x := range chunk {
		out = append(out, w.expire()...)
		out = append(out, x)
		w.keep(x)
	}
	return one(out)
}

// keep inserts a row after those of the same or an earlier time. A row with the time of the newest
// one needs no timer of its own.
func (w *timeWindow) keep(x item) {
	at := len(w.rows)
	for at > 0 && w.rows[at-1].ts > x.ts {
		at--
	}
	w.rows = slices.Insert(w.rows, at, x)
	if at == len(w.rows)-1 && at > 0 && w.rows[at-1].ts == x.ts {
		return
	}
	w.schedule(x.ts + w.period)
}

// fire does nothing if an event has already expired the timer's row.
func (w *timeWindow) fire(due int64, _ int) [][]item {
	if len(w.rows) == 0 || w.rows[0].ts+w.period > due {
		return nil
	}
	return one(w.expire())
}

// expire removes all rows that are due, in order of their own times.
func (w *timeWindow) expire() []item {
	var out []item
	for len(w.rows) > 0 && w.rows[0].ts+w.period <= w.now() {
		out = append(out, w.rows[0].as(expired, w.now()))
		w.rows = w.rows[1:]
	}
	return out
}

// timeBatch is 5.4.
type timeBatch struct {
	*environment
	period   int64
	start    *int64 // nil: none
	stream   bool   // streamCurrent
	boundary int64
	started  bool
	seq      int    // of the timer, which the first event starts and which never stops
	batch    []item // of this period
	previous []item // emitted and not yet expired
}

func (w *timeBatch) add(chunk []item) [][]item {
	var chunks [][]item
	switch {
	case !w.started:
		w.started = true
		w.boundary = w.now() + w.period
		if w.start != nil {
			w.boundary = nextBoundary(w.now(), *w.start, w.period)
		}
		w.seq = w.schedule(w.boundary)
	case w.now() >= w.boundary:
		// A timer of an earlier query, due at the same ms, has put out the chunk. An event on a
		// boundary still belongs to the next batch.
		chunks = w.fire(w.boundary, w.seq)
	}
	w.batch = append(w.batch, chunk...)
	if w.stream {
		chunks = append(chunks, chunk)
	}
	return chunks
}

// nextBoundary returns the first instant after t that is ≡ start (mod period).
func nextBoundary(t, start, period int64) int64 {
	past := (t - start) % period
	if past < 0 {
		past += period
	}
	return t - past + period
}

func (w *timeBatch) fire(due int64, _ int) [][]item {
	if due != w.boundary {
		return nil // add has handled it
	}
	w.boundary += w.period
	w.again(w.boundary, w.seq)
	batch := w.batch
	w.batch = nil
	if w.stream {
		if len(batch) == 0 {
			return nil
		}
		var out []item
		if w.needsExpired {
			out = expireAll(batch, w.now())
		}
		return one(append(out, item{kind: reset}))
	}
	var out []item
	if w.needsExpired {
		out = expireAll(w.previous, w.now())
	}
	if len(batch) > 0 {
		out = append(out, item{kind: reset})
		out = append(out, batch...)
	}
	w.previous = batch
	return one(out)
}
