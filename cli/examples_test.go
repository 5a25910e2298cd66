package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const repository = ".."

// outputRow is an output line of replay.
type outputRow struct {
	Query, Stream, Kind string
	TS                  int64
	Data                []any
	Chunk               uint64
	Input               int
	Clock               int64
}

type flight struct {
	Time                int64
	Origin, Destination string
	Delay, Distance     int
}

type quake struct {
	Time       int64
	Net, Type  string
	Mag, Depth float64
	Place      string
}

// The delays of the flights app equal a straightforward computation from the data, flight by
// flight.
func TestFlightsExample(t *testing.T) {
	rows := replayExample(t, "flights", "Flights")
	last := map[string][]int{} // delays of the last 50 flights of an airport
	n := 0
	for _, f := range readLines[flight](t, "examples/data/flights.ndjson") {
		delays := append(last[f.Origin], f.Delay)
		delays = delays[max(0, len(delays)-50):]
		last[f.Origin] = delays
		sum, worst := 0, math.MinInt
		for _, d := range delays {
			sum, worst = sum+d, max(worst, d)
		}
		want := fmt.Sprint([]any{f.Origin, float64(len(delays)), float64(sum) / float64(len(delays)), float64(worst)})
		if r := rows["airport"][n]; fmt.Sprint(r.Data) != want || r.TS != f.Time || r.Input != n+1 {
			t.Fatalf("flight %d: %+v, want %s", n+1, r, want)
		}
		n++
	}
	if len(rows["airport"]) != n || n == 0 {
		t.Errorf("%d rows for %d flights", len(rows["airport"]), n)
	}
	if len(rows["late"]) == 0 || len(rows["busiest"])%3 != 0 || len(rows["busiest"]) < 3*85 {
		t.Errorf("%d late airports, %d busiest ones", len(rows["late"]), len(rows["busiest"]))
	}
}

// The earthquakes app is checked in the same way, per network over the last 24 hours.
func TestEarthquakesExample(t *testing.T) {
	rows := replayExample(t, "earthquakes", "Earthquakes")
	quakes := readLines[quake](t, "examples/data/earthquakes.ndjson")
	strong := 0
	next := rows["networks"]
	for i, q := range quakes {
		if q.Mag >= 5 {
			strong++
		}
		if q.Type != "earthquake" {
			continue
		}
		count, strongest := 0, math.Inf(-1)
		for _, o := range quakes[:i+1] {
			if o.Type == q.Type && o.Net == q.Net && o.Time+24*3600*1000 > q.Time {
				count, strongest = count+1, max(strongest, o.Mag)
			}
		}
		want := fmt.Sprint([]any{q.Net, float64(count), strongest})
		for len(next) > 0 && (next[0].Kind == "expired" || next[0].Input <= i) {
			next = next[1:]
		}
		if len(next) == 0 || fmt.Sprint(next[0].Data) != want {
			t.Fatalf("earthquake %d: want %s, the rows go on with %+v", i+1, want, next[:min(2, len(next))])
		}
	}
	if len(rows["strong"]) != strong || strong == 0 {
		t.Errorf("%d strong earthquakes, want %d", len(rows["strong"]), strong)
	}
}

// replayExample replays an example with its data, and returns the rows by query.
func replayExample(t *testing.T, name, stream string) map[string][]outputRow {
	t.Helper()
	t.Chdir(repository)
	stdout, stderr, code := run(fmt.Sprintf(
		"replay examples/%s.siddhi --events examples/data/%[1]s.ndjson --stream %s --ts time", name, stream), "")
	if code != exitOK {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	byQuery := map[string][]outputRow{}
	for _, r := range decodeLines[outputRow](t, stdout) {
		byQuery[r.Query] = append(byQuery[r.Query], r)
	}
	return byQuery
}

func readLines[T any](t *testing.T, file string) []T {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	return decodeLines[T](t, string(text))
}

func decodeLines[T any](t *testing.T, text string) []T {
	t.Helper()
	var list []T
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var v T
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatalf("%v in %s", err, lines.Text())
		}
		list = append(list, v)
	}
	return list
}
