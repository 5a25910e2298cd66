package shadow_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/log/shadow"
)

const (
	head    = "@app:name('m') %s define stream S (n long, v long); define trigger Every at every 20 milliseconds;\n"
	filter  = "@info(name='f') from S[v > %d] select n, v insert into Out;\n"
	second  = "@info(name='g') from S[v % 7L == 0L] select n, v insert into Out;\n"
	windows = "@info(name='w') from S#timeBatch(50) select n, v insert into Batches;\n" +
		"@info(name='c') from S#length(3) select count() as n, sum(v) as total insert all events into Sums;\n" +
		"@info(name='t') from Every select triggered_time as at insert into Ticks;\n"
	another = "@info(name='x') from S#timeBatch(30) select count() as n insert into Extra;\n"
)

func draw(t *rapid.T, n int) (all []message) {
	ts, seq := int64(1000), int64(0)
	for len(all) < n {
		ts += rapid.Int64Range(0, 5).Draw(t, "step")
		m := message{seq: seq, ts: ts}
		for range max(1, rapid.IntRange(-3, 4).Draw(t, "rows")) {
			m.rows = append(m.rows, rapid.Int64Range(0, 20).Draw(t, "v"))
		}
		seq += int64(len(m.rows))
		all = append(all, m)
	}
	return all
}

func sizes() []int { return []int{1, 100, 20_000} }

func logOf(t testing.TB, app string, messages []message, size int) *writer {
	w := &writer{t: t, app: "m"}
	w.deploy(1, app, "", 1000)
	w.events(compile(t, app).Stream("S").Schema, messages, size)
	return w
}

func asJSON(t testing.TB, v any) string {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func ways() []string {
	return []string{"", "@app:playback", "@app:playback(lateness='10 milliseconds')"}
}

func TestAnEqualTextFindsNoDifference(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		app := fmt.Sprintf(head, rapid.SampledFrom(ways()).Draw(r, "way")) + fmt.Sprintf(filter, 5) + second + windows
		messages := draw(r, 60)
		for _, size := range sizes() {
			w := logOf(t, app, messages, size)
			from := rapid.IntRange(1, len(w.log)).Draw(r, "from")
			report := compare(t, app, app, w.log, from)
			for _, s := range report.Streams {
				if s.Different+s.OnlyOld+s.OnlyNew > 0 || s.Missing != "" {
					r.Fatalf("frames of %d: %s", size, asJSON(t, report))
				}
			}
		}
	})
}

// The rows that a changed filter lets through, or no longer lets through, are all that differs,
// whatever the frames, and also if the new version has one more query.
func TestAChangedFilterFindsExactlyTheRowsThatDiffer(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		way := rapid.SampledFrom(ways()).Draw(r, "way")
		before, after := rapid.Int64Range(0, 20).Draw(r, "before"), rapid.Int64Range(0, 20).Draw(r, "after")
		old := fmt.Sprintf(head, way) + fmt.Sprintf(filter, before) + second + windows
		next := fmt.Sprintf(head, way)
		if rapid.Bool().Draw(r, "first") {
			next += another
		}
		next += fmt.Sprintf(filter, after) + second + windows
		messages := draw(r, 60)
		end := messages[len(messages)-1].ts // two more events let all others leave that wait
		messages = append(messages, message{[]int64{0}, 1 << 20, end + 1000}, message{[]int64{0}, 1<<20 + 1, end + 2000})
		var equal, onlyOld, onlyNew uint64
		for _, m := range messages {
			for _, v := range m.rows {
				switch was, is := v > before, v > after; {
				case was && is:
					equal++
				case was:
					onlyOld++
				case is:
					onlyNew++
				}
				if v%7 == 0 {
					equal++
				}
			}
		}
		if strings.Contains(way, "lateness") {
			equal-- // the last one waits
		}
		var samples []string
		for _, size := range sizes() {
			w := logOf(t, old, messages, size)
			report := compare(t, old, next, w.log, 1)
			for _, s := range report.Streams {
				want := [4]uint64{s.Equal}
				switch s.Name {
				case "Out":
					want = [4]uint64{equal, 0, onlyOld, onlyNew}
				case "Extra":
					want = [4]uint64{0, 0, 0, s.OnlyNew}
				}
				if got := [4]uint64{s.Equal, s.Different, s.OnlyOld, s.OnlyNew}; got != want || s.Name != "Extra" && s.Missing != "" {
					r.Fatalf("frames of %d, %s has %v, want %v: %s", size, s.Name, got, want, asJSON(t, report))
				}
			}
			now := rowsOf(out(&report))
			if samples != nil && !slices.Equal(samples, now) {
				r.Fatalf("samples depend on the frames: %q and %q", samples, now)
			}
			samples = now
		}
	})
}

