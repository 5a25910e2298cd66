package ingest

import (
	"strings"
	"testing"
)

// waitsForMissing waits until the app waits for results that are missing.
func (r *rig) waitsForMissing() InfoResults {
	r.t.Helper()
	for {
		got := r.resultsAre("waiting")
		if strings.Contains(got.Reason, "results are missing: ") {
			return got
		}
		// The follower looked before there was a stream, and looks again.
	}
}

// The first result of a stream that was never trimmed follows none.
func TestMissingFirstResultIsWaitedFor(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	r.result(0, 2, `{"n":2}`, "Ef-Previous", "1:1.0")
	if got := r.waitsForMissing(); !strings.Contains(got.Reason, "1:2.0 on out.first.Mid.0 follows 1:1.0, and none is before it") {
		t.Fatalf("%+v", got)
	}
	if log := r.logged("next", 0); len(log) > 0 {
		t.Errorf("the log has %v", log)
	}
}

// An app does not continue without results that the stream has lost: it waits until a new
// generation has them again.
func TestMissingResultsAreWaitedFor(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	r.result(0, 1, `{"n":1}`, "Ef-Previous", "0:0.0")
	r.result(0, 3, `{"n":3}`, "Ef-Previous", "1:2.0") // where is 2?
	r.result(0, 4, `{"n":4}`, "Ef-Previous", "1:3.0")
	if got := r.waitsForMissing(); !strings.Contains(got.Reason, "1:3.0 on out.first.Mid.0 follows 1:2.0") ||
		!strings.Contains(got.Reason, "eventflux recover first --to") {
		t.Fatalf("%+v", got)
	}
	r.result(0, 2, `{"n":2}`, "Ef-Generation", "2", "Ef-Previous", "1:4.0")
	r.result(0, 3, `{"n":3}`, "Ef-Generation", "2", "Ef-Previous", "2:2.0")
	r.acked(0)
	r.resultsAre("reading")
	log := strings.Join(r.logged("next", 0), "\n")
	for _, want := range []string{"[1]", "[2]", "[3]"} {
		if strings.Count(log, want) != 1 {
			t.Errorf("%d times %s in the log:\n%s", strings.Count(log, want), want, log)
		}
	}
	if strings.Contains(log, "[4]") {
		t.Errorf("the log has a result after the missing one:\n%s", log)
	}
}
