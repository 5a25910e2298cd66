package node

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// publishBatch publishes events [from, to) as one frame of the log.
func (c *chain) publishBatch(from, to int) {
	c.t.Helper()
	payload := []byte("[")
	for i := from; i < to; i++ {
		if i > from {
			payload = append(payload, ',')
		}
		payload = fmt.Appendf(payload, `{"k":"k%d","v":%d}`, i%3, i*i%101)
	}
	if _, err := c.js.Publish(c.within(), "events.S", append(payload, ']')); err != nil {
		c.t.Fatal(err)
	}
}

// generations waits until app w has published n rows, and returns the rows of each generation
// in order.
func (c *chain) generations(n int) map[string][]string {
	c.t.Helper()
	c.rows("w", n)
	rows := map[string][]string{}
	for _, m := range c.messages(n) {
		g := m.Headers().Get("Ef-Generation")
		rows[g] = append(rows[g], string(m.Data()))
	}
	return rows
}

// messages waits for the first n messages of stream Out of app w.
func (c *chain) messages(n int) (all []jetstream.Msg) {
	c.t.Helper()
	stream, err := c.js.Stream(c.within(), natsconn.OutStream("w", 0))
	if err != nil {
		c.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(c.within(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("w", "Out", 0)}})
	if err != nil {
		c.t.Fatal(err)
	}
	batch, err := consumer.Fetch(n)
	if err != nil {
		c.t.Fatal(err)
	}
	for m := range batch.Messages() {
		all = append(all, m)
	}
	return all
}

// An app that is restored to a position in its log publishes the results after that position again,
// in a new generation, and continues from there across restarts.
func TestRestoreToAPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		start *checkpoint.Start // after the barrier of the checkpoint
		again int               // number of the first event whose result is published again
	}{
		"the barrier":             {nil, 40},
		"a frame":                 {&checkpoint.Start{Sequence: 2}, 60},
		"an event":                {&checkpoint.Start{Sequence: 2, Event: 7}, 57},
		"the last event":          {&checkpoint.Start{Sequence: 2, Event: 10}, 60},
		"the first of the frames": {&checkpoint.Start{Sequence: 1, Event: 1}, 41},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, windowApp)
			c.start()
			for i := 0; i < 40; i += 10 {
				c.publishBatch(i, i+10)
			}
			first := c.trigger("w")
			for i := 40; i < 100; i += 10 {
				c.publishBatch(i, i+10)
			}
			c.trigger("w")
			c.rows("w", 100)
			r := control.RestoreRequest{App: "w", Epoch: first}
			if test.start != nil { // relative to the barrier
				_, m := c.manifest(first)
				at := *test.start
				at.Sequence += m.Partitions[0].Log.Sequence
				r.Starts = []control.Start{{Partition: 0, Start: at}}
			}
			answer, err := c.node.control.Restore(c.within(), r)
			if err != nil || answer.Generation != 2 {
				t.Fatalf("%+v, %v", answer, err)
			}
			again := 100 - test.again
			got := c.generations(100 + again)
			if !slices.Equal(got["2"], got["1"][test.again:]) {
				t.Errorf("generation 2 has\n%q, want\n%q", got["2"], got["1"][test.again:])
			}
			c.publishBatch(100, 110)
			c.rows("w", 110+again)
			c.kill()
			c.start()
			if got := c.task("running"); got.Restored != uint64(answer.Epoch) || got.Generation != 2 {
				t.Errorf("restored %d of generation %d, want %d of 2", got.Restored, got.Generation, answer.Epoch)
			}
			next := c.trigger("w")
			c.publishBatch(110, 120)
			c.end()
			c.start()
			c.publishBatch(120, 130)
			got = c.generations(130 + again)
			if len(got["1"]) != 100 {
				t.Errorf("%d results of generation 1", len(got["1"]))
			}
			if m := c.task("running"); m.Restored <= uint64(next) {
				t.Errorf("restored %d, want one after %d", m.Restored, next)
			}
			c.end()

			undisturbed := newChain(t, windowApp)
			undisturbed.start()
			for i := 0; i < 130; i += 10 {
				undisturbed.publishBatch(i, i+10)
			}
			want := undisturbed.rows("w", 130)
			undisturbed.end()
			if !slices.Equal(got["2"], want[test.again:]) {
				t.Errorf("generation 2 has\n%q, want\n%q", got["2"], want[test.again:])
			}
		})
	}
}

