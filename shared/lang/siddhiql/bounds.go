package siddhiql

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Bounds say how much of its results an app keeps (@sink(max.age=…, max.bytes=…)). They hold
// for each output stream, which has the results of all streams of a partition. Zero is no
// bound.
type Bounds struct {
	MaxAge   int64 // ms
	MaxBytes int64
}

// bounds reads max.age and max.bytes of a @sink. Several sinks may have them if they agree.
func (bd *build) bounds(elems map[string]*AnnotationElem) {
	set := func(e *AnnotationElem, to *int64, value int64) {
		if *to != 0 && *to != value {
			bd.errorf(e.Pos, "two `@sink` have different values of %s, but the results of all streams are kept together: expected one value", tick(e.Key))
		}
		*to = value
	}
	if e := elems["max.age"]; e != nil {
		if age, ok := bd.period(e); ok {
			set(e, &bd.plan.Bounds.MaxAge, age)
		}
	}
	if e := elems["max.bytes"]; e != nil {
		bytes, ok := byteSize(e.Value)
		if !ok {
			bd.errorf(e.Pos, "found %s='%s', expected a size of at least 1 byte, such as '10 GB' or '512 MiB'", e.Key, shorten(e.Value))
			return
		}
		set(e, &bd.plan.Bounds.MaxBytes, bytes)
	}
}

// perSubject reads max.msgs.per.subject of a @sink. Each sink has its own, since streams have
// different subjects. The newest row of a key of a view has to be among the newest of its subject.
func (sk *sinkChecker) perSubject(elems map[string]*AnnotationElem, s *Stream) {
	e := elems["max.msgs.per.subject"]
	if e == nil {
		return
	}
	n, err := strconv.ParseUint(strings.TrimSpace(e.Value), 10, 63)
	switch {
	case err != nil || n == 0:
		sk.errorf(e.Pos, "found %s='%s', expected a whole number of results, from 1", e.Key, shorten(e.Value))
		return
	case s.Sink.Off:
		sk.errorf(e.Pos, "results of stream %s have the bound %s, but publish='false' says that none are published: leave one of them out", tick(s.Name), tick(e.Key))
		return
	}
	if v := s.Sink.View; v != nil {
		for _, attr := range v.Attrs {
			if attr >= 0 && !slices.Contains(s.Sink.Attrs, attr) {
				name := s.Schema.Attrs[attr].Name
				sk.errorf(e.Pos, "the view in bucket %s could not be filled again: results with different %s share a subject, so %s removes the newest ones of some keys: expected `{%s}` in `subject`, or no %[3]s", tick(v.Bucket), tick(name), tick(e.Key), name)
				return
			}
		}
	}
	s.Sink.PerSubject = n
}

var byteUnits = map[string]int64{
	"": 1, "b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
	"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
}

// byteSize reads a whole number of bytes with a unit.
func byteSize(text string) (int64, bool) {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, err := strconv.ParseInt(text[:end], 10, 64)
	unit, known := byteUnits[strings.ToLower(strings.TrimSpace(text[end:]))]
	if err != nil || !known || n < 1 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}
