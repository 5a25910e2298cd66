package model

import (
	"cmp"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// sessions is the window session, 5.7.
type sessions struct {
	*environment
	gap     int64
	latency int64
	key     int // attribute, or -1: one global session
	keys    []*sessionKey
	opened  int // number of sessions so far
}

// sessionKey has the sessions of one key; previous is used with latency only.
type sessionKey struct {
	value    any
	now      *session // the current one, or nil
	previous *session
}

// session stores merged events apart from the others: when it closes, they go first.
type session struct {
	start, end int64
	merged     []item
	onTime     []item
	opened     int // number of the session; orders sessions with equal ends
	endSeq     int // number of the timer for its end
	expirySeq  int // number of the timer for its expiry
}

func newSession(p []window.Param, env *environment) *sessions {
	w := &sessions{environment: env, gap: p[0].Int, key: -1}
	if len(p) > 1 {
		w.key = p[1].Attr
	}
	if len(p) > 2 {
		w.latency = p[2].Int
	}
	return w
}

func (s *session) rows() []item { return append(slices.Clone(s.merged), s.onTime...) }

// expiry returns when the rows of a session leave the window.
func (w *sessions) expiry(s *session) int64 { return s.end + w.latency }

func (w *sessions) add(chunk []item) [][]item {
	// Timers go before events (1.6), even if a timer of an earlier query, due at the same ms, has
	// put out the chunk.
	chunks := w.close()
	var out []item
	for _, x := range chunk {
		left, accepted := w.place(x)
		out = append(out, left...)
		if accepted {
			out = append(out, x)
		}
	}
	return append(chunks, one(out)...)
}

// place adds an event to its session and returns the rows that expire; false if the event is too
// late.
func (w *sessions) place(x item) (left []item, accepted bool) {
	k := w.sessionKey(x)
	switch {
	case k.now != nil && x.ts > k.now.end: // ahead of the clock: correction 4
		left = w.retire(k)
		w.open(k, x)
	case k.now != nil && x.ts >= k.now.start:
		k.now.onTime = append(k.now.onTime, x)
		w.extend(k.now, x.ts)
	case k.now != nil && x.ts >= k.now.start-w.gap:
		k.now.merged = append(k.now.merged, x)
		k.now.start = x.ts
		w.merge(k)
	case k.previous != nil && x.ts >= k.previous.start-w.gap && (k.now != nil || x.ts < k.previous.end):
		k.previous.onTime = append(k.previous.onTime, x)
		k.previous.start = min(k.previous.start, x.ts)
		w.extend(k.previous, x.ts)
		w.merge(k)
	case k.now == nil:
		w.open(k, x)
	default:
		return nil, false
	}
	return left, true
}

func (w *sessions) sessionKey(x item) *sessionKey {
	var value any
	if w.key >= 0 {
		value = x.values[w.key] // null is a key of its own
	}
	for _, k := range w.keys {
		if k.value == value {
			return k
		}
	}
	k := &sessionKey{value: value}
	w.keys = append(w.keys, k)
	return k
}

func (w *sessions) open(k *sessionKey, x item) {
	w.opened++
	k.now = &session{start: x.ts, end: x.ts, onTime: []item{x}, opened: w.opened}
	w.extend(k.now, x.ts)
}

// extend moves the end of a session, which never shrinks (correction 4), and schedules its close
// and expiry.
func (w *sessions) extend(s *session, ts int64) {
	if end := ts + w.gap; end > s.end || s.endSeq == 0 {
		s.end = max(s.end, end)
		s.endSeq = w.schedule(s.end)
		s.expirySeq = w.schedule(w.expiry(s))
	}
}

// merge joins the previous and the current session if the gap between them is at most the session
// gap. This is Siddhi's rule. It is also the only one that lets an event of the previous session
// close the gap: closer to the current session, the event would have joined that one.
func (w *sessions) merge(k *sessionKey) {
	if k.previous == nil || k.now == nil || k.previous.end < k.now.start-w.gap {
		return
	}
	k.now.merged = append(k.now.merged, k.previous.rows()...)
	k.now.start = min(k.now.start, k.previous.start)
	if k.previous.end > k.now.end {
		k.now.end, k.now.endSeq, k.now.expirySeq = k.previous.end, k.previous.endSeq, k.previous.expirySeq
		w.again(k.now.end, k.now.endSeq)
		w.again(w.expiry(k.now), k.now.expirySeq)
	}
	k.previous = nil
}

// retire ends the current session. Without latency it expires. With latency it becomes the previous
// session, and the former previous one expires.
func (w *sessions) retire(k *sessionKey) (left []item) {
	if w.latency == 0 {
		left = expireSession(k.now)
	} else {
		if k.previous != nil {
			left = expireSession(k.previous)
		}
		k.previous = k.now
	}
	k.now = nil
	return left
}

// expireSession returns expired rows with the events' own timestamps.
func expireSession(s *session) []item {
	var out []item
	for _, r := range s.rows() {
		out = append(out, r.as(expired, r.ts))
	}
	return out
}

// fire handles the timer of a session's end or expiry. If the session has grown or is gone, nothing
// is due.
func (w *sessions) fire(due int64, seq int) [][]item {
	for _, k := range w.keys {
		ended := k.now != nil && k.now.end == due && k.now.endSeq == seq
		if ended || k.previous != nil && w.expiry(k.previous) == due && k.previous.expirySeq == seq {
			return w.close()
		}
	}
	return nil
}

// close expires everything that is due, in order of end time, in one chunk.
func (w *sessions) close() [][]item {
	var closed []*session
	for _, k := range w.keys {
		if k.now != nil && k.now.end <= w.now() { // becomes the previous session
			if k.previous != nil {
				closed = append(closed, k.previous)
			}
			k.previous, k.now = k.now, nil
		}
		if k.previous != nil && w.expiry(k.previous) <= w.now() {
			closed = append(closed, k.previous)
			k.previous = nil
		}
	}
	slices.SortFunc(closed, func(a, b *session) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.opened, b.opened))
	})
	var out []item
	for _, s := range closed {
		out = append(out, expireSession(s)...)
	}
	return one(out)
}
