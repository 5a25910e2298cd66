package processor

import (
	"context"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// A panic while a frame is applied is an error of that task, both of an owner and of a
// standby. The process and its other tasks continue.
func TestPanicIsAnErrorOfItsTask(t *testing.T) {
	r := newRig(t, sums)
	seq := r.send("S", 1000, "", "a", 1)
	log, err := r.js.Stream(r.within(), natsconn.WALStream(r.plan.Name, 0))
	must(t, err)
	m, err := log.GetMsg(r.within(), seq)
	must(t, err)
	for name, apply := range map[string]func(*replica, context.Context, wal.Record) error{
		"owner": func(broken *replica, ctx context.Context, r wal.Record) error {
			_, err := newOwner(broken).apply(ctx, r)
			return err
		},
		"standby": func(broken *replica, ctx context.Context, r wal.Record) error {
			s := newStandby()
			s.replica = broken
			return s.apply(ctx, r)
		},
	} {
		broken := &replica{program: program{task: &task{plan: r.plan}}} // without an engine
		if err := apply(broken, r.within(), wal.Record{Seq: seq, Data: m.Data}); err == nil || !strings.Contains(err.Error(), "panic") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
