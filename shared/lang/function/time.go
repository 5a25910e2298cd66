package function

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function/zones"
)

// Dates are texts, in UTC unless their pattern has a zone, or longs with ms since 1970.

func init() {
	initNow()
	initDates()
	initUnits()
}

// zoneOf binds the argument at n, the name of a zone; UTC if there is none.
func zoneOf(args []Arg, n int) (func(args []Value) *time.Location, error) {
	if n >= len(args) {
		return func([]Value) *time.Location { return time.UTC }, nil
	}
	if args[n].Const != nil {
		zone, ok := zones.Lookup(args[n].Const.Text)
		if !ok {
			return nil, fmt.Errorf("unknown time zone '%s': expected one such as 'Europe/Berlin', 'UTC' or '+02:00'", args[n].Const.Text)
		}
		return func([]Value) *time.Location { return zone }, nil
	}
	known := map[string]*time.Location{}
	return func(args []Value) *time.Location {
		zone, ok := known[args[n].Text]
		if !ok {
			if len(known) == regexpsMax {
				clear(known)
			}
			name := strings.Clone(args[n].Text)
			zone, _ = zones.Lookup(name)
			known[name] = zone
		}
		return zone
	}, nil
}

// initNow registers functions of the app's clock.
func initNow() {
	now := func(name, params, doc, example, gives, pattern string) {
		Register(Spec{
			Name: name, Signatures: []string{name + params + " string"}, Doc: doc, Example: example, Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				var zoned []Arg
				patternAt := len(args)
				if name == "time:currentTimestamp" {
					zoned = args
				} else {
					patternAt = 0
				}
				zone, err := zoneOf(zoned, 0)
				if err != nil {
					return nil, err
				}
				p, err := bindPattern(args, patternAt, pattern)
				return func(c *Context, args []Value, out *Value) {
					pattern, ok := p.of(args, patternAt)
					to := time.UTC
					if zoned != nil {
						to = zone(args)
					}
					writeTime(c, pattern, time.UnixMilli(c.Now), to, ok, out)
				}, err
			},
		})
	}
	now("time:currentTimestamp", "([zone string])", "the app's clock, in UTC or in a zone", "time:currentTimestamp('Asia/Kolkata')", `"2024-02-29 18:00:45"`, "yyyy-MM-dd HH:mm:ss")
	now("time:currentDate", "()", "the date of the app's clock, in UTC", "time:currentDate()", `"2024-02-29"`, "yyyy-MM-dd")
	now("time:currentTime", "()", "the time of day of the app's clock, in UTC", "time:currentTime()", `"12:30:45"`, "HH:mm:ss")
	now("time:utcTimestamp", "([pattern string])", "the app's clock, in UTC", "time:utcTimestamp()", `"2024-02-29 12:30:45"`, "yyyy-MM-dd HH:mm:ss")
	Register(Spec{
		Name: "time:timestampInMilliseconds", Signatures: []string{"time:timestampInMilliseconds([date string, pattern string]) long"},
		Doc: "the date in ms since 1970; without arguments the app's clock", Example: "time:timestampInMilliseconds('2024-02-29', 'yyyy-MM-dd')", Gives: "1709164800000",
		Bind: func(args []Arg) (Func, error) {
			p, err := bindPattern(args, 1, defaultPattern)
			return func(c *Context, args []Value, out *Value) {
				if len(args) == 0 {
					out.Int = c.Now
					return
				}
				if t, ok := dateOf(p, args, 0, 1); ok {
					out.Int = t.UnixMilli()
				} else {
					null(out)
				}
			}, err
		},
	})
}

// writeTime writes a time in a zone. Years before 1 and after 9999 are null.
func writeTime(c *Context, p datePattern, t time.Time, zone *time.Location, ok bool, out *Value) {
	if !ok || zone == nil {
		null(out)
		return
	}
	t = t.In(zone)
	if year := t.Year(); year < 1 || year > 9999 {
		null(out)
		return
	}
	start := len(c.Text)
	c.Text = p.format(c.Text, t)
	c.end(out, start)
}

// dateOf reads a date: a text by the pattern at an argument.
func dateOf(p *patterns, args []Value, date, pattern int) (time.Time, bool) {
	fields, ok := p.of(args, pattern)
	if !ok {
		return time.Time{}, false
	}
	return fields.parse(args[date].Text)
}

