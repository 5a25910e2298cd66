package processor

import (
	"strings"
	"testing"

	"eventflux/shared/bus"
)

// A log that is shorter than its results say halts the task, at every start until
// it is restored: what is appended meanwhile takes the sequences of lost frames.
func TestLostTailHalts(t *testing.T) {
	r, copied := newRig(t, sums), newRig(t, sums)
	for i := range 5 {
		r.send("S", 1000, "", "a", i)
	}
	copyLog(t, r, copied)
	r.drained()
	before := len(r.results())
	must(t, r.js.DeleteStream(r.within(), bus.WALStream("sums", 0)))
	for range 3 {
		s, stop := r.start()
		r.eventually("the task has halted", func() bool { return r.info(s).State == string(stateHalted) })
		for _, text := range []string{"EFW_sums_0 ends at 0", "results of 5", "lost its tail"} {
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

	// The way back that the error tells.
	must(t, r.js.DeleteStream(r.within(), bus.WALStream("sums", 0)))
	_, err := bus.EnsureWAL(r.within(), r.js, "sums", 0, bus.StreamLimits{})
	must(t, err)
	copyLog(t, copied, r)
	out, err := r.js.Stream(r.within(), bus.OutStream("sums", 0))
	must(t, err)
	mark, err := out.GetLastMsgForSubject(r.within(), bus.FenceSubject("sums", 0))
	must(t, err)
	must(t, out.DeleteMsg(r.within(), mark.Sequence))
	if info := r.drained(); info.State != string(stateDrained) || info.Applied != 5 {
		t.Errorf("after the log was restored: %+v", info)
	}
	if after := len(r.results()); after != before {
		t.Errorf("%d results after the log was restored, before %d", after, before)
	}
}
