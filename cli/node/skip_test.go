package node

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/export"
	"github.com/eventflux/eventflux/cli/replay"
	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A client that may publish to a log can add a record that is not a frame. The app's task halts
// there. recover --skip continues after it, with every result once; restarts, proofs and exports
// skip it, too.
func TestForeignRecordIsPassedOver(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	c.publishBatch(0, 10)
	c.trigger("w")
	c.publishBatch(10, 20)
	c.rows("w", 20)
	sound := c.logEnd()
	ack, err := c.js.Publish(c.within(), natsconn.WALSubject("w", 0), []byte("no frame"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := ack.Sequence
	c.publishBatch(20, 30)
	if task := c.task("halted"); !strings.Contains(task.Error, fmt.Sprintf("log sequence %d", foreign)) {
		t.Errorf("halted by %q", task.Error)
	}

	skip := func(list ...string) recovery.RestoreRequest {
		return recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w"}, Skip: list}
	}
	for _, x := range []struct {
		skip []string
		why  string
	}{
		{[]string{fmt.Sprint(sound)}, fmt.Sprintf("nothing is wrong with record %d", sound)},
		{[]string{"100000"}, "ends at"},
		{[]string{"1"}, "no checkpoint at or before the records before 1"},
		{[]string{"1/" + fmt.Sprint(foreign)}, "the partitions are 0 to 0"},
		{[]string{"x"}, "is not a sequence"},
	} {
		at := c.finished(recovery.VerbRestore, skip(x.skip...))
		if at.State != "failed" || !strings.Contains(at.Error, x.why) {
			t.Errorf("skip %q: %+v, want %q", x.skip, at, x.why)
		}
	}
	at, result := c.restore(skip(fmt.Sprint(foreign)))
	if at.State != "done" || result.Generation != 2 || len(result.Plan.Skipped[0]) != 1 {
		t.Fatalf("%+v, %+v", at, result)
	}
	if s := result.Plan.Skipped[0][0]; s.Sequence != foreign || s.Reason == "" {
		t.Errorf("passed over: %+v", s)
	}
	c.rows("w", 30) // none appeared twice
	c.kill()        // the generation has only its first checkpoint
	c.start()
	c.publishBatch(30, 40)
	c.rows("w", 40)
	c.node.skipLast = true

	// An export from the first checkpoint of the generation contains the foreign record.
	file := filepath.Join(t.TempDir(), "w.efx")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := export.Write(c.within(), c.nc, out, export.Options{App: "w", Version: "1.0.0"}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	var rows strings.Builder
	if err := replay.RunExport(t.Context(), file, &rows, replay.Options{MemoryMax: replay.MemoryMaxDefault}); err != nil {
		t.Error(err)
	}
	if n := strings.Count(rows.String(), "\n"); n != 30 {
		t.Errorf("the export gives %d rows, want those of 30 events:\n%s", n, rows.String())
	}

	next := c.trigger("w")
	if r := c.verifyFull("w", uint64(next)); !r.Sound || !r.Proved {
		t.Errorf("the checkpoint after the foreign record: %+v", r)
	}
	c.end()
	c.start()
	defer c.end()
	c.publishBatch(40, 50)
	all := c.rows("w", 50)

	undisturbed := newChain(t, windowApp)
	undisturbed.start()
	defer undisturbed.end()
	for i := 0; i < 50; i += 10 {
		undisturbed.publishBatch(i, i+10)
	}
	if want := undisturbed.rows("w", 50); !slices.Equal(all, want) {
		t.Errorf("results are\n%q, want\n%q", all, want)
	}
}

// A record of the app's own services cannot be skipped: later records refer to it.
func TestDamagedRecordIsNotPassedOver(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	defer c.end()
	c.publishBatch(0, 10)
	c.trigger("w")
	c.publishBatch(10, 20)
	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err != nil {
		t.Fatal(err)
	}
	own, err := log.GetMsg(c.within(), c.logEnd())
	if err != nil {
		t.Fatal(err)
	}
	own.Data[len(own.Data)-1] ^= 1
	foreign, err := c.js.Publish(c.within(), natsconn.WALSubject("w", 0), own.Data)
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.js.Publish(c.within(), natsconn.WALSubject("w", 0), []byte("another"))
	if err != nil {
		t.Fatal(err)
	}
	c.task("halted")
	request := recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w"}, Skip: []string{fmt.Sprint(foreign.Sequence)}}
	c.refused(request, fmt.Sprintf("record %d of partition 0 cannot be applied either", other.Sequence))
	request.Skip = append(request.Skip, fmt.Sprint(other.Sequence))
	if at, result := c.restore(request); at.State != "done" || len(result.Plan.Skipped[0]) != 2 {
		t.Errorf("%+v, %+v", at, result)
	}
	c.task("running")
}
