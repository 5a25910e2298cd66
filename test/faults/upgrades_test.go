package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const changedPartitions = 3

// changed returns version n of an app. Its results have n as made.
func changed(n uint32) string {
	return fmt.Sprintf(`@app:name('Changed') @app:partitions('%d') define stream Changes (k int);
		partition with (k of Changes) begin @info(name='counts') from Changes select k, count() as n, %d as made insert into Out; end;`, changedPartitions, n)
}

// TestKillAtUpgrades kills the process between each two steps of an upgrade while events are
// published. After the next start the upgrade is complete or has not happened. Each accepted event
// has one result, in order and of exactly one version, and the state is kept.
func TestKillAtUpgrades(t *testing.T) {
	data, other, first := t.TempDir(), write(t, "other.siddhi", counting("Other", 1, "Orders")), write(t, "changed.siddhi", changed(1))
	begin := func() *operator {
		t.Helper()
		return operate(serving(t, data, other, "--checkpoint.interval=200ms"))
	}
	o := begin()
	o.command("app", "deploy", first)
	version, published := uint32(1), 0

	rules := []string{ // ordered so that the short form covers the most different steps
		string(faultpoint.UpgradeRaft) + " 1", string(faultpoint.UpgradeBefore) + " 1", string(faultpoint.UpgradeFrames) + " 1",
		string(faultpoint.UpgradeFrame) + " 2", string(faultpoint.UpgradeFrame) + " 1", string(faultpoint.UpgradeFrame) + " 3",
		string(faultpoint.UpgradeApplied) + " 2", string(faultpoint.UpgradeApplied) + " 1", string(faultpoint.UpgradeApplied) + " 3",
		string(faultpoint.UpgradeDone) + " 1",
	}
	for _, rule := range some(rules) {
		o.p.arm("kill " + rule)
		ctx, cancel := context.WithCancel(context.Background())
		var both sync.WaitGroup
		both.Go(func() { published = publishUntil(ctx, o, published) })
		both.Go(func() { _, _ = o.ctl.Upgrade(ctx, control.UpgradeRequest{Text: changed(version + 1)}) })
		if code := o.p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", rule, code)
		}
		cancel()
		both.Wait()
		o = begin()
		h, err := o.ctl.History(o.within(), control.AppRequest{App: "Changed"})
		must(t, err)
		known := h.Versions[len(h.Versions)-1].Number
		if happened := !strings.HasPrefix(rule, string(faultpoint.UpgradeBefore)); happened != (known == version+1) {
			t.Fatalf("%s: version %d is known", rule, known)
		} else if !happened {
			o.command("app", "upgrade", write(t, "next.siddhi", changed(version+1)), "--yes")
		}
		version++
		eventually(t, fmt.Sprintf("version %d runs, whose upgrade was killed at %s", version, rule), func() bool {
			a, err := o.ctl.App(o.within(), control.AppRequest{App: "Changed"})
			must(t, err)
			return a.Version == version && len(a.Missing) == 0
		})
		ctx, cancel = context.WithTimeout(context.Background(), 100*time.Millisecond)
		published = publishUntil(ctx, o, published)
		cancel()
	}
	published = publishOne(o.within(), o, published) // the event that the last publisher did not wait for
	made := o.checkChanged(published)
	if made != version {
		t.Errorf("the newest result is of version %d, want %d", made, version)
	}
	o.p.stop()
}

// changedKeys is the number of keys.
const changedKeys = 9

// publishUntil publishes events from number next on, until ctx or the process ends. It returns the
// number of the first event that was not acknowledged.
func publishUntil(ctx context.Context, o *operator, next int) int {
	for ctx.Err() == nil {
		after := publishOne(ctx, o, next)
		if after == next {
			return next
		}
		next = after
	}
	return next
}

// publishOne publishes event i, which may be a repeat. It returns the number of the next event to
// publish.
func publishOne(ctx context.Context, o *operator, i int) int {
	m := &nats.Msg{Subject: "events.Changes", Data: fmt.Appendf(nil, `{"k":%d,"v":%d}`, i%changedKeys, i%7), Header: nats.Header{"Nats-Msg-Id": {fmt.Sprint(i)}}}
	answer, err := o.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return i
	}
	var a reply
	if err := json.Unmarshal(answer.Data, &a); err != nil || a.Error != nil {
		return i
	}
	return i + 1
}

// checkChanged waits for the results of n events and checks them. It returns the newest version
// that made one.
func (o *operator) checkChanged(n int) (newest uint32) {
	o.t.Helper()
	counts := o.ints("Changed", "n", changedPartitions, n)
	if len(counts) != n {
		o.t.Fatalf("%d results of %d events", len(counts), n)
	}
	for p := range uint32(changedPartitions) {
		consumer, err := o.js.OrderedConsumer(o.within(), natsconn.OutStream("Changed", p), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubjects("Changed", p)}})
		must(o.t, err)
		info, err := consumer.Info(o.within())
		must(o.t, err)
		if info.NumPending == 0 {
			continue
		}
		batch, err := consumer.Fetch(int(info.NumPending), jetstream.FetchMaxWait(patience))
		must(o.t, err)
		last, seen := uint32(0), map[int]int{}
		for m := range batch.Messages() {
			var row struct {
				K, N int
				Made uint32
			}
			must(o.t, json.Unmarshal(m.Data(), &row))
			if seen[row.K]++; row.N != seen[row.K] || row.Made < last || m.Headers().Get("Ef-Version") != fmt.Sprint(row.Made) {
				o.t.Fatalf("partition %d: result %s with version %s; the one before was made by version %d, and key %d has %d", p, m.Data(), m.Headers().Get("Ef-Version"), last, row.K, seen[row.K])
			}
			last = row.Made
		}
		must(o.t, batch.Error())
		newest = max(newest, last)
	}
	return newest
}
