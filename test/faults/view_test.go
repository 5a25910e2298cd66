package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const salesApp = `@app:name('Sales')
@source(stream='ORDERS') define stream Orders (n long, k string);
@sink(stream='Totals', kv='TOTALS', key='{k}', expired='delete')
from Orders#window.length(30) select k, n insert all events into Totals;
`

// viewed is a process that keeps a view of the orders.
type viewed struct {
	t      *testing.T
	js     jetstream.JetStream
	orders int
}

// fold returns the newest row of each key, and deletes those that have expired, from the output
// stream alone.
func (v *viewed) fold(ctx context.Context) map[string]string {
	v.t.Helper()
	results, err := v.js.OrderedConsumer(ctx, natsconn.OutStream("Sales", 0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{"out.Sales.Totals.0"}})
	must(v.t, err)
	messages, err := results.Messages()
	must(v.t, err)
	defer messages.Stop()
	rows := map[string]string{}
	for current := 0; current < v.orders; {
		m, err := messages.Next(jetstream.NextContext(ctx))
		must(v.t, err)
		var row struct{ K string }
		must(v.t, json.Unmarshal(m.Data(), &row))
		if m.Headers().Get("Ef-Kind") == "expired" {
			delete(rows, row.K)
			continue
		}
		current++
		rows[row.K] = string(m.Data())
	}
	return rows
}

// bucket returns what the view has.
func (v *viewed) bucket(ctx context.Context) map[string]string {
	v.t.Helper()
	kv, err := v.js.KeyValue(ctx, "TOTALS")
	must(v.t, err)
	keys, err := kv.ListKeys(ctx)
	must(v.t, err)
	rows := map[string]string{}
	for key := range keys.Keys() {
		e, err := kv.Get(ctx, key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // deleted in the meantime
		}
		must(v.t, err)
		rows[key] = string(e.Value())
	}
	return rows
}

// TestKillWhileAViewIsKept kills the process again and again while rows are written to a KV
// bucket. No key goes back to an older row, and in the end the bucket is the fold of the output
// stream.
func TestKillWhileAViewIsKept(t *testing.T) {
	t.Parallel()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	nc, err := nats.Connect(srv.URL())
	must(t, err)
	t.Cleanup(nc.Close)
	v, rnd := &viewed{t: t}, random(t)
	v.js, err = jetstream.New(nc)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	_, err = v.js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	must(t, err)
	// The test watches every value, so the bucket keeps the history.
	kv, err := v.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "TOTALS", History: 64})
	must(t, err)
	watcher, err := kv.WatchAll(ctx)
	must(t, err)
	watched := make(chan error, 1)
	go func() { watched <- neverBack(watcher) }()
	data, file := t.TempDir(), write(t, "sales.siddhi", salesApp)
	begin := func() *process {
		return start(t, "run", file, "--data", data, "--nats.url", srv.URL(), "--wal.durability", "fast", "--ingest.lag_max", "1h", "--checkpoint.interval=200ms")
	}
	order := func() {
		v.orders++
		_, err := v.js.Publish(ctx, "orders.new", fmt.Appendf(nil, `{"n":%d,"k":"k%d"}`, v.orders, rnd.IntN(100)))
		must(t, err)
	}
	for range *kills {
		p := begin()
		strike := time.After(moment(rnd))
		if rnd.IntN(4) > 0 { // else while it starts
			p.awaitReady()
			strike = time.After(moment(rnd))
		}
		for waiting := true; waiting; {
			select {
			case <-strike:
				waiting = false
			default:
				order()
			}
		}
		p.signal(syscall.SIGKILL)
		if code := p.end(); code != -1 {
			t.Fatalf("exit code %d after a kill", code)
		}
	}
	for range 20 {
		order()
	}
	p := begin()
	p.awaitReady()
	want := v.fold(ctx)
	for got := v.bucket(ctx); !maps.Equal(got, want); got = v.bucket(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("the bucket has\n%v\nand the fold of the output stream is\n%v", got, want)
		}
		want = v.fold(ctx) // rows may have expired since
	}
	p.stop()
	must(t, watcher.Stop())
	must(t, <-watched)
	t.Logf("%d orders, %d keys, %d kills", v.orders, len(want), *kills)
}

// neverBack returns an error if a key of a bucket goes back to an older row.
func neverBack(watcher jetstream.KeyWatcher) error {
	newest := map[string]int{}
	for e := range watcher.Updates() {
		if e == nil || e.Operation() != jetstream.KeyValuePut {
			continue
		}
		var row struct{ N int }
		if err := json.Unmarshal(e.Value(), &row); err != nil {
			return err
		}
		if row.N <= newest[e.Key()] {
			return fmt.Errorf("key %s went back from order %d to %d", e.Key(), newest[e.Key()], row.N)
		}
		newest[e.Key()] = row.N
	}
	return nil
}
