package engine

import (
	"fmt"
	"strings"

	"eventflux/shared/place"
	"eventflux/shared/window"
)

// links remembers, for a stream that reads results of another app, the newest
// result of each subject that was applied. Results come in order, so whatever is not
// after it was applied before, however long ago: unlike a table of ids it forgets
// nothing, and the log may be trimmed.
type links struct {
	newest  map[string]place.Place // by subject
	changed map[string]struct{}
}

func newLinks() *links {
	return &links{newest: map[string]place.Place{}, changed: map[string]struct{}{}}
}

// linked reports whether events of the subject are results of another app.
func linked(subject string) bool { return strings.HasPrefix(subject, "out.") }

// seen reports whether the message id is that of a result that was applied before,
// and remembers it if it was not. Other ids are not ok.
func (l *links) seen(id string) (seen, ok bool) {
	subject, at, ok := place.ParseID(id)
	if !ok {
		return false, false
	}
	if !at.After(l.newest[subject]) {
		return true, true
	}
	l.newest[subject] = at
	l.changed[subject] = struct{}{}
	return false, true
}

// Changed implements state.Source.
func (l *links) Changed(visit func(key []byte)) {
	for subject := range l.changed {
		visit([]byte(subject))
	}
	clear(l.changed)
}

// Keys implements state.Source.
func (l *links) Keys(visit func(key []byte)) {
	for subject := range l.newest {
		visit([]byte(subject))
	}
}

// Append implements state.Source.
func (l *links) Append(dst, key []byte) ([]byte, bool) {
	at, ok := l.newest[string(key)]
	if !ok {
		return dst, false
	}
	return window.WriteFields(dst, func(f *window.Fields) { placeFields(f, &at) }), true
}

func placeFields(f *window.Fields, at *place.Place) {
	f.Uint(&at.Generation)
	f.Uint(&at.Seq)
	f.Uint(&at.Ordinal)
	f.Require(at.Generation > 0 && at.Seq > 0, "a place of %s", at)
}

// Reset implements state.Source.
func (l *links) Reset() { *l = *newLinks() }

// Put implements state.Source.
func (l *links) Put(key, value []byte) error {
	if len(key) == 0 {
		return fmt.Errorf("links: a result without a subject")
	}
	var at place.Place
	if err := window.ReadFields(value, func(f *window.Fields) { placeFields(f, &at) }); err != nil {
		return fmt.Errorf("links: subject %q: %w", key, err)
	}
	l.newest[string(key)] = at
	return nil
}

// Ready implements state.Source.
func (l *links) Ready() error { return nil }

// Bytes implements state.Source.
func (l *links) Bytes() (n int64) {
	const perSubject = 96
	for subject := range l.newest {
		n += int64(len(subject)) + perSubject
	}
	return n
}
