package siddhiql

import (
	"math"
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
