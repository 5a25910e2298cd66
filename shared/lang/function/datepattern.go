package function

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/lang/function/zones"
)

// datePattern is a pattern of dates as Java has them (SimpleDateFormat), such as
// "yyyy-MM-dd HH:mm:ss.SSS". Names of months and days are English.
type datePattern []dateField

// dateField is a letter with its number, or a text.
type dateField struct {
	letter byte // 0: a text
	count  int
	text   string
}

const (
	defaultPattern = "yyyy-MM-dd HH:mm:ss.SSS"
	dateLetters    = "yuMLdDEaHkKhmsSzZXG"
)

func parsePattern(text string) (datePattern, error) {
	var p datePattern
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '\'':
			end := strings.IndexByte(text[i+1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("the date pattern '%s' has a quote without an end", text)
			}
			quoted := text[i+1 : i+1+end]
			if end == 0 {
				quoted = "'"
			}
			p = append(p, dateField{text: quoted})
			i += end + 2
		case isASCIILetter(c):
			n := i
			for n < len(text) && text[n] == c {
				n++
			}
			if strings.IndexByte(dateLetters, c) < 0 {
				return nil, fmt.Errorf("the date pattern '%s' has the letter %c: expected some of %s, and others in quotes", text, c, dateLetters)
			}
			p = append(p, dateField{letter: c, count: n - i})
			i = n
		default:
			p = append(p, dateField{text: text[i : i+1]})
			i++
		}
	}
	return p, nil
}

func isASCIILetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// format appends a time.
func (p datePattern) format(dst []byte, t time.Time) []byte {
	for _, f := range p {
		dst = f.format(dst, t)
	}
	return dst
}

func (f *dateField) format(dst []byte, t time.Time) []byte {
	switch f.letter {
	case 0:
		return append(dst, f.text...)
	case 'y', 'u':
		if f.count == 2 {
			return appendPadded(dst, t.Year()%100, 2)
		}
	case 'M', 'L':
		if f.count >= 3 {
			return appendName(dst, t.Month().String(), f.count)
		}
	case 'E':
		return appendName(dst, t.Weekday().String(), f.count)
	case 'a':
		return append(dst, [2]string{"AM", "PM"}[t.Hour()/12]...)
	case 'G':
		return append(dst, "AD"...)
	case 'z':
		name, _ := t.Zone()
		return append(dst, name...)
	case 'Z', 'X':
		return f.appendOffset(dst, t)
	}
	return appendPadded(dst, f.number(t), f.count)
}

// number returns the value of a field of digits.
func (f *dateField) number(t time.Time) int {
	switch f.letter {
	case 'y', 'u':
		return t.Year()
	case 'M', 'L':
		return int(t.Month())
	case 'd':
		return t.Day()
	case 'D':
		return t.YearDay()
	case 'H':
		return t.Hour()
	case 'k':
		return (t.Hour()+23)%24 + 1
	case 'K':
		return t.Hour() % 12
	case 'h':
		return (t.Hour()+11)%12 + 1
	case 'm':
		return t.Minute()
	case 's':
		return t.Second()
	}
	return t.Nanosecond() / 1e6
}

func (f *dateField) appendOffset(dst []byte, t time.Time) []byte {
	_, seconds := t.Zone()
	if f.letter == 'X' && seconds == 0 {
		return append(dst, 'Z')
	}
	sign := byte('+')
	if seconds < 0 {
		sign, seconds = '-', -seconds
	}
	dst = appendPadded(append(dst, sign), seconds/3600, 2)
	if f.letter == 'X' && f.count == 1 {
		return dst
	}
	if f.letter == 'X' && f.count == 3 {
		dst = append(dst, ':')
	}
	return appendPadded(dst, seconds/60%60, 2)
}

func appendPadded(dst []byte, n, digits int) []byte {
	text := strconv.Itoa(n)
	for i := len(text); i < digits; i++ {
		dst = append(dst, '0')
	}
	return append(dst, text...)
}

func appendName(dst []byte, name string, count int) []byte {
	if count < 4 {
		name = name[:3]
	}
	return append(dst, name...)
}

// dateParts are the fields of a text while it is read.
type dateParts struct {
	year, month, day, yearDay      int
	hour, minute, second, ms, half int // half: 0 for AM, 1 for PM, -1 if there is none
	zone                           *time.Location
	noon                           bool // the hour is one of 12
}

// parse reads the whole of a text, in UTC unless the pattern has a zone; false if the text does
// not fit.
func (p datePattern) parse(text string) (time.Time, bool) {
	d := dateParts{year: 1970, month: 1, day: 1, half: -1, zone: time.UTC}
	for i := range p {
		next := i+1 < len(p) && p[i+1].isDigits()
		var ok bool
		if text, ok = p[i].parse(text, next, &d); !ok {
			return time.Time{}, false
		}
	}
	if text != "" {
		return time.Time{}, false
	}
	return d.time()
}

