package rowjson

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Refused is a row that was not accepted.
type Refused struct {
	// Index is the row's number in the message, from 0, counting accepted rows too.
	Index int
	// Start and End bound the row's text in the payload.
	Start, End int
	// Err is or wraps a *RowError.
	Err error
}

// Problem is the kind of reason why a row is refused. Its text is stable, and fit for a
// label of a metric.
type Problem string

// The reasons why rows are refused.
const (
	Empty      Problem = "empty"       // the message holds no row
	Malformed  Problem = "malformed"   // not JSON, or not Expected
	TooDeep    Problem = "too_deep"    // nested deeper than depthMax
	BadUnicode Problem = "bad_unicode" // invalid UTF-8, or half a surrogate pair
	NotARow    Problem = "not_a_row"   // JSON, but no object (or no array of values)
	WrongCount Problem = "wrong_count" // an array with too few or too many values
	WrongType  Problem = "wrong_type"
	OutOfRange Problem = "out_of_range"
	Unknown    Problem = "unknown"   // an attribute that the schema lacks
	Missing    Problem = "missing"   // an attribute of the schema that the row lacks
	Duplicate  Problem = "duplicate" // an attribute that the row has twice
	Ahead      Problem = "ahead"     // its time is too far ahead of the clock
	TooMany    Problem = "too_many"  // the message has too many refused rows to go on
)

// RowError says why a row is refused: which attribute, what was expected there and what was
// found, clipped if it is long.
type RowError struct {
	Problem  Problem
	Attr     string
	Expected string
	Found    string
}

// Error returns the reason as a sentence for the publisher.
func (e *RowError) Error() string {
	switch e.Problem {
	case Empty:
		return "no event in the message: expected " + e.Expected
	case Malformed:
		if e.Expected != "" {
			return "not " + e.Expected + ": " + e.Found
		}
		return "not JSON: " + e.Found
	case Unknown:
		if e.Expected != "" {
			return fmt.Sprintf("unknown attribute %q (did you mean %q?)", e.Attr, e.Expected)
		}
		return fmt.Sprintf("unknown attribute %q", e.Attr)
	case Ahead:
		return "the time " + e.Found + " is too far ahead: expected " + e.Expected
	case Missing:
		if e.Found != "" {
			break
		}
		return fmt.Sprintf("missing attribute %q: expected %s; write null where there is no value", e.Attr, e.Expected)
	case Duplicate:
		return fmt.Sprintf("duplicate attribute %q", e.Attr)
	case TooMany:
		return fmt.Sprintf("more than %d rows of the message are refused; the rest was not read", RefusedMax)
	}
	text := "expected " + e.Expected + ", found " + e.Found
	if e.Attr != "" {
		text = e.Attr + ": " + text
	}
	return text
}

// givesUp reports whether the start of the next row is unknown after the error.
func (e *RowError) givesUp() bool { return e.Problem == Malformed || e.Problem == TooDeep }

const foundCharsMax = 40

// clip returns text, which may be any bytes, as valid UTF-8 of bounded length.
func clip(text []byte) string {
	end := 0
	for n := 0; end < len(text) && n < foundCharsMax; n++ {
		_, size := utf8.DecodeRune(text[end:])
		end += size
	}
	s := strings.ToValidUTF8(string(text[:end]), "\ufffd")
	if end < len(text) {
		s += "…"
	}
	return s
}

// Quoted returns text, which may be any bytes, in quotes and of bounded length, for Found.
func Quoted(text string) string { return strconv.Quote(clip([]byte(text))) }

// found describes a JSON value by its kind and its text.
func found(raw []byte) string {
	switch raw[0] {
	case '"':
		return "string " + clip(raw)
	case '{':
		return "object " + clip(raw)
	case '[':
		return "array " + clip(raw)
	case 't', 'f', 'n':
		return clip(raw)
	default:
		return "number " + clip(raw)
	}
}
