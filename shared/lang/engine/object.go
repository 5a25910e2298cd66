package engine

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// An object attribute holds JSON text. cast() may call it a number, a bool or a string. It
// is then read as one here, and a text of another type is null.

// objectType returns the type of the value that the JSON text is, as Java's
// class of it would be: a whole number is an int where it fits, else a long.
func objectType(text string) event.Type {
	switch {
	case text == "":
		return event.Object
	case text == "true" || text == "false":
		return event.Bool
	case text[0] == '"':
		return event.String
	case text[0] != '-' && (text[0] < '0' || text[0] > '9'):
		return event.Object
	case strings.ContainsAny(text, ".eE"):
		return event.Double
	}
	if _, err := strconv.ParseInt(text, 10, 32); err == nil {
		return event.Int
	}
	return event.Long
}

func objectInt(text string, as event.Type) (int64, bool) {
	if as == event.Bool {
		return boolInt(text == "true"), text == "true" || text == "false"
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return v, as == event.Long || v == int64(int32(v))
	}
	return 0, false
}

func objectReal(text string) (float64, bool) {
	if !objectType(text).Numeric() {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil && !math.IsInf(v, 0)
}

func objectText(r *row, text string) (string, bool) {
	if objectType(text) != event.String {
		return "", false
	}
	if !strings.Contains(text, `\`) {
		return text[1 : len(text)-1], true
	}
	var v string
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return "", false
	}
	start := len(r.text)
	r.text = append(r.text, v...)
	return r.view(start), true
}
