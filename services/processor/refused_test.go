package processor

import (
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
)

const refusingApp = `@app:name('keys') @OnError(action='stream') define stream S (k string, v int);
@PrimaryKey('k') define table T (k string, v int);
@info(name='keep') from S select k, v insert into T;
from !S select k, v insert into Again;`

// Rows that a table refuses are counted by query, and again after a replay; their events are in
// the fault stream.
func TestRefusedRowsAreCounted(t *testing.T) {
	r := newRig(t, refusingApp)
	for i, k := range []any{"a", "b", "a", "a", "b"} {
		r.send("S", int64(i), "", k, i)
	}
	want := []engine.RefusedRows{{Query: `query "keep" (number 1 of 2)`, Table: "T", Rows: 3, Why: "its primary key is taken"}}
	for range 2 {
		info := r.drained()
		if !slices.Equal(info.Refused, want) || info.Dropped != 3 {
			t.Errorf("refused %+v, dropped %d; want %+v", info.Refused, info.Dropped, want)
		}
	}
	if got := r.results(); len(got) != 3 {
		t.Errorf("results %q", got)
	}
}
