package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// TestKillAtScalings kills the process between each two steps of a scaling while events are
// published. After the next start the scaling is complete, or can be repeated. Each accepted event
// has one result, in the order of its key.
func TestKillAtScalings(t *testing.T) {
	data, other, first := t.TempDir(), write(t, "other.siddhi", counting("Other", 1, "Orders")), write(t, "changed.siddhi", changed(1))
	begin := func() *operator {
		t.Helper()
		return operate(serving(t, data, other, "--checkpoint.interval=200ms"))
	}
	o := begin()
	o.command("app", "deploy", first)
	published, most := 0, uint32(changedPartitions)
	sizes := []uint32{1, 4, 2, 5, 3}
	at := uint32(changedPartitions)
	var rules []string // ordered so that the short form covers the most different steps
	for _, point := range []faultpoint.Point{
		faultpoint.ScaleStored, faultpoint.ScaleFrames, faultpoint.ScaleSplit, faultpoint.ScaleCommit, faultpoint.ScaleRaft, faultpoint.ScalePaused,
		faultpoint.ScaleClosed, faultpoint.ScaleCut, faultpoint.ScaleOpen, faultpoint.ScaleLogs, faultpoint.ScaleOpened, faultpoint.ScaleDone,
	} {
		rules = append(rules, string(point)+" 1")
	}
	for i, rule := range some(rules) {
		to := sizes[i%len(sizes)]
		most = max(most, to)
		o.p.arm("kill " + rule)
		ctx, cancel := context.WithCancel(context.Background())
		var both sync.WaitGroup
		both.Go(func() { published = publishUntil(ctx, o, published) })
		both.Go(func() { _, _ = o.ctl.Scale(ctx, control.ScaleRequest{App: "Changed", Partitions: to}) })
		if code := o.p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", rule, code)
		}
		cancel()
		both.Wait()
		o = begin()
		at = o.awaitScaled(rule, at, to)
		ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
		published = publishUntil(ctx, o, published)
		cancel()
	}
	published = publishOne(o.within(), o, published) // the event that the last publisher did not wait for
	o.checkScaled(most, published)
	o.p.stop()
}

// awaitScaled waits until an app whose scaling was killed has the new number of partitions.
func (o *operator) awaitScaled(rule string, from, to uint32) uint32 {
	o.t.Helper()
	if from == to {
		return to
	}
	eventually(o.t, fmt.Sprintf("%d partitions run, after a kill at %s", to, rule), func() bool {
		a, err := o.ctl.App(o.within(), control.AppRequest{App: "Changed"})
		must(o.t, err)
		if a.Scaling == nil && a.Partitions == from {
			_, err := o.ctl.Scale(o.within(), control.ScaleRequest{App: "Changed", Partitions: to})
			must(o.t, err)
			return false
		}
		return a.Scaling == nil && a.Partitions == to && len(a.Missing) == 0
	})
	return to
}

// checkScaled waits for the results of n events, and checks that those of each key count from 1,
// those of earlier generations first.
func (o *operator) checkScaled(partitions uint32, n int) {
	o.t.Helper()
	eventually(o.t, fmt.Sprintf("%d events have results", n), func() bool {
		rows, total := map[int]map[uint64][]int{}, 0
		for p := range partitions {
			consumer, err := o.js.OrderedConsumer(o.within(), natsconn.OutStream("Changed", p), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubjects("Changed", p)}})
			must(o.t, err)
			info, err := consumer.Info(o.within())
			must(o.t, err)
			if info.NumPending == 0 {
				continue
			}
			batch, err := consumer.Fetch(int(info.NumPending), jetstream.FetchMaxWait(patience))
			must(o.t, err)
			for m := range batch.Messages() {
				var row struct{ K, N int }
				must(o.t, json.Unmarshal(m.Data(), &row))
				at, err := result.Parse(m.Headers().Get("Ef-Generation") + ":" + m.Headers().Get("Ef-Position"))
				must(o.t, err)
				if rows[row.K] == nil {
					rows[row.K] = map[uint64][]int{}
				}
				rows[row.K][at.Generation] = append(rows[row.K][at.Generation], row.N)
				total++
			}
			must(o.t, batch.Error())
		}
		if total < n {
			return false
		}
		for key, generations := range rows {
			next := 1
			for g := uint64(1); len(generations) > 0; g++ {
				for _, got := range generations[g] {
					if got != next {
						o.t.Fatalf("key %d, generation %d: result %d, want %d", key, g, got, next)
					}
					next++
				}
				delete(generations, g)
			}
		}
		if total != n {
			o.t.Fatalf("%d results of %d events", total, n)
		}
		return true
	})
}
