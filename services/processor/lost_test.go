package processor

import (
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A log that is shorter than its results show halts the task at every start until it is
// restored: frames that are appended in the meantime get the sequences of lost frames.
func TestLostTailHalts(t *testing.T) {
	r, copied := newRig(t, sums), newRig(t, sums)
	for i := range 5 {
		r.send("S", 1000, "", "a", i)
	}
	copyLog(t, r, copied)
	r.drained()
	before := len(r.results())
	must(t, r.js.DeleteStream(r.within(), natsconn.WALStream("sums", 0)))
	r.ensure()
	for range 3 {
		s, stop := r.start()
		r.eventually("the task has halted", func() bool { return r.info(s).State == control.TaskHalted })
		for _, text := range []string{"EFW_sums_0 ends at 1", "results of 6", "lost its tail"} {
			if info := r.info(s); !strings.Contains(info.Error, text) {
				t.Errorf("halted with %q, want %q in it", info.Error, text)
			}
		}
		for i := range 6 {
			r.send("S", 2000, "", "b", i)
		}
		stop()
	}
	if after := len(r.results()); after != before {
		t.Errorf("%d results after the loss, before %d", after, before)
	}

	// The repair that the error describes.
	must(t, r.js.DeleteStream(r.within(), natsconn.WALStream("sums", 0)))
	r.ensure()
	copyLog(t, copied, r)
	out, err := r.js.Stream(r.within(), natsconn.OutStream("sums", 0))
	must(t, err)
	loss, err := out.GetLastMsgForSubject(r.within(), natsconn.FenceSubject("sums", 0))
	must(t, err)
	must(t, out.DeleteMsg(r.within(), loss.Sequence))
	if info := r.drained(); info.State != control.TaskDrained || info.Applied != 6 {
		t.Errorf("after the log was restored: %+v", info)
	}
	if after := len(r.results()); after != before {
		t.Errorf("%d results after the log was restored, before %d", after, before)
	}
}

// A task makes no streams. It waits for missing ones, and reports that.
func TestTaskWaitsForItsStreams(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "", "a", 1)
	for _, name := range []string{natsconn.OutStream("sums", 0), natsconn.WALStream("sums", 0)} {
		must(t, r.js.DeleteStream(r.within(), name))
		s, stop := r.start()
		r.eventually("the task waits for "+name, func() bool {
			info := r.info(s)
			return info.State == control.TaskStarting && strings.Contains(info.Error, name+": it is not there")
		})
		if _, err := r.js.Stream(r.within(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s is there: %v", name, err)
		}
		r.ensure()
		r.eventually("the task runs", func() bool { return r.info(s).State != control.TaskStarting })
		stop()
	}
}