func (f *dateField) isDigits() bool {
	return f.letter != 0 && strings.IndexByte("EaGzZX", f.letter) < 0 && (f.count < 3 || f.letter != 'M' && f.letter != 'L')
}

// parse reads a field from the start of text and returns the rest.
func (f *dateField) parse(text string, digitsFollow bool, d *dateParts) (string, bool) {
	switch {
	case f.letter == 0:
		return strings.CutPrefix(text, f.text)
	case f.isDigits():
		n := 0
		for n < len(text) && isDigit(text[n]) && n < 9 && (!digitsFollow || n < f.count) {
			n++
		}
		v, err := strconv.Atoi(text[:n])
		if err != nil {
			return text, false
		}
		return text[n:], d.set(f, v, n)
	}
	switch f.letter {
	case 'M', 'L':
		for m := time.January; m <= time.December; m++ {
			if rest, ok := cutName(text, m.String()); ok {
				d.month = int(m)
				return rest, true
			}
		}
	case 'E':
		for w := time.Sunday; w <= time.Saturday; w++ {
			if rest, ok := cutName(text, w.String()); ok {
				return rest, true
			}
		}
	case 'a':
		for half, name := range []string{"AM", "PM"} {
			if len(text) >= 2 && strings.EqualFold(text[:2], name) {
				d.half = half
				return text[2:], true
			}
		}
	case 'G':
		return strings.CutPrefix(text, "AD")
	case 'z', 'Z', 'X':
		n := 0
		for n < len(text) && (isASCIILetter(text[n]) || isDigit(text[n]) || strings.IndexByte("+-:/_", text[n]) >= 0) {
			n++
		}
		zone, ok := zones.Lookup(text[:n])
		d.zone = zone
		return text[n:], ok
	}
	return text, false
}

// cutName takes a name, or its first three letters, off a text.
func cutName(text, name string) (string, bool) {
	for _, n := range []string{name, name[:3]} {
		if len(text) >= len(n) && strings.EqualFold(text[:len(n)], n) {
			return text[len(n):], true
		}
	}
	return text, false
}

func (d *dateParts) set(f *dateField, v, digits int) bool {
	within := func(least, most int) bool { return v >= least && v <= most }
	switch f.letter {
	case 'y', 'u':
		if d.year = v; f.count == 2 && digits == 2 {
			d.year = 2000 + v
			if v >= 70 {
				d.year = 1900 + v
			}
		}
		return within(0, 9999)
	case 'M', 'L':
		d.month = v
		return within(1, 12)
	case 'd':
		d.day = v
		return within(1, 31)
	case 'D':
		d.yearDay = v
		return within(1, 366)
	case 'H':
		d.hour = v
		return within(0, 23)
	case 'k':
		d.hour = v % 24
		return within(1, 24)
	case 'K':
		d.hour, d.noon = v, true
		return within(0, 11)
	case 'h':
		d.hour, d.noon = v%12, true
		return within(1, 12)
	case 'm':
		d.minute = v
		return within(0, 59)
	case 's':
		d.second = v
		return within(0, 59)
	default:
		d.ms = v
		return within(0, 999)
	}
}

func (d *dateParts) time() (time.Time, bool) {
	if d.noon && d.half == 1 {
		d.hour += 12
	}
	if d.yearDay > 0 {
		t := time.Date(d.year, 1, d.yearDay, d.hour, d.minute, d.second, d.ms*1e6, d.zone)
		return t, t.Year() == d.year
	}
	t := time.Date(d.year, time.Month(d.month), d.day, d.hour, d.minute, d.second, d.ms*1e6, d.zone)
	return t, time.Date(d.year, time.Month(d.month), d.day, 0, 0, 0, 0, time.UTC).Day() == d.day
}

// patterns compiles the date patterns of one argument.
type patterns struct {
	fixed datePattern
	last  string
	read  datePattern
	good  bool
}

// bindPattern takes the argument at n, or the default if there is none.
func bindPattern(args []Arg, n int, otherwise string) (*patterns, error) {
	p := &patterns{}
	text := otherwise
	if n < len(args) {
		if args[n].Const == nil {
			return p, nil
		}
		text = args[n].Const.Text
	}
	fixed, err := parsePattern(text)
	p.fixed = fixed
	return p, err
}

func (p *patterns) of(args []Value, n int) (datePattern, bool) {
	if p.fixed != nil || n >= len(args) {
		return p.fixed, true
	}
	if text := args[n].Text; text != p.last || !p.good {
		p.last = strings.Clone(text)
		var err error
		p.read, err = parsePattern(p.last)
		p.good = err == nil
	}
	return p.read, p.good
}