// An app that is held stays at the restored position until it is released.
func TestRestoreAndHold(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 40)
	first := c.trigger("w")
	c.publishAll(40, 60)
	c.rows("w", 60)
	_, m := c.manifest(first)
	at := m.Partitions[0].Log.Sequence + 5
	if _, err := c.node.control.Restore(c.within(), control.RestoreRequest{
		App: "w", Epoch: first, After: control.Hold,
		Starts: []control.Start{{Partition: 0, Start: checkpoint.Start{Sequence: at}}},
	}); err != nil {
		t.Fatal(err)
	}
	if got := c.task("held"); got.Applied != at || got.Generation != 2 {
		t.Errorf("held behind %d of generation %d, want %d of 2", got.Applied, got.Generation, at)
	}
	c.publishAll(60, 70)
	if _, err := c.node.control.Trigger(c.within(), control.AppRequest{App: "w"}); control.Code(err) != control.CodeInvalid {
		t.Errorf("a checkpoint of an app that is held: %v", err)
	}
	c.end() // it is still held
	c.start()
	c.task("held")
	c.rows("w", 60)
	if a, err := c.node.control.Release(c.within(), control.AppRequest{App: "w"}); err != nil || a.Held {
		t.Fatalf("%+v, %v", a, err)
	}
	got := c.generations(60 + 25)
	if len(got["2"]) != 25 || !slices.Equal(got["2"][:15], got["1"][45:]) {
		t.Errorf("generation 2 has %q", got["2"])
	}
	c.trigger("w")
	c.end()
}

// A request that is repeated because its answer was lost starts no second generation.
func TestRestoreRepeated(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 10)
	c.rows("w", 10)
	r := control.RestoreRequest{App: "w", ID: "one", Epoch: c.trigger("w")}
	first, err := c.node.control.Restore(c.within(), r)
	if err != nil || first.Generation != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	c.trigger("w")
	c.kill()
	c.start()
	if again, err := c.node.control.Restore(c.within(), r); err != nil || again != first {
		t.Errorf("%+v, %v; want %+v", again, err, first)
	}
	r.ID = "" // a different request
	if other, err := c.node.control.Restore(c.within(), r); err != nil || other.Generation != 3 {
		t.Errorf("%+v, %v", other, err)
	}
	c.end()
}

// A restore that is impossible is refused, and the app continues unchanged.
func TestRestoreRefused(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 10)
	epoch := c.trigger("w")
	for name, r := range map[string]control.RestoreRequest{
		"app":       {App: "nobody", Epoch: epoch},
		"epoch":     {App: "w", Epoch: 99},
		"after":     {App: "w", Epoch: epoch, After: "dance"},
		"early":     {App: "w", Epoch: epoch, Starts: []control.Start{{Start: checkpoint.Start{Sequence: 1}}}},
		"partition": {App: "w", Epoch: epoch, Starts: []control.Start{{Partition: 1, Start: checkpoint.Start{Sequence: 99}}}},
		"component": {App: "w", Epoch: epoch, Components: map[uint32][]checkpoint.Component{0: {{ID: "nothing"}}}},
	} {
		if _, err := c.node.control.Restore(c.within(), r); control.Code(err) != control.CodeInvalid && control.Code(err) != control.CodeNotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.publishAll(10, 20)
	if got := c.generations(20); len(got["1"]) != 20 {
		t.Errorf("%q", got)
	}
	c.trigger("w")
	c.end()
}
