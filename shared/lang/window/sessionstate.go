package window

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// The state of a session window has an entry for each key, with its one or two
// sessions, one for each block of their runs, and one for the number of sessions
// opened so far.

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
		return w.keys.M[string(key[1:])]
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
	for _, b := range w.blocks {
		scratch = b.key(scratch[:0])
		visit(scratch)
	}
	w.blocks = w.blocks[:0]
	visit([]byte{keyFields})
}

func (b runBlock) key(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(blockKey(dst, b.run), b.number)
}

func parseRunBlock(key []byte) (runBlock, bool) {
	if len(key) != 17 || key[0] != keyBlock {
		return runBlock{}, false
	}
	return runBlock{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])}, true
}

// Keys implements state.Source.
func (w *sessions) Keys(visit func(key []byte)) {
	var scratch []byte
	for _, k := range w.all {
		scratch = k.state(scratch[:0])
		visit(scratch)
	}
	for _, r := range w.runs {
		for n := range r.blocks() {
			scratch = runBlock{r.id, n}.key(scratch[:0])
			visit(scratch)
		}
	}
	visit([]byte{keyFields})
}

// Append implements state.Source.
func (w *sessions) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields {
		return WriteFields(dst, w.fields), true
	}
	if b, ok := parseRunBlock(key); ok {
		rows := w.runs[b.run].block(b.number)
		if len(rows) == 0 {
			return dst, false
		}
		return w.pool.append(dst, w.env, rows), true
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
	s.fields(&f)
	late := s.writeRuns(&f)
	return w.pool.append(f.bytes, w.env, slices.Concat(late, s.onTime.rest()))
}

// writeRuns writes the ids of the session's runs and how many rows of each are in blocks.
// It returns the merged rows that are in no block.
func (s *session) writeRuns(f *Fields) (late []int32) {
	n := len(s.merged)
	f.Count(&n)
	for _, r := range s.merged {
		f.Uint(&r.id)
		f.Count(&r.out)
		late = r.rest() // of the last one: the others are sealed
	}
	if n > 0 {
		rest := len(late)
		f.Count(&rest)
	}
	f.Count(&s.onTime.out)
	return late
}

func (w *sessions) fields(f *Fields) {
	f.Uint(&w.opened)
	f.Require(w.opened <= rowNumberMax, "%d sessions were opened", w.opened)
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
	w.keys = shrink.Map[string, *sessionKey]{}
	w.null, w.all, w.opened = nil, nil, 0
	w.timers, w.touched, w.blocks = nil, nil, nil
	clear(w.runs)
	w.found = foundRows{follower: w.found.follower}
	w.loaded = map[runBlock][]int32{}
}

// Room implements state.Roomy: most entries are keys, and the others are larger.
func (w *sessions) Room(entries int) {
	w.keys, w.all = shrink.Map[string, *sessionKey]{M: make(map[string]*sessionKey, entries)}, make([]*sessionKey, 0, entries)
}

// Put implements state.Source.
func (w *sessions) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		return ReadFields(value, w.fields)
	}
	if b, ok := parseRunBlock(key); ok {
		return w.putBlock(b, value)
	}
	null := len(key) == 1 && key[0] == keySessionNull
	if !null && (len(key) == 0 || key[0] != keySession) || w.keyOfState(key) != nil {
		return fmt.Errorf("window session: key %q is unknown, or there twice", key)
	}
	k := w.newKey(string(key[1:]), null)
	f := Fields{bytes: value, reading: true}
	k.previous = w.readSession(&f, k)
	k.now = w.readSession(&f, k)
	f.Require(k.previous != nil || k.now != nil, "no session")
	if err := f.end(); err != nil {
		return fmt.Errorf("window session: key %q: %w", key, err)
	}
	return nil
}

func (w *sessions) putBlock(b runBlock, value []byte) error {
	places, rest, err := w.pool.read(value, w.env, blockOfRun)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes are left over", len(rest))
	}
	if err != nil {
		return fmt.Errorf("window session: block %d of run %d: %w", b.number, b.run, err)
	}
	w.loaded[b] = places
	return nil
}

