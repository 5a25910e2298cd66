package cron_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/cron"
)

const layout = "2006-01-02 15:04:05.000"

// TestScripts runs testdata/schedules.txt. `next after=T count=N` prints the first instants
// of the schedule that follow T.
func TestScripts(t *testing.T) {
	datadriven.RunTest(t, "testdata/schedules.txt", func(t *testing.T, d *datadriven.TestData) string {
		s, err := cron.Parse(d.Input)
		if err != nil {
			return err.Error()
		}
		after, count := "2020-01-01 00:00:00.000", 3
		if d.HasArg("after") {
			d.ScanArgs(t, "after", &after)
			after = strings.Replace(after, "T", " ", 1)
		}
		if d.HasArg("count") {
			d.ScanArgs(t, "count", &count)
		}
		at, err := time.Parse(layout, after)
		if err != nil {
			return err.Error()
		}
		var out strings.Builder
		ms := at.UnixMilli()
		for range count {
			next, ok := s.Next(ms)
			if !ok {
				out.WriteString("never\n")
				break
			}
			fmt.Fprintln(&out, time.UnixMilli(next).UTC().Format("Mon 2006-01-02 15:04:05"))
			ms = next
		}
		return out.String()
	})
}

// naive is a schedule of plain sets, tested second by second.
type naive struct{ fields [6]map[int]bool }

func (n *naive) fires(t time.Time) bool {
	day := n.fields[3] == nil || n.fields[3][t.Day()]
	week := n.fields[5] == nil || n.fields[5][int(t.Weekday())+1]
	return n.fields[0][t.Second()] && n.fields[1][t.Minute()] && n.fields[2][t.Hour()] && day && n.fields[4][int(t.Month())] && week
}

// Next finds what a search second by second finds, and nothing in between.
func TestNextFindsTheFirstSecondThatFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, text := drawSchedule(t)
		s, err := cron.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		from := rapid.Int64Range(-1e12, 4e12).Draw(t, "from")
		next, ok := s.Next(from)
		if !ok || next <= from || next%1000 != 0 || !n.fires(time.UnixMilli(next).UTC()) {
			t.Fatalf("%s after %d: %d %t", text, from, next, ok)
		}
		second := time.UnixMilli(next).UTC()
		for range 5000 {
			if second = second.Add(-time.Second); second.UnixMilli() <= from {
				break
			}
			if n.fires(second) {
				t.Fatalf("%s after %d: %d, and %d comes before", text, from, next, second.UnixMilli())
			}
		}
	})
}

// Previous is the inverse of Next: no instant lies between what it finds and the time asked for.
func TestPreviousFindsTheLastInstantBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		_, text := drawSchedule(t)
		s, err := cron.Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		at := rapid.Int64Range(-1e12, 4e12).Draw(t, "at")
		before, ok := s.Previous(at)
		if !ok || before >= at {
			t.Fatalf("%s before %d: %d %t", text, at, before, ok)
		}
		if itself, ok := s.Next(before - 1); !ok || itself != before {
			t.Fatalf("%s: %d is no instant of it", text, before)
		}
		if next, ok := s.Next(before); ok && next < at {
			t.Fatalf("%s before %d: found %d, but %d is later", text, at, before, next)
		}
	})
}

func TestPreviousOfTheFirstInstantIsNone(t *testing.T) {
	s, err := cron.Parse("0 0 12 1 1 ? 2030-2031")
	if err != nil {
		t.Fatal(err)
	}
	first := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	if at, ok := s.Previous(first); ok {
		t.Errorf("before the first instant comes %d", at)
	}
	if at, ok := s.Previous(first + 1); !ok || at != first {
		t.Errorf("right after the first instant, the last one is %d %t, want %d", at, ok, first)
	}
}

func drawSchedule(t *rapid.T) (*naive, string) {
	n, texts := &naive{}, make([]string, 6)
	ranges := [6][2]int{{0, 59}, {0, 59}, {0, 23}, {1, 28}, {1, 12}, {1, 7}}
	without := rapid.SampledFrom([]int{3, 5}).Draw(t, "without")
	for i, r := range ranges {
		if i == without {
			texts[i] = "?"
			continue
		}
		n.fields[i] = map[int]bool{}
		if rapid.Bool().Draw(t, "all") {
			texts[i] = "*"
			for v := r[0]; v <= r[1]+3; v++ {
				n.fields[i][v] = true
			}
			continue
		}
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "values") {
			v := rapid.IntRange(r[0], r[1]).Draw(t, "value")
			n.fields[i][v] = true
			parts = append(parts, strconv.Itoa(v))
		}
		texts[i] = strings.Join(parts, ",")
	}
	return n, strings.Join(texts, " ")
}

// Parse never panics, and what it accepts fires.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"*/2 * * * * ?", "0 0 12 LW * ?", "0 0 0 ? 2 6#5", "0 0 0 L-3W * ? 2024/4", "1-5/2,9 * * 15W JAN-MAR ?"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := cron.Parse(text)
		if err != nil {
			return
		}
		at, ok := s.Next(-1e15)
		if !ok {
			t.Fatalf("%q was accepted and never fires", text)
		}
		if again, ok := s.Next(at - 1); !ok || again != at {
			t.Fatalf("%q: %d is the next after itself minus 1, got %d", text, at, again)
		}
	})
}
