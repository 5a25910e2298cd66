package siddhiql

import (
	"math"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// timeUnit is a unit of time literals. A month has 30 days and a year 365.
type timeUnit struct {
	name  string
	ms    int64
	names []string
}

const dayMs = 24 * 60 * 60 * 1000

// timeUnits lists the units from large to small, the order that a literal must have.
var timeUnits = []timeUnit{
	{"year", 365 * dayMs, []string{"year", "years"}},
	{"month", 30 * dayMs, []string{"month", "months"}},
	{"week", 7 * dayMs, []string{"week", "weeks"}},
	{"day", dayMs, []string{"day", "days"}},
	{"hour", 60 * 60 * 1000, []string{"hour", "hours"}},
	{"min", 60 * 1000, []string{"min", "minute", "minutes"}},
	{"sec", 1000, []string{"sec", "second", "seconds"}},
	{"millisec", 1, []string{"millisec", "millisecond", "milliseconds"}},
}

// wrongUnits are units that other languages have, and what they are here.
var wrongUnits = map[string]string{
	"ms": "millisec", "millis": "millisec", "msec": "millisec", "s": "sec", "secs": "sec", "m": "min", "mins": "min",
	"h": "hour", "hr": "hour", "hrs": "hour", "d": "day", "w": "week",
}

// unitOf returns the index in timeUnits of the unit called word.
func unitOf(word string) (int, bool) {
	for i, u := range timeUnits {
		for _, name := range u.names {
			if strings.EqualFold(name, word) {
				return i, true
			}
		}
	}
	return 0, false
}

// numberText writes a number with the suffix that tells its type.
func numberText(n *Literal) string {
	switch n.Type {
	case event.Int:
		return strconv.FormatInt(n.Int, 10)
	case event.Long:
		return strconv.FormatInt(n.Int, 10) + "L"
	case event.Float:
		return strconv.FormatFloat(n.Real, 'g', -1, 32) + "f"
	}
	s := strconv.FormatFloat(n.Real, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// readNumber reads a number as written, with its suffix; sign is "-" or "". The message is
// "" if the number is valid.
func readNumber(sign, text string) (n *Literal, message string) {
	body, suffix := strings.ToLower(text), ""
	if strings.HasSuffix(body, "l") || strings.HasSuffix(body, "f") || strings.HasSuffix(body, "d") {
		body, suffix = body[:len(body)-1], body[len(body)-1:]
	}
	switch whole := !strings.ContainsAny(body, ".e"); {
	case suffix == "l" && !whole:
		return nil, tick(text) + " is not a number: a long has no fraction and no exponent"
	case suffix == "l":
		return readWhole(event.Long, 64, sign+body)
	case suffix == "" && whole:
		return readWhole(event.Int, 32, sign+body)
	case suffix == "f":
		return readReal(event.Float, 32, sign+body)
	default:
		return readReal(event.Double, 64, sign+body)
	}
}

func readWhole(t event.Type, bits int, text string) (*Literal, string) {
	v, err := strconv.ParseInt(text, 10, bits)
	switch {
	case err == nil:
		return &Literal{Type: t, Int: v}, ""
	case t == event.Int:
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return nil, tick(text) + " is out of the range of int (32 bits): write the long " + tick(text+"L")
		}
	}
	return nil, tick(text) + " is out of the range of long (64 bits)"
}

func readReal(t event.Type, bits int, text string) (*Literal, string) {
	v, err := strconv.ParseFloat(text, bits)
	if err != nil || math.IsInf(v, 0) {
		return nil, tick(text) + " is out of the range of " + t.String()
	}
	return &Literal{Type: t, Real: v}, ""
}
