package cron

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Error says what is wrong with a cron text, and where.
type Error struct {
	Column int // of the wrong part, from 1
	Msg    string
}

func (e *Error) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Msg) }

// field is one of the fields of a cron text.
type field struct {
	name       string
	least, max int
	names      []string // of least and the following values
}

const (
	dayOfMonth = 3
	dayOfWeek  = 5
	yearField  = 6

	yearMax = 2199
)

var fields = []field{
	{name: "second", max: 59},
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of the month", least: 1, max: 31},
	{name: "month", least: 1, max: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day of the week", least: 1, max: 7, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
	{name: "year", least: 1970, max: yearMax},
}

// word is a field as written.
type word struct {
	text   string
	column int
}

// Parse reads a cron text such as `0 0 12 ? * MON-FRI`. It refuses a text that never fires.
// Its error is an *Error.
func Parse(text string) (*Schedule, error) {
	words := split(text)
	switch n := len(words); {
	case n == 5:
		return nil, &Error{1, "found 5 fields: expected second minute hour day-of-month month day-of-week, as in `0 */5 * * * ?`; put the second first"}
	case n < 6 || n > 7:
		return nil, &Error{1, fmt.Sprintf("the number of fields is %d, expected 6 or 7: second minute hour day-of-month month day-of-week [year], as in `0 */5 * * * ?`", n)}
	}
	var sets [7]set
	for i, w := range words {
		var err error
		if sets[i], err = parseField(w, i); err != nil {
			return nil, err
		}
	}
	s := &Schedule{
		seconds: sets[0].bits, minutes: sets[1].bits, hours: uint32(sets[2].bits), months: uint16(sets[4].bits),
		years: sets[yearField].years, days: sets[dayOfMonth].days,
	}
	switch month, week := words[dayOfMonth], words[dayOfWeek]; {
	case month.text == "?" && week.text == "?":
		return nil, &Error{week.column, "found `?` for both days: expected one of them to say which days, such as `*`"}
	case month.text != "?" && week.text != "?":
		return nil, &Error{week.column, "both the day of the month and the day of the week say which days: expected `?` for one of them"}
	case month.text == "?":
		s.days = sets[dayOfWeek].days
		s.days.ofWeek = uint8(sets[dayOfWeek].bits >> 1)
	default:
		s.days.ofMonth = uint32(sets[dayOfMonth].bits)
	}
	if _, ok := s.Next(math.MinInt64 / 2); !ok {
		return nil, &Error{words[dayOfMonth].column, "it never fires: no month that it names has such a day"}
	}
	return s, nil
}

func split(text string) (words []word) {
	for at := 0; at < len(text); {
		if text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r' {
			at++
			continue
		}
		end := at + strings.IndexAny(text[at:]+" ", " \t\r\n")
		words = append(words, word{strings.ToUpper(text[at:end]), at + 1})
		at = end
	}
	return words
}

// set is what a field allows.
type set struct {
	bits  uint64
	years []int
	days  days
}

func parseField(w word, i int) (set, error) {
	f := &fields[i]
	var s set
	if w.text == "?" {
		if i != dayOfMonth && i != dayOfWeek {
			return s, f.errorf(w.column, "`?` stands only for a day of the month or of the week: expected `*`")
		}
		return s, nil
	}
	if i == yearField && w.text == "*" {
		return s, nil
	}
	column := w.column
	parts := strings.Split(w.text, ",")
	for _, part := range parts {
		at := word{part, column}
		column += len(part) + 1
		special, err := s.special(at, i)
		if err == nil && !special {
			err = s.addRange(at, f, i)
		}
		if err == nil && len(parts) > 1 && (s.days.last || s.days.nth > 0 || s.days.lastOfWeek) {
			err = f.errorf(w.column, "`L` and `#` stand alone: expected no list")
		}
		if err != nil {
			return s, err
		}
	}
	slices.Sort(s.years)
	s.years = slices.Compact(s.years)
	return s, nil
}

