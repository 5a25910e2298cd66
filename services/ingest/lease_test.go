package ingest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nuid"
)

// A second process waits while the first one reads, and takes over once the first one has
// written nothing for some beats. The first one then stops.
func TestOneProcessReads(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	for i := 1; i <= 5; i++ {
		r.result(0, i, fmt.Sprintf(`{"n":%d}`, i))
	}
	r.acked(0)
	first := r.svc
	stop, done := r.stop, r.done
	r.done = make(chan error, 1)
	r.begin(nil, nextApp)
	if info := r.resultsAre("waiting"); !strings.Contains(info.Reason, first.id) {
		t.Errorf("%+v", info)
	}
	for i := 6; i <= 10; i++ {
		r.result(0, i, fmt.Sprintf(`{"n":%d}`, i))
	}
	r.acked(0)
	if got, err := r.record(); err != nil || got.Owner != first.id {
		t.Errorf("%+v, %v", got, err)
	}
	// A third process took the lease and died: both notice, and one of them continues.
	got, err := r.record()
	if err != nil {
		t.Fatal(err)
	}
	got.Owner = "a process that died"
	r.putRecord(got)
	for i := 11; i <= 15; i++ {
		r.result(0, i, fmt.Sprintf(`{"n":%d}`, i))
	}
	r.acked(0)
	if got, err := r.record(); err != nil || got.Owner != first.id && got.Owner != r.svc.id {
		t.Errorf("%+v, %v", got, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	r.result(0, 16, `{"n":16}`)
	r.acked(0)
	want := make([]int, 16)
	for i := range want {
		want[i] = i + 1
	}
	if got := r.numbers("next", 0)["out.first.Mid.0"]; !slices.Equal(got, want) {
		t.Error(got)
	}
}

// A process that is connected but has stopped writing keeps the lease for some beats. A process
// that is no longer connected to NATS loses it at once.
func TestOwnerThatIsGone(t *testing.T) {
	r := start(t, nil, nextApp)
	r.outStream(0)
	if r.svc.gone(within(t), r.svc.id) {
		t.Error("the process itself is gone")
	}
	for ctx := within(t); !r.svc.gone(ctx, nuid.Next()); { // the server may be slow to answer
		if ctx.Err() != nil {
			t.Fatal("a process that died is there")
		}
	}
}