func out(r *shadow.Report) *shadow.Stream {
	i := slices.IndexFunc(r.Streams, func(s shadow.Stream) bool { return s.Name == "Out" })
	return &r.Streams[i]
}

// rowsOf returns what does not depend on frames of the samples.
func rowsOf(s *shadow.Stream) (all []string) {
	for _, x := range s.Samples {
		text := fmt.Sprintf("%s %d", x.Kind, x.Number)
		for _, row := range []*shadow.Row{x.Old, x.New} {
			if row != nil {
				text += fmt.Sprintf(" %d %s %s", row.Timestamp, row.Kind, row.Data)
			}
		}
		all = append(all, text)
	}
	return all
}

// Values that differ are paired by cause, even where a row more shifts all positions of the
// frame, and the attributes that differ are counted.
func TestRowsThatDifferArePairedByCause(t *testing.T) {
	old := fmt.Sprintf(head, "") + "@info(name='a') from S select n, v, v + 1 as w insert into Out;"
	next := fmt.Sprintf(head, "") + another + "@info(name='b') from S select n insert into More;\n" +
		"@info(name='a') from S select n, v, ifThenElse(n % 4L == 0L, v, v + 1) as w, n as added insert into Out;"
	var messages []message
	for i := range int64(100) {
		messages = append(messages, message{[]int64{i * 3}, i, 1000 + i})
	}
	for _, size := range sizes() {
		report := compare(t, old, next, logOf(t, old, messages, size).log, 1)
		s := out(&report)
		if s.Equal != 75 || s.Different != 25 || s.OnlyOld+s.OnlyNew > 0 || !maps.Equal(s.Attributes, map[string]uint64{"w": 25}) || !slices.Equal(s.NewAttributes, []string{"added"}) {
			t.Errorf("frames of %d: %s", size, asJSON(t, s))
		}
		if x := s.Samples[1]; string(x.Old.Data) != `{"n":4,"v":12,"w":13}` || string(x.New.Data) != `{"n":4,"v":12,"w":12,"added":4}` {
			t.Errorf("frames of %d: sample %s", size, asJSON(t, x))
		}
	}
}

// With more lateness, the same results come later. They are equal.
func TestResultsThatComeLaterAreEqual(t *testing.T) {
	body := fmt.Sprintf(filter, 5) + "@info(name='c') from S#length(3) select count() as n, sum(v) as total insert into Sums;\n"
	old, next := fmt.Sprintf(head, "@app:playback")+body, fmt.Sprintf(head, "@app:playback(lateness='40 milliseconds')")+body
	rapid.Check(t, func(r *rapid.T) {
		messages := draw(r, 100)
		end := messages[len(messages)-1].ts
		for _, size := range sizes() {
			w := logOf(t, old, append(messages, message{[]int64{0}, 1 << 20, end + 1000}, message{[]int64{0}, 1<<20 + 1, end + 2000}), size)
			for _, s := range compare(t, old, next, w.log, 1).Streams {
				// Only the very last event still waits.
				if s.Different+s.OnlyNew > 0 || s.OnlyOld > 1 || s.Equal == 0 && s.Name == "Sums" {
					r.Fatalf("frames of %d: %s", size, asJSON(t, s))
				}
			}
		}
	})
}

// The old version follows the changes in the log. The new one passes over them, and reads
// events of their forms by name.
func TestTheNewVersionPassesOverTheChangesInTheLog(t *testing.T) {
	old := fmt.Sprintf(head, "") + fmt.Sprintf(filter, 5)
	changed := "@app:name('m') define stream S (n long, v long, w long); define trigger Every at every 20 milliseconds;\n" + fmt.Sprintf(filter, 8) + another
	next := fmt.Sprintf(head, "") + fmt.Sprintf(filter, 6)
	var first, rest []message
	for i := range int64(20) {
		first = append(first, message{[]int64{i}, i, 1000 + i})
		rest = append(rest, message{[]int64{i}, 100 + i, 1100 + i})
	}
	for _, size := range sizes() {
		w := logOf(t, old, first, size)
		w.deploy(2, changed, "", 1100)
		w.events(compile(t, changed).Stream("S").Schema, rest, size)
		w.deploy(2, changed, "", 1100) // a leader may append it again
		report := compare(t, old, next, w.log, 1)
		// Before the change, 6 is only in the old version; after it, 7 and 8 only in the new one.
		if s := out(&report); s.Equal != 13+11 || s.OnlyOld != 1 || s.OnlyNew != 2 || s.Different > 0 {
			t.Errorf("frames of %d: %s", size, asJSON(t, report))
		}
	}
}
