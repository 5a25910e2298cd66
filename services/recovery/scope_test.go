package recovery

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Waiting events are restored together with all state or not at all. If they were restored
// alone, events that were applied since would be applied again, and events that arrived
// since would be lost.
func TestWaitingEventsDoNotGoBackAlone(t *testing.T) {
	plan, err := siddhiql.Compile(`@app:name('a') @app:playback(lateness='5 sec') define stream S (v int);
@info(name='q') from S#window.length(3) select v insert into Out;`)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{plan: plan, app: control.App{Name: "a", Partitions: 1}}
	if _, err := h.scope([]string{"reorder"}, ""); err == nil || !strings.Contains(err.Error(), "wait to be applied") {
		t.Errorf("reorder alone: %v", err)
	}
	if _, err := h.scope([]string{"q"}, ""); err != nil {
		t.Errorf("a query: %v", err)
	}
	fork, err := h.scope(nil, AfterFork)
	if err != nil || fork.parts[0]["reorder"] == nil {
		t.Errorf("fork: reorder is not in it, or %v", err)
	}
}
