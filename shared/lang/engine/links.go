package engine

import (
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// linkTracker remembers, for a stream whose events are read from a JetStream stream, the newest
// applied one of each subject: results of another app, or messages of a stream that
// somebody else fills. They come in order, so a result that is not newer was applied
// before, however long ago. Unlike a table of ids, linkTracker forgets nothing, and the log may
// be trimmed.
type linkTracker struct {
	newest  map[string]*newestResult // by subject
	changed []*newestResult          // since the last Changed, each once
	former  formerPlaces             // of an app that was scaled
}

// newestResult is the newest applied result of a subject. Maps hold it by pointer: when Go
// assigns to an existing key of a map, it replaces the key, so that an assignment by a text
// of the decoder would make that text the key.
type newestResult struct {
	subject string
	at      result.Position
	changed bool
}

func newLinks() *linkTracker { return &linkTracker{newest: map[string]*newestResult{}} }

// seen reports whether the message id belongs to a result that was already applied, and
// remembers it if not. For other ids, ok is false.
func (l *linkTracker) seen(id string) (seen, ok bool) {
	subject, at, ok := result.ParseID(id)
	if !ok {
		return false, false
	}
	newest := l.newest[subject]
	if newest == nil {
		newest = &newestResult{subject: strings.Clone(subject)} // the id is the decoder's
		l.newest[newest.subject] = newest
	}
	if !at.After(newest.at) {
		return true, true
	}
	newest.at = at
	if !newest.changed {
		newest.changed = true
		l.changed = append(l.changed, newest)
	}
	return false, true
}

// Changed implements state.Source.
func (l *linkTracker) Changed(visit func(key []byte)) {
	for _, n := range l.changed {
		visit([]byte(n.subject))
		n.changed = false
	}
	l.changed = l.changed[:0]
	for _, key := range l.former.gone {
		visit(key)
	}
	l.former.gone = nil
}

// Keys implements state.Source.
func (l *linkTracker) Keys(visit func(key []byte)) {
	for subject := range l.newest {
		visit([]byte(subject))
	}
	l.former.each(visit)
}

// Append implements state.Source.
func (l *linkTracker) Append(dst, key []byte) ([]byte, bool) {
	if len(key) > 0 && key[0] == keyFormerPlaces {
		return l.former.append(dst, key)
	}
	n := l.newest[string(key)]
	if n == nil {
		return dst, false
	}
	return window.WriteFields(dst, func(f *window.Fields) { placeFields(f, &n.at) }), true
}

func placeFields(f *window.Fields, at *result.Position) {
	f.Uint(&at.Generation)
	f.Uint(&at.Seq)
	f.Uint(&at.Ordinal)
	f.Require(at.Generation > 0 && at.Seq > 0, "a place of %s", at)
}

// Reset implements state.Source.
func (l *linkTracker) Reset() { *l = *newLinks() }

// Put implements state.Source.
func (l *linkTracker) Put(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("links: a result without a subject")
	}
	if key[0] == keyFormerPlaces {
		return l.former.put(key, value)
	}
	n := &newestResult{subject: string(key)}
	if err := window.ReadFields(value, func(f *window.Fields) { placeFields(f, &n.at) }); err != nil {
		return fmt.Errorf("links: subject %q: %w", key, err)
	}
	l.newest[n.subject] = n
	return nil
}

// Ready implements state.Source.
func (l *linkTracker) Ready() error { return nil }

// Bytes implements state.Source.
func (l *linkTracker) Bytes() (n int64) {
	const perSubject = 96
	for subject := range l.newest {
		n += int64(len(subject)) + perSubject
	}
	for subject, places := range l.former.of {
		n += int64(len(places)) * (int64(len(subject)) + perSubject)
	}
	return n
}
