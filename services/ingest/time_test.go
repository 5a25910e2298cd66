package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
)

const (
	arrivalApp  = `@app:name('arrives') @source(subject='t.in') define stream S (v int, t long); from S select v insert into O;`
	playbackApp = `@app:name('plays') @app:playback(ahead='1 min') @source(subject='t.in') define stream S (v int, t long); from S select v insert into O;`
	attrApp     = `@app:name('by-attr') @app:playback @source(subject='t.in', timestamp='t') define stream S (v int, t long); from S select v insert into O;`
)

// TestOwnTimes publishes events with all kinds of times to apps that read the same subject
// and judge times differently.
func TestOwnTimes(t *testing.T) {
	r := start(t, nil, arrivalApp, playbackApp, attrApp)
	const year9999 = int64(253_370_764_800_000)
	at := func(ms int64) []string { return []string{"Ef-Timestamp", fmt.Sprint(ms)} }
	for _, c := range []struct {
		name    string
		attr    string // of the event, as JSON
		headers []string
		times   [3]int64 // in the logs of the apps; 0: refused
		texts   []string // in the answer
	}{
		{"no time", "null", nil, [3]int64{arrival, 0, 0}, []string{
			"expected the event's time in the header Ef-Timestamp (eventflux publish --ts ATTRIBUTE), because it drives the clock of this app, found none",
			"t: expected the event's time in ms here, or in the header Ef-Timestamp",
		}},
		{"header", "null", at(arrival - 5000), [3]int64{arrival - 5000, arrival - 5000, arrival - 5000}, nil},
		{"attribute", fmt.Sprint(arrival - 7000), nil, [3]int64{arrival, 0, arrival - 7000}, nil},
		{"attribute before header", fmt.Sprint(arrival - 7000), at(arrival - 5000), [3]int64{arrival - 5000, arrival - 5000, arrival - 7000}, nil},
		{"a minute ahead", "null", at(arrival + 60_000), [3]int64{arrival, arrival + 60_000, arrival + 60_000}, nil},
		{"more than a minute ahead", "null", at(arrival + 60_001), [3]int64{arrival, 0, arrival + 60_001}, []string{
			"is too far ahead: expected a time at most 1m0s ahead of the clock of ingest",
		}},
		{"the year 9999", "null", at(year9999), [3]int64{arrival, 0, 0}, []string{"at most 1m0s ahead", "at most 1h0m0s ahead"}},
		{"the year 9999 in the attribute", fmt.Sprint(year9999), at(arrival), [3]int64{arrival, arrival, 0}, []string{"at most 1h0m0s ahead"}},
		{"an attribute of no time", "9223372036854775807", at(arrival), [3]int64{arrival, arrival, 0}, []string{"t: expected ms since 1970 in the years 1 to 9999"}},
		{"before 1970", "null", at(-1000), [3]int64{-1000, -1000, -1000}, nil},
	} {
		answer := r.ask("t.in", fmt.Sprintf(`{"v":1,"t":%s}`, c.attr), c.headers...)
		refused := ""
		if answer.Error != nil {
			t.Errorf("%s: %+v, and an app has the event", c.name, answer.Error)
		}
		for _, one := range answer.Rejected {
			refused += one.App + ": " + one.Text + "\n"
		}
		for _, text := range c.texts {
			if !strings.Contains(refused, text) {
				t.Errorf("%s: %q lacks %q", c.name, refused, text)
			}
		}
		for i, app := range []string{"arrives", "plays", "by-attr"} {
			if got := r.newTimes(app); c.times[i] == 0 && len(got) > 0 || c.times[i] != 0 && (len(got) != 1 || got[0] != c.times[i]) {
				t.Errorf("%s: app %s has %d in its log, want %d", c.name, app, got, c.times[i])
			}
		}
	}
	counts := map[string][3]uint64{}
	for _, s := range r.svc.Info().Streams {
		counts[s.App] = [3]uint64{s.Clamped, s.Ahead, s.Timeless}
	}
	if want := (map[string][3]uint64{"arrives": {3, 0, 0}, "plays": {0, 2, 2}, "by-attr": {0, 2, 1}}); fmt.Sprint(counts) != fmt.Sprint(want) {
		t.Errorf("clamped, ahead and timeless: %v, want %v", counts, want)
	}
}

// newTimes returns the own times of the events in an app's log since the last call.
func (r *rig) newTimes(app string) []int64 {
	r.t.Helper()
	var times []int64
	r.frames(app, 0, func(f *frame.Frame) {
		for _, b := range f.Blocks {
			times = append(times, b.Batch.TS...)
		}
	})
	if r.read == nil {
		r.read = map[string]int{}
	}
	from := r.read[app]
	r.read[app] = len(times)
	return times[from:]
}
