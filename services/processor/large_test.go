package processor

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// A result that no message can hold halts its task, which says why; all before it are out.
// So does one that comes in a batch with others.
func TestResultLargerThanAMessage(t *testing.T) {
	const app = `@app:name('large') define stream S (v string);
from S select v as a, v as b, v as c insert into Out;`
	for name, small := range map[string]int{"alone": 1, "in a batch": 3 * batchMessagesMin} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, app)
			b := event.NewBatch(r.plan.Stream("S").Schema)
			for range small {
				b.Cols[0].AppendText("x")
			}
			b.Cols[0].AppendText(strings.Repeat("x", int(r.nc.MaxPayload())/3))
			b.Cols[0].AppendText("y")
			for range small + 2 {
				b.TS = append(b.TS, 1)
			}
			f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: b.Len(), Arrived: 1})
			must(t, err)
			_, err = f.Wait(r.within())
			must(t, err)
			s, stop := r.start()
			defer stop()
			r.eventually("the task has halted", func() bool { return r.info(s).State == control.TaskHalted })
			for _, want := range []string{"log sequence 2", "out.large.Out.0", "max_payload"} {
				if got := r.info(s).Error; !strings.Contains(got, want) {
					t.Errorf("halted with %q, want %q in it", got, want)
				}
			}
			if got := len(r.results()); got != small {
				t.Errorf("%d results are out, want %d", got, small)
			}
		})
	}
}

// Rows that fit into messages, but not all into one, are packed into several.
func TestPackedRowsFitIntoMessages(t *testing.T) {
	r := newRig(t, `@app:name('packed') define stream S (v string);
@sink(stream='Out', pack='ndjson')
from S select v insert into Out;`)
	b := event.NewBatch(r.plan.Stream("S").Schema)
	for _, size := range []int{packBytesMax / 2, packBytesMax, 1, packBytesMax - 100, 1} {
		b.Cols[0].AppendText(strings.Repeat("x", size))
		b.TS = append(b.TS, 1)
	}
	f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: b.Len(), Arrived: 1})
	must(t, err)
	_, err = f.Wait(r.within())
	must(t, err)
	r.drained()
	var ends []string
	for _, line := range r.results() {
		fields := strings.Fields(line)
		ends = append(ends, fields[1])
		if rows := strings.Join(fields[4:], ""); strings.Count(rows, "{") > 1 && len(rows) > packBytesMax {
			t.Errorf("the message that ends with %s has several rows and %d bytes", fields[1], len(rows))
		}
	}
	if got, want := strings.Join(ends, " "), "2.0 2.1 2.4"; got != want {
		t.Errorf("messages end with %s, want %s", got, want)
	}
}

// A dead letter that no message can hold is stored without its event, and says so: it keeps
// no checkpoint waiting.
func TestDeadLetterLargerThanAMessage(t *testing.T) {
	r := newRig(t, lateApp)
	l, err := newLetters(r.nc, "late", 0, 1, quiet)
	must(t, err)
	data := make([]byte, r.nc.MaxPayload())
	m := message{subject: natsconn.DLQSubject("late", "S"), end: len(data), at: position{2, 1}, ts: 1000, reason: "late"}
	if failed, err := l.publish(r.within(), data, []message{m}); len(failed) > 0 {
		t.Fatal(err)
	}
	got := r.deadLetters()
	if len(got) != 1 || !strings.Contains(got[0], "late.0:1:2.1 1000") || !strings.Contains(got[0], "the event is left out") {
		t.Errorf("dead letters %q", got)
	}
}
