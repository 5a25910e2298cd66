package ingest

import (
	"strings"
	"testing"
)

// An app does not compute on without results that the stream has lost: it waits until they
// come again in a new generation.
func TestMissingResultsAreWaitedFor(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	r.result(0, 1, `{"n":1}`, "Ef-Previous", "0:0.0")
	r.result(0, 3, `{"n":3}`, "Ef-Previous", "1:2.0") // where is 2?
	r.result(0, 4, `{"n":4}`, "Ef-Previous", "1:3.0")
	got := r.resultsAre("waiting")
	for strings.Contains(got.Reason, "stream not found") { // the follower looked before there was one
		got = r.resultsAre("waiting")
	}
	if !strings.Contains(got.Reason, "results are missing: 1:3.0 on out.first.Mid.0 follows 1:2.0") ||
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
