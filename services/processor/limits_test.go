package processor

import (
	"fmt"
	"strings"
	"testing"
)

// doubling is an app in which each pair of queries makes two rows of one.
func doubling(pairs int) string {
	var b strings.Builder
	b.WriteString("@app:name('double') define stream S0 (v long);\n")
	for i := range pairs {
		for _, side := range []string{"a", "b"} {
			fmt.Fprintf(&b, "@info(name='%s%d') from S%d select v insert into S%d;\n", side, i, i, i+1)
		}
	}
	return b.String()
}

// An event from which far too many rows would follow halts its app before any of them is
// published, and says which query it was and what to do.
func TestEndlessEventHaltsItsApp(t *testing.T) {
	r := newRig(t, doubling(40))
	r.send("S0", 1000, "", 1)
	s, stop := r.start()
	defer stop()
	r.eventually("the task has halted", func() bool { return r.info(s).State == string(stateHalted) })
	info := r.info(s)
	for _, want := range []string{"log sequence 1: query ", "rows follow from one event", "limits.event_rows_max", "nothing of this frame was published"} {
		if !strings.Contains(info.Error, want) {
			t.Errorf("halted with %q, want %q in it", info.Error, want)
		}
	}
	if got := r.results(); len(got) > 0 {
		t.Errorf("results: %q", got)
	}
}
