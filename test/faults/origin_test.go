package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const originApp = `@app:name('Orders')
@source(stream='ORDERS')
define stream Orders (n long);
from Orders select n, count() as seen insert into Out;
`

// TestKillWhileReadingAStream reads an existing JetStream stream from its start while others
// publish to it. The process is killed again and again, and trims its log. Each message counts
// once, in order.
func TestKillWhileReadingAStream(t *testing.T) {
	rnd := random(t)
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	nc, err := nats.Connect(srv.URL())
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	must(t, err)

	n := 0
	publish := func(most int) {
		for range most {
			n++
			_, err := js.PublishAsync("orders.new", fmt.Appendf(nil, `{"n":%d}`, n))
			must(t, err)
			if n%1000 == 0 {
				<-js.PublishAsyncComplete()
			}
		}
		<-js.PublishAsyncComplete()
	}
	publish(*events)
	data, file := t.TempDir(), write(t, "orders.siddhi", originApp)
	begin := func(settings ...string) *process {
		return start(t, append([]string{"run", file, "--data", data, "--nats.url", srv.URL(), "--wal.durability", "fast", "--ingest.lag_max", "1h"}, settings...)...)
	}
	for range *kills {
		f := fault{interval: time.Duration(2+rnd.IntN(50)) * time.Millisecond}
		p := begin(f.checkpoints()...)
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
				publish(10)
			}
		}
		p.signal(syscall.SIGKILL)
		if code := p.end(); code != -1 {
			t.Fatalf("exit code %d after a kill", code)
		}
	}
	p := begin()
	p.awaitReady()
	publish(100)
	checkOnce(t, js, n)
	p.stop()
	t.Logf("%d messages, %d kills", n, *kills)
}

// moment returns how long a process lives.
func moment(rnd *rand.Rand) time.Duration { return time.Duration(rnd.IntN(300)) * time.Millisecond }

// checkOnce reads results until each of n messages has one.
func checkOnce(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	results, err := js.OrderedConsumer(ctx, "EFO_Orders_0", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"out.Orders.Out.0"}})
	must(t, err)
	messages, err := results.Messages()
	must(t, err)
	defer messages.Stop()
	for i := 1; i <= n; i++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		must(t, err)
		var row struct{ N, Seen int }
		must(t, json.Unmarshal(m.Data(), &row))
		if row.N != i || row.Seen != i {
			t.Fatalf("result %d is of message %d, the %dth that was counted", i, row.N, row.Seen)
		}
	}
}