// special reads L, L-3, LW and 15W of the day of the month, and L, 6L and 6#3 of the day of
// the week; false for anything else.
func (s *set) special(w word, i int) (bool, error) {
	f, d := &fields[i], &s.days
	switch {
	case i == dayOfMonth && w.text[:min(1, len(w.text))] == "L":
		return true, d.parseLast(w)
	case i == dayOfMonth && strings.HasSuffix(w.text, "W"):
		day, err := f.value(word{strings.TrimSuffix(w.text, "W"), w.column})
		d.nearest |= 1 << uint(day)
		return true, err
	case i == dayOfWeek && w.text == "L":
		s.bits |= 1 << 7
		return true, nil
	case i == dayOfWeek && len(w.text) > 1 && strings.HasSuffix(w.text, "L"):
		day, err := f.value(word{strings.TrimSuffix(w.text, "L"), w.column})
		s.bits |= 1 << uint(day)
		d.lastOfWeek = true
		return true, err
	case i == dayOfWeek && strings.Contains(w.text, "#"):
		day, nth, _ := strings.Cut(w.text, "#")
		n, err := f.value(word{day, w.column})
		s.bits |= 1 << uint(n)
		if err != nil {
			return true, err
		}
		if d.nth, err = strconv.Atoi(nth); err != nil || d.nth < 1 || d.nth > 5 {
			return true, f.errorf(w.column+len(day)+1, "found %q after `#`, expected 1 to 5", nth)
		}
		return true, nil
	}
	return false, nil
}

// parseLast reads L, LW, L-3 and L-3W.
func (d *days) parseLast(w word) error {
	rest := w.text[1:]
	d.last = true
	rest, d.weekday = strings.CutSuffix(rest, "W")
	if rest == "" {
		return nil
	}
	digits, ok := strings.CutPrefix(rest, "-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || n > 30 {
		return fields[dayOfMonth].errorf(w.column, "found %q, expected `L`, `LW` or `L-3`, with at most 30 days before the last", w.text)
	}
	d.before = n
	return nil
}

// addRange reads *, 5, 5-10, and each of them with a step, such as */5.
func (s *set) addRange(w word, f *field, i int) error {
	body, step, stepped := strings.Cut(w.text, "/")
	by := 1
	if stepped {
		var err error
		span := f.max - f.least + 1
		if by, err = strconv.Atoi(step); err != nil || by < 1 || by > span {
			return f.errorf(w.column+len(body)+1, "found %q after `/`, expected a number from 1 to %d", step, span)
		}
	}
	from, to := f.least, f.max
	if low, high, ranged := strings.Cut(body, "-"); body != "*" && (body != "" || !stepped) {
		var err error
		if from, err = f.value(word{low, w.column}); err != nil {
			return err
		}
		switch {
		case ranged:
			if to, err = f.value(word{high, w.column + len(low) + 1}); err != nil {
				return err
			}
		case !stepped:
			to = from
		}
	}
	if to < from { // such as FRI-MON: it goes on from the start
		if i == yearField {
			return f.errorf(w.column, "the year %d comes before %d", to, from)
		}
		to += f.max - f.least + 1
	}
	for n := from; n <= to; n += by {
		v := n
		if v > f.max {
			v -= f.max - f.least + 1
		}
		if i == yearField {
			s.years = append(s.years, v)
		} else {
			s.bits |= 1 << uint(v)
		}
	}
	return nil
}

// value reads a number or a name.
func (f *field) value(w word) (int, error) {
	if n := slices.Index(f.names, w.text); n >= 0 {
		return f.least + n, nil
	}
	n, err := strconv.Atoi(w.text)
	switch {
	case w.text == "" || err != nil && !errors.Is(err, strconv.ErrRange) || w.text[0] == '+':
		expected := fmt.Sprintf("a number from %d to %d", f.least, f.max)
		if f.names != nil {
			expected += fmt.Sprintf(" or a name such as %s", f.names[1])
		}
		return 0, f.errorf(w.column, "found %q, expected %s", w.text, expected)
	case err != nil || n < f.least || n > f.max:
		return 0, f.errorf(w.column, "found %s, expected a number from %d to %d", w.text, f.least, f.max)
	}
	return n, nil
}

func (f *field) errorf(column int, format string, args ...any) error {
	return &Error{column, "the " + f.name + ": " + fmt.Sprintf(format, args...)}
}