// initDates registers functions that read and write dates.
func initDates() {
	Register(Spec{
		Name: "time:dateFormat",
		Signatures: []string{
			"time:dateFormat(date string, target string[, source string]) string",
			"time:dateFormat(ms long, target string) string",
		},
		Doc: "the date in another pattern", Example: "time:dateFormat('2024-02-29', 'EEE d MMM yyyy', 'yyyy-MM-dd')", Gives: `"Thu 29 Feb 2024"`,
		Bind: func(args []Arg) (Func, error) {
			target, err := bindPattern(args, 1, "")
			if err != nil {
				return nil, err
			}
			source, err := bindPattern(args, 2, defaultPattern)
			ms := args[0].Type != event.String
			return func(c *Context, args []Value, out *Value) {
				to, good := target.of(args, 1)
				t, ok := time.UnixMilli(args[0].Int), true
				if !ms {
					t, ok = dateOf(source, args, 0, 2)
				}
				writeTime(c, to, t, time.UTC, ok && good, out)
			}, err
		},
	})
	shape := func(name, doc, example, gives, to string) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(date string[, pattern string]) string"}, Doc: doc, Example: example, Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				target, _ := parsePattern(to)
				p, err := bindPattern(args, 1, defaultPattern)
				return func(c *Context, args []Value, out *Value) {
					t, ok := dateOf(p, args, 0, 1)
					writeTime(c, target, t, t.Location(), ok, out)
				}, err
			},
		})
	}
	shape("time:date", "the day of a date", "time:date('2024-02-29 12:30:45.000')", `"2024-02-29"`, "yyyy-MM-dd")
	shape("time:dayOfWeek", "the name of the day", "time:dayOfWeek('2024-02-29', 'yyyy-MM-dd')", `"Thursday"`, "EEEE")
	Register(Spec{
		Name:       "time:timezoneConvert",
		Signatures: []string{"time:timezoneConvert(date string, pattern string, target string[, source string]) string"},
		Doc:        "the date in another time zone; the source is UTC if it is left out", Example: "time:timezoneConvert('2024-07-01 12:00', 'yyyy-MM-dd HH:mm', 'Europe/Berlin')", Gives: `"2024-07-01 14:00"`,
		Bind: bindConvert,
	})
}

func bindConvert(args []Arg) (Func, error) {
	p, err := bindPattern(args, 1, "")
	if err != nil {
		return nil, err
	}
	target, err := zoneOf(args, 2)
	if err != nil {
		return nil, err
	}
	source, err := zoneOf(args, 3)
	return func(c *Context, args []Value, out *Value) {
		t, ok := dateOf(p, args, 0, 1)
		from := source(args)
		if !ok || from == nil {
			null(out)
			return
		}
		if t.Location() == time.UTC {
			t = time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), from)
		}
		pattern, _ := p.of(args, 1)
		writeTime(c, pattern, t, target(args), true, out)
	}, err
}

var timeUnits = []string{"MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"}

// unitOf returns the place of a unit in timeUnits; -1 if there is none.
func unitOf(text string) int {
	return slices.IndexFunc(timeUnits, func(u string) bool { return strings.EqualFold(u, text) })
}

func checkUnit(a Arg) error {
	if a.Const != nil && unitOf(a.Const.Text) < 0 {
		return fmt.Errorf("unknown unit '%s': expected one of %s", a.Const.Text, strings.Join(timeUnits, ", "))
	}
	return nil
}

// initUnits registers functions that count in units.
func initUnits() {
	for name, sign := range map[string]int64{"time:dateAdd": 1, "time:dateSub": -1} {
		word, gives := "later", `"2024-03-01"`
		if sign < 0 {
			word, gives = "earlier", `"2024-02-28"`
		}
		Register(Spec{
			Name: name,
			Signatures: []string{
				name + "(date string, n int, unit string[, pattern string]) string",
				name + "(ms long, n int, unit string) string",
			},
			Doc:     "the date that many units " + word + "; months end on their last day; of ms, the ms as a text",
			Example: name + "('2024-02-29', 1, 'DAY', 'yyyy-MM-dd')", Gives: gives,
			Bind: func(args []Arg) (Func, error) { return bindShift(args, sign) },
		})
	}
	Register(Spec{
		Name: "time:dateDiff",
		Signatures: []string{
			"time:dateDiff(a string, b string[, patternA string, patternB string]) int",
			"time:dateDiff(a long, b long) int",
		},
		Doc: "how many whole days a is after b", Example: "time:dateDiff('2024-03-01', '2024-02-28', 'yyyy-MM-dd', 'yyyy-MM-dd')", Gives: "2",
		Bind: bindDifference,
	})
	Register(Spec{
		Name: "time:extract",
		Signatures: []string{
			"time:extract(unit string, date string[, pattern string]) int",
			"time:extract(ms long, unit string) int",
		},
		Doc:     "a part of the date, such as its YEAR, MONTH, DAY or HOUR; week 1 has 1 January, and weeks begin on Sunday",
		Example: "time:extract('MONTH', '2024-02-29', 'yyyy-MM-dd')", Gives: "2",
		Bind: bindExtract,
	})
}