func (w *sessions) readSession(f *Fields, k *sessionKey) *session {
	some := false
	if f.Bool(&some); !some || f.err != nil {
		return nil
	}
	s := &session{key: k}
	s.fields(f)
	late := s.readRuns(f)
	if f.err != nil {
		return nil
	}
	places, rest, err := w.pool.read(f.bytes, w.env, 2*blockOfRun)
	if f.bytes = rest; err != nil {
		f.err = err
		return nil
	}
	f.Require(late <= len(places), "%d merged rows of %d", late, len(places))
	if s.start > s.end || s.endSeq == 0 { // else the numbers are not made ready to be shown
		f.Require(false, "it lasts from %d to %d, timer %d", s.start, s.end, s.endSeq)
	}
	if f.err != nil {
		return nil
	}
	s.onTime.rows = places[late:]
	if late > 0 {
		s.last().rows = places[:late:late]
	}
	return s
}

// readRuns reads what writeRuns wrote. The runs have no rows yet. The first late of the
// rows that follow are merged ones.
func (s *session) readRuns(f *Fields) (late int) {
	n := 0
	f.Count(&n)
	f.Require(n <= len(f.bytes)/2, "%d runs in %d bytes", n, len(f.bytes))
	for i := 0; i < n && f.err == nil; i++ {
		r := &run{of: s, order: i}
		f.Uint(&r.id)
		f.Count(&r.out)
		s.merged = append(s.merged, r)
	}
	if n > 0 {
		f.Count(&late)
	}
	s.onTime.id, s.onTime.of = s.runID(0), s
	f.Count(&s.onTime.out)
	return late
}

// Ready implements state.Source.
func (w *sessions) Ready() error {
	w.tracked = true
	open := make(map[uint64]bool, len(w.all))
	w.timers = make([]sessionTimer, 0, len(w.all))
	for s := range w.each {
		if s.opened == 0 || s.opened > w.opened || open[s.opened] {
			return fmt.Errorf("window session: session %d of %d is there twice, or was not opened", s.opened, w.opened)
		}
		open[s.opened] = true
		at, seq := w.wants(s)
		w.timers.Push(sessionTimer{at, seq, s})
	}
	for s := range w.each {
		if err := w.gather(s, open); err != nil {
			return fmt.Errorf("window session: key %q: %w", s.key.name, err)
		}
	}
	if len(w.loaded) > 0 {
		return fmt.Errorf("window session: %d blocks are of no session", len(w.loaded))
	}
	w.loaded = nil
	w.Follow(w.found.follower)
	// Runs without blocks were there only to detect runs that come twice.
	maps.DeleteFunc(w.runs, func(_ uint64, r *run) bool { return r.out == 0 })
	return nil
}

// gather puts the rows from blocks before those that were loaded with a session. A
// run with the id of another session must come from one that is gone: an id is used once.
func (w *sessions) gather(s *session, open map[uint64]bool) error {
	for i, r := range s.merged {
		own := i == 0 && r.id == s.runID(1)
		if !own && (open[r.id>>1] || r.id>>1 > w.opened) {
			return fmt.Errorf("run %d is not one that was merged", r.id)
		}
		if err := w.gatherRun(r, true, i < len(s.merged)-1); err != nil {
			return err
		}
		if i > 0 && len(r.rows) < blockOfRun {
			return fmt.Errorf("run %d of %d rows is too short", r.id, len(r.rows))
		}
	}
	return w.gatherRun(&s.onTime, false, false)
}

// gatherRun is gather for one run. The run of rows on time need not be registered if it has
// no blocks: its id is the session's, which is there once.
func (w *sessions) gatherRun(r *run, merged, sealed bool) error {
	rest := r.rows
	if r.out > 0 {
		r.rows = nil
		for n := range r.blocks() {
			b := runBlock{r.id, n}
			r.rows = append(r.rows, w.loaded[b]...)
			if len(r.rows) != min(int(n+1)*blockOfRun, r.out) {
				return fmt.Errorf("block %d of run %d is missing, or has not its rows", n, r.id)
			}
			delete(w.loaded, b)
		}
		r.rows = append(r.rows, rest...)
	}
	whole := len(rest) == 0 && sealed || len(rest) < blockOfRun && r.out%blockOfRun == 0
	if w.runs[r.id] != nil || len(r.rows) == 0 || !whole {
		return fmt.Errorf("run %d is there twice, or has %d rows, %d of them in blocks", r.id, len(r.rows), r.out)
	}
	if r.out > 0 || merged {
		w.runs[r.id] = r
	}
	return nil
}

// Bytes implements state.Source.
func (w *sessions) Bytes() int64 { return int64(w.pool.rows.Bytes()) }
