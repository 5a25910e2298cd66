package processor

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// results that the server does not give any more: a message that is deleted is, for who reads
// the stream, what a damaged one is.
func (r *rig) lose(results ...int) {
	r.t.Helper()
	stream, err := r.js.Stream(r.within(), natsconn.OutStream(r.plan.Name, 0))
	must(r.t, err)
	var sequences []uint64
	for seq := stream.CachedInfo().State.FirstSeq; seq <= stream.CachedInfo().State.LastSeq; seq++ {
		m, err := stream.GetMsg(r.within(), seq)
		must(r.t, err)
		if m.Subject != natsconn.FenceSubject(r.plan.Name, 0) {
			sequences = append(sequences, seq)
		}
	}
	for _, i := range results {
		must(r.t, stream.DeleteMsg(r.within(), sequences[i]))
	}
}

const twoResultStreams = `@app:name('a') define stream S (v long);
	from S[v % 2 == 0] select v insert into Even; from S[v % 2 == 1] select v insert into Odd;`

// A start finds that a result is missing although later ones exist. The task halts, names the
// result and says what to do.
func TestMissingResultHalts(t *testing.T) {
	// Ten results come before the newest record, and ten after it.
	for name, lost := range map[string]int{
		"the first": 0, "the first of its stream": 1, "in the middle, before the record": 3, "the newest before the record": 9,
		"the first after the record": 10, "in the middle, after the record": 14, "the last of its stream": 18,
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, twoResultStreams)
			for range 2 {
				for v := range 10 {
					r.send("S", int64(v+1), "", v+1)
				}
				r.drained()
			}
			r.lose(lost)
			s, stop := r.start()
			r.eventually("the task halts", func() bool { return r.info(s).State == control.TaskHalted })
			stop()
			text := r.info(s).Error
			for _, want := range []string{"EFO_a_0", "the server gives no message", "eventflux recover a --to", "results are missing"} {
				if !strings.Contains(text, want) {
					t.Errorf("error lacks %q: %s", want, text)
				}
			}
		})
	}
}

// Results that were removed on purpose do not halt a task.
func TestRemovedResultsAreNotMissing(t *testing.T) {
	r := newRig(t, twoResultStreams)
	for v := range 10 {
		r.send("S", int64(v+1), "", v+1)
	}
	r.drained()
	stream := natsconn.OutStream("a", 0)
	r.lose(0, 3)
	fe := &fencer{task: &task{service: &Service{js: r.js}, nc: r.nc, plan: r.plan, made: app{first: r.plan.Digest}, log: quiet}, generation: 1, recorded: 12}
	if err := fe.checkResults(r.within()); err == nil {
		t.Error("lost results are not found")
	}
	must(t, output.WriteCompactions(r.within(), r.js, stream, map[string]output.Compaction{"Odd": {Before: 7}, "Even": {Before: 7}}))
	must(t, fe.checkResults(r.within()))
}

// Results that are missing at the end are published again.
func TestMissingEndComesAgain(t *testing.T) {
	r := newRig(t, twoResultStreams)
	for v := range 8 {
		r.send("S", int64(v+1), "", v)
	}
	r.drained()
	whole := r.results()
	r.lose(6, 7)
	if got := len(r.results()); got != 6 {
		t.Fatalf("%d results are left", got)
	}
	r.drained()
	if got := r.results(); !slices.Equal(got, whole) {
		t.Fatalf("results\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(whole, "\n"))
	}
	r.send("S", 20, "", 9)
	if i := r.drained(); i.State != control.TaskDrained {
		t.Fatalf("task is %s: %s", i.State, i.Error)
	}
}

// After many results the emitter writes a record, so that a start reads few of them.
func TestRecordsBoundWhatAStartReads(t *testing.T) {
	r := newRig(t, twoResultStreams)
	fences := &fencer{task: &task{nc: r.nc, plan: r.plan, made: app{first: r.plan.Digest}, log: quiet}, generation: 1}
	record := func() uint64 {
		f, _, err := fences.lastFence(context.Background(), natsconn.OutStream("a", 0))
		must(t, err)
		return f.Through
	}
	s, stop := r.start()
	r.eventually("it runs", func() bool { return r.info(s).State == control.TaskRunning })
	before := record()
	for range recordEvery/1000 + 1 {
		b := event.NewBatch(r.plan.Stream("S").Schema)
		for v := range 1000 {
			b.Cols[0].AppendInt(int64(v))
			b.TS = append(b.TS, 1)
		}
		f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: 1000, Arrived: 1})
		must(t, err)
		_, err = f.Wait(r.within())
		must(t, err)
	}
	r.eventually("a record is written", func() bool { return record() > before })
	must(t, s.Drain(r.within()))
	stop()
	if got := record(); got < before+recordEvery {
		t.Errorf("the record is of %d, and was of %d", got, before)
	}
	r.drained()
	stream, err := r.js.Stream(r.within(), natsconn.OutStream("a", 0))
	must(t, err)
	// Fences: two of each of two starts, and one record.
	if got := stream.CachedInfo().State.LastSeq - 5; got != recordEvery+1000 {
		t.Errorf("%d results, want %d", got, recordEvery+1000)
	}
}