func bindShift(args []Arg, sign int64) (Func, error) {
	if err := checkUnit(args[2]); err != nil {
		return nil, err
	}
	p, err := bindPattern(args, 3, defaultPattern)
	ms := args[0].Type != event.String
	return func(c *Context, args []Value, out *Value) {
		t, ok := time.UnixMilli(args[0].Int).UTC(), true
		if !ms {
			t, ok = dateOf(p, args, 0, 3)
		}
		if ok {
			t, ok = shifted(t, sign, args[1].Int, unitOf(args[2].Text))
		}
		if !ok || !ms {
			pattern, _ := p.of(args, 3)
			writeTime(c, pattern, t, t.Location(), ok, out)
			return
		}
		start := len(c.Text)
		c.Text = strconv.AppendInt(c.Text, t.UnixMilli(), 10)
		c.end(out, start)
	}, err
}

const shiftMax = 10_000_000_000_000 // units; more leads beyond the year 9999 or fits no time

// shifted returns the time n units later.
func shifted(t time.Time, sign, n int64, unit int) (time.Time, bool) {
	if unit < 0 || n > shiftMax || n < -shiftMax {
		return t, false
	}
	n *= sign
	switch timeUnits[unit] {
	case "MONTH":
		return months(t, n)
	case "QUARTER":
		return months(t, 3*n)
	case "YEAR":
		return months(t, 12*n)
	}
	size := [...]int64{1, 1000, 60_000, 3_600_000, 86_400_000, 7 * 86_400_000}[unit]
	const most = 1 << 53
	if n > most/size || n < -most/size {
		return t, false
	}
	if ms := t.UnixMilli() + n*size; ms < most && ms > -most {
		return time.UnixMilli(ms).In(t.Location()), true
	}
	return t, false
}

// months adds months. A day beyond the end of the month becomes its last day.
func months(t time.Time, n int64) (time.Time, bool) {
	if n > 200_000 || n < -200_000 {
		return t, false
	}
	first := time.Date(t.Year(), t.Month()+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	last := time.Date(first.Year(), first.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	return time.Date(first.Year(), first.Month(), min(t.Day(), last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location()), true
}

func bindDifference(args []Arg) (Func, error) {
	first, err := bindPattern(args, 2, defaultPattern)
	if err != nil {
		return nil, err
	}
	otherwise := defaultPattern
	if len(args) == 3 && args[2].Const != nil {
		otherwise = args[2].Const.Text
	}
	second, err := bindPattern(args, 3, otherwise)
	ms := args[0].Type != event.String
	return func(_ *Context, args []Value, out *Value) {
		a, b := args[0].Int, args[1].Int
		if !ms {
			x, okX := dateOf(first, args, 0, 2)
			y, okY := dateOf(second, args, 1, 3)
			if !okX || !okY {
				null(out)
				return
			}
			a, b = x.UnixMilli(), y.UnixMilli()
		}
		if d := (a - b) / 86_400_000; (a > b) == (a-b > 0) && int64(int32(d)) == d {
			out.Int = d
		} else {
			null(out)
		}
	}, err
}

func bindExtract(args []Arg) (Func, error) {
	unitAt, dateAt := 0, 1
	ms := args[0].Type != event.String
	if ms {
		unitAt, dateAt = 1, 0
	}
	if err := checkUnit(args[unitAt]); err != nil {
		return nil, err
	}
	p, err := bindPattern(args, 2, defaultPattern)
	return func(_ *Context, args []Value, out *Value) {
		t, ok := time.UnixMilli(args[dateAt].Int).UTC(), true
		if !ms {
			t, ok = dateOf(p, args, dateAt, 2)
		}
		unit := unitOf(args[unitAt].Text)
		if !ok || unit < 0 {
			null(out)
			return
		}
		out.Int = int64(extract(t, timeUnits[unit]))
	}, err
}

func extract(t time.Time, unit string) int {
	switch unit {
	case "MILLISECOND":
		return t.Nanosecond() / 1e6
	case "SECOND":
		return t.Second()
	case "MINUTE":
		return t.Minute()
	case "HOUR":
		return t.Hour()
	case "DAY":
		return t.Day()
	case "WEEK":
		return week(t)
	case "MONTH":
		return int(t.Month())
	case "QUARTER":
		return (int(t.Month()) + 2) / 3
	}
	return t.Year()
}

// week returns the number of the week. Week 1 has 1 January, also of the next year.
func week(t time.Time) int {
	if saturday := t.AddDate(0, 0, int(time.Saturday-t.Weekday())); saturday.Year() > t.Year() {
		return 1
	}
	first := time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC).Weekday()
	return (t.YearDay()-1+int(first))/7 + 1
}
