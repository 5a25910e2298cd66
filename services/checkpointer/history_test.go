package checkpointer

import (
	"fmt"
	"maps"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// A version is a scaling if it has another number of partitions than the one before. Where a text
// is not kept, that is not known.
func TestHistoryNamesScalings(t *testing.T) {
	a := &appState{App: control.App{Scalings: 3}}
	for i, partitions := range []int{1, 3, 3, 0, 2, 8} {
		text := fmt.Sprintf("@app:name('A') @app:partitions('%d') define stream S (k string); partition with (k of S) begin from S select k insert into Out; end;", partitions)
		if partitions == 0 {
			text = ""
		}
		a.Versions = append(a.Versions, control.Version{Number: uint32(i + 1), Text: text})
	}
	if got, want := a.scalings(), map[uint32]int{2: 3, 6: 8}; !maps.Equal(got, want) {
		t.Errorf("scalings %v, want %v", got, want)
	}
	a.Scalings = 0
	if got := a.scalings(); got != nil {
		t.Errorf("scalings %v of an app that was never scaled", got)
	}
}
