package window

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// The state of a session window has an entry for each key, with its one or two
// sessions, and one for the number of sessions opened so far.

const (
	keySession     = 's' // and the key
	keySessionNull = 'n'
)

func (k *sessionKey) state(dst []byte) []byte {
	if k.null {
		return append(dst, keySessionNull)
	}
	return append(append(dst, keySession), k.name...)
}

func (w *sessions) keyOfState(key []byte) *sessionKey {
	switch {
	case len(key) == 1 && key[0] == keySessionNull:
		return w.null
	case len(key) > 0 && key[0] == keySession:
		return w.keys[string(key[1:])]
	}
	return nil
}

// Changed implements state.Source.
func (w *sessions) Changed(visit func(key []byte)) {
	if !w.tracked {
		w.tracked = true
		w.Keys(visit)
		return
	}
	var scratch []byte
	for _, k := range w.touched {
		k.touched = false
		scratch = k.state(scratch[:0])
		visit(scratch)
	}
	clear(w.touched)
	w.touched = w.touched[:0]
	visit([]byte{keyFields})
}

// Keys implements state.Source.
func (w *sessions) Keys(visit func(key []byte)) {
	var scratch []byte
	for _, k := range w.all {
		scratch = k.state(scratch[:0])
		visit(scratch)
	}
	visit([]byte{keyFields})
}

// Append implements state.Source.
func (w *sessions) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields {
		f := Fields{bytes: dst}
		f.Uint(&w.opened)
		return f.bytes, true
	}
	k := w.keyOfState(key)
	if k == nil || k.now == nil && k.previous == nil {
		return dst, false
	}
	for _, s := range []*session{k.previous, k.now} {
		dst = w.appendSession(dst, s)
	}
	return dst, true
}

func (w *sessions) appendSession(dst []byte, s *session) []byte {
	f := Fields{bytes: dst}
	some := s != nil
	if f.Bool(&some); !some {
		return f.bytes
	}
	merged := len(s.merged)
	s.fields(&f)
	f.Count(&merged)
	return w.pool.append(f.bytes, w.env, slices.Concat(s.merged, s.onTime))
}

func (s *session) fields(f *Fields) {
	f.Int(&s.start)
	f.Int(&s.end)
	f.Uint(&s.opened)
	f.Uint(&s.endSeq)
	f.Uint(&s.expirySeq)
}

// Reset implements state.Source.
func (w *sessions) Reset() {
	w.pool.reset()
	clear(w.keys)
	w.null, w.all, w.opened = nil, nil, 0
	w.timers, w.touched = nil, nil
}

// Put implements state.Source.
func (w *sessions) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		f := Fields{bytes: value, reading: true}
		f.Uint(&w.opened)
		return f.end()
	}
	null := len(key) == 1 && key[0] == keySessionNull
	if !null && (len(key) == 0 || key[0] != keySession) || w.keyOfState(key) != nil {
		return fmt.Errorf("window session: key %q is unknown, or there twice", key)
	}
	k := w.newKey(strings.Clone(string(key[1:])), null)
	f := Fields{bytes: value, reading: true}
	k.previous = w.readSession(&f, k)
	k.now = w.readSession(&f, k)
	f.Require(k.previous != nil || k.now != nil, "no session")
	if err := f.end(); err != nil {
		return fmt.Errorf("window session: key %q: %w", key, err)
	}
	return nil
}

func (w *sessions) readSession(f *Fields, k *sessionKey) *session {
	some := false
	if f.Bool(&some); !some || f.err != nil {
		return nil
	}
	s, merged := &session{key: k}, 0
	s.fields(f)
	f.Count(&merged)
	if f.err != nil {
		return nil
	}
	places, rest, err := w.pool.read(f.bytes, w.env, math.MaxInt32)
	if f.bytes = rest; err != nil {
		f.err = err
		return nil
	}
	f.Require(len(places) > 0 && merged <= len(places), "%d merged rows of %d", merged, len(places))
	f.Require(s.start <= s.end && s.endSeq > 0, "it lasts from %d to %d, timer %d", s.start, s.end, s.endSeq)
	if f.err != nil {
		return nil
	}
	s.merged, s.onTime = slices.Clone(places[:merged]), places[merged:]
	return s
}

// Ready implements state.Source.
func (w *sessions) Ready() error {
	w.tracked = true
	for _, k := range w.all {
		for _, s := range []*session{k.previous, k.now} {
			if s != nil {
				at, seq := w.wants(s)
				w.timers.Push(sessionTimer{at, seq, s})
			}
		}
	}
	return nil
}

// Bytes implements state.Source.
func (w *sessions) Bytes() int64 { return int64(w.pool.rows.Bytes()) }
