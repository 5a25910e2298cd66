package node

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A target may be a result, written as in its header: the state after the event that caused the
// result. A position that is not in the log is refused, in any form.
func TestTargetsAreExact(t *testing.T) {
	t.Parallel()
	c := newChain(t, twoQueries)
	asked := withRestorer(c)
	c.start()
	defer c.end()
	c.publishAll(0, 5)
	c.trigger("w")
	c.publishBatch(5, 15)
	frame := c.logEnd()
	c.publishAll(15, 18)
	c.rows("w", 18)

	stream, err := c.js.Stream(c.within(), natsconn.OutStream("w", 0))
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(c.within(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("w", "Out", 0)}})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.FetchNoWait(18)
	if err != nil {
		t.Fatal(err)
	}
	event := 0
	for m := range batch.Messages() {
		position := m.Headers().Get("Ef-Position")
		if !strings.HasPrefix(position, fmt.Sprintf("%d.", frame)) {
			continue
		}
		event++
		want := fmt.Sprintf("seq:%d.%d", frame, event)
		for _, at := range []string{position, m.Headers().Get("Ef-Generation") + ":" + position} {
			_, result := c.restore(c.whole(recovery.Target{At: recovery.At(at)}))
			if got := result.Plan.Partitions[0].Target.String(); got != want {
				t.Errorf("%s leads to %s, want %s", at, got, want)
			}
			if r := asked.last(); len(r.Starts) != 1 || r.Starts[0].Event != uint64(event) {
				t.Errorf("%s asks for %+v", at, r.Starts)
			}
		}
	}
	if event != 10 {
		t.Fatalf("%d results of frame %d, want 10", event, frame)
	}
	for _, x := range []struct{ at, why string }{
		{fmt.Sprintf("seq:%d.99999", frame), fmt.Sprintf("holds 10 events, and event 99999 was asked for; next: eventflux recover w --at seq:%d", frame)},
		{fmt.Sprintf("seq:%d.11", frame), "holds 10 events"},
		{fmt.Sprintf("seq:%d.2", c.logEnd()), "holds 1 events"},
		{fmt.Sprintf("%d.20", frame), "20 result rows, and row 20 was asked for"},
		{fmt.Sprintf("%d.0", c.logEnd()+1), "the log ends at"},
		{fmt.Sprintf("7:%d.0", frame), "generation 7"},
		{"1.0,2.0", "2 results, and the app has 1 partitions"},
		{"1.x", "is not an instant"},
	} {
		c.refused(c.whole(recovery.Target{At: recovery.At(x.at)}), x.why)
		if err := c.ask(recovery.VerbState, recovery.StateRequest{App: "w", Component: "clock", Target: recovery.Target{At: recovery.At(x.at)}}, nil); err == nil {
			t.Errorf("there is a state at %s", x.at)
		}
	}
}
