package siddhiql

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// errorsMax is the most errors that are reported for one text: more would not help.
const errorsMax = 100

// Error is one reason why an app is refused, and its position.
type Error struct {
	Pos Pos
	Msg string
}

func (e *Error) Error() string { return e.Pos.String() + ": " + e.Msg }

// ErrorList holds every error that was found, in the order of the text. Parse, Check and
// Compile return it; the text is wrong, and no retry helps.
type ErrorList []*Error

// Error prints one error to a line, as line:column: message.
func (l ErrorList) Error() string { return l.join("") }

// In prints one error to a line, as file:line:column: message.
func (l ErrorList) In(file string) string { return l.join(file + ":") }

func (l ErrorList) join(prefix string) string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = prefix + e.Error()
	}
	return strings.Join(lines, "\n")
}

// report collects errors while a text is read or checked.
type report struct {
	errs ErrorList
	// untyped is how many of errs are about attributes without a known type: if there are
	// no others, the rest of a text can be checked.
	untyped int
}

func (r *report) errorf(pos Pos, format string, args ...any) {
	if len(r.errs) < errorsMax {
		r.errs = append(r.errs, &Error{Pos: pos, Msg: fmt.Sprintf(format, args...)})
	}
}

// err returns the collected errors, sorted by position, or nil.
func (r *report) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	r.errs.sort()
	return r.errs
}

// sort orders a list by position.
func (l ErrorList) sort() {
	slices.SortStableFunc(l, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}
