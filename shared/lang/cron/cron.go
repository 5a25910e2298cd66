// Package cron reads the schedules of triggers and windows, written as Quartz writes them:
// second, minute, hour, day of the month, month, day of the week and, if given, year. All
// times are UTC. A schedule is a pure function of its text: the same text gives the same
// instants on every machine.
//
// The fields and their special characters follow the Quartz documentation,
// https://www.quartz-scheduler.org/documentation/quartz-2.3.0/tutorials/crontrigger.html.
package cron

import (
	"math/bits"
	"slices"
	"time"
)

// Schedule is a parsed cron text. It is read-only.
type Schedule struct {
	seconds, minutes uint64
	hours            uint32
	months           uint16 // bit 1: January
	years            []int  // sorted; nil: every year
	days             days
}

// days says which days of a month a schedule has: days of the month, or of the week.
type days struct {
	ofMonth uint32 // bit 1: the first
	nearest uint32 // as ofMonth, but the weekday that is nearest to the day (W)
	last    bool   // the last day of the month (L), or before days earlier
	before  int
	weekday bool // with last: the weekday that is nearest to it

	ofWeek     uint8 // bit 0: Sunday
	nth        int   // only the nth such day of the month (#); 0: each
	lastOfWeek bool  // only the last such day of the month
}

// cycleYears is how many years a schedule without years repeats after: the Gregorian calendar
// has a cycle of 400 years, a whole number of weeks.
const cycleYears = 400

// Next returns the first instant of the schedule that is later than ms; false if there is
// none.
func (s *Schedule) Next(ms int64) (int64, bool) {
	t := time.UnixMilli(ms).UTC().Truncate(time.Second).Add(time.Second)
	if !t.After(time.UnixMilli(ms)) { // before 1970, Truncate goes towards later times
		t = t.Add(time.Second)
	}
	year, month, day := t.Date()
	clock := t.Hour()*3600 + t.Minute()*60 + t.Second()
	for end := year + cycleYears; ; {
		var ok bool
		if year, ok = s.yearFrom(year, &month, &day, &clock); !ok || s.years == nil && year > end {
			return 0, false
		}
		if s.months>>uint(month)&1 != 0 {
			if at, ok := s.inMonth(year, month, day, clock); ok {
				return at, true
			}
		}
		day, clock = 1, 0
		if month++; month > time.December {
			year, month = year+1, time.January
		}
	}
}

// Previous returns the last instant of the schedule that is earlier than ms; false if there is
// none.
func (s *Schedule) Previous(ms int64) (int64, bool) {
	const second, year = 1000, 366 * 24 * 3600 * 1000
	for back := int64(second); back < 2*cycleYears*year; back *= 2 {
		at, ok := s.Next(ms - second - back)
		if !ok || at >= ms {
			continue
		}
		// The instant is one of those between at and ms. Next never decreases, so it can be
		// searched by halves.
		for end := ms; end-at > 1; {
			middle := at + (end-at)/2
			if next, ok := s.Next(middle); ok && next < ms {
				at = next
			} else {
				end = middle
			}
		}
		return at, true
	}
	return 0, false
}

// yearFrom returns the first year from year on that the schedule has. If that is a later
// one, it starts at its beginning.
func (s *Schedule) yearFrom(year int, month *time.Month, day, clock *int) (int, bool) {
	if s.years == nil {
		return year, true
	}
	i, found := slices.BinarySearch(s.years, year)
	if i == len(s.years) {
		return 0, false
	}
	if !found {
		*month, *day, *clock = time.January, 1, 0
	}
	return s.years[i], true
}

// inMonth returns the first instant in a month, from second clock of day on.
func (s *Schedule) inMonth(year int, month time.Month, day, clock int) (int64, bool) {
	mask := s.days.of(year, month)
	if mask>>uint(day)&1 != 0 {
		if second, ok := s.inDay(clock); ok {
			return instant(year, month, day, second), true
		}
	}
	if mask &= ^uint32(0) << uint(day) << 1; mask == 0 {
		return 0, false
	}
	second, ok := s.inDay(0)
	return instant(year, month, bits.TrailingZeros32(mask), second), ok
}

func instant(year int, month time.Month, day, second int) int64 {
	return time.Date(year, month, day, 0, 0, second, 0, time.UTC).UnixMilli()
}

// inDay returns the first second of a day, from clock on.
func (s *Schedule) inDay(clock int) (int, bool) {
	hour, minute, second := clock/3600, clock/60%60, clock%60
	if s.hours>>uint(hour)&1 == 0 {
		minute, second = 0, 0
	} else {
		if s.minutes>>uint(minute)&1 == 0 {
			second = 0
		} else if next, ok := from(s.seconds, second); ok {
			return hour*3600 + minute*60 + next, true
		} else {
			minute, second = minute+1, 0
		}
		if next, ok := from(s.minutes, minute); ok {
			second, _ = from(s.seconds, second)
			return hour*3600 + next*60 + second, true
		}
		hour, minute, second = hour+1, 0, 0
	}
	hour, ok := from(uint64(s.hours), hour)
	minute, _ = from(s.minutes, minute)
	second, _ = from(s.seconds, second)
	return hour*3600 + minute*60 + second, ok
}

// from returns the first member of a set that is at least n.
func from(set uint64, n int) (int, bool) {
	if n > 63 {
		return 0, false
	}
	set &= ^uint64(0) << uint(n)
	return bits.TrailingZeros64(set), set != 0
}

// of returns the days of a month that count, as a set.
func (d *days) of(year int, month time.Month) uint32 {
	length := time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
	first := time.Date(year, month, 1, 0, 0, 0, 0, time.UTC).Weekday()
	all := uint32(1)<<uint(length+1) - 2
	if d.ofWeek != 0 {
		return d.inWeeks(first, length)
	}
	set := d.ofMonth & all
	for near := d.nearest & all; near != 0; near &= near - 1 {
		set |= 1 << uint(nearestWeekday(bits.TrailingZeros32(near), first, length))
	}
	if day := length - d.before; d.last && day >= 1 {
		if d.weekday {
			day = nearestWeekday(day, first, length)
		}
		set |= 1 << uint(day)
	}
	return set
}

// inWeeks returns the days of the week that count, in a month of length days.
func (d *days) inWeeks(first time.Weekday, length int) (set uint32) {
	for day := 1; day <= length; day++ {
		weekday := (int(first) + day - 1) % 7
		switch {
		case d.ofWeek>>uint(weekday)&1 == 0:
		case d.nth > 0 && (day-1)/7+1 != d.nth:
		case d.lastOfWeek && day+7 <= length:
		default:
			set |= 1 << uint(day)
		}
	}
	return set
}

// nearestWeekday returns the day from Monday to Friday that is nearest to a day, in the
// same month.
func nearestWeekday(day int, first time.Weekday, length int) int {
	switch time.Weekday((int(first) + day - 1) % 7) {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == length {
			return day - 2
		}
		return day + 1
	}
	return day
}
