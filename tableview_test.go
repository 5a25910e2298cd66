package eventflux_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux"
)

type delivery struct {
	Item string `json:"item"`
	N    int32  `json:"n"`
}

// TestViewOfATable: a KV bucket has the rows of a table, also after a restart, and a key goes with
// its row.
func TestViewOfATable(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	n := open(t, dir)
	must(n.Deploy(ctx, `@app:name('Stock')
		define stream Deliveries (item string, n int);
		define stream Discontinued (item string, n int);
		@PrimaryKey('item') @sink(kv='STOCK', key='{item}') define table Stock (item string, n int);
		from Deliveries select item, n update or insert into Stock set Stock.n = Stock.n + n on Stock.item == item;
		from Discontinued delete Stock on Stock.item == item;`))(t)
	publish := func(stream string, d ...delivery) {
		t.Helper()
		pub := must(eventflux.NewPublisher[delivery](ctx, n.Client, "Stock", stream))(t)
		must(pub.PublishAll(ctx, d))(t)
	}
	becomes := func(want map[string]string) {
		t.Helper()
		nc := must(nats.Connect(n.URL()))(t)
		defer nc.Close()
		kv := must(must(jetstream.New(nc))(t).KeyValue(ctx, "STOCK"))(t)
		watcher := must(kv.WatchAll(ctx))(t)
		defer func() { must(true, watcher.Stop())(t) }()
		got := map[string]string{}
		for fmt.Sprint(got) != fmt.Sprint(want) {
			select {
			case e := <-watcher.Updates():
				switch {
				case e == nil: // what was there has been told
				case e.Operation() == jetstream.KeyValuePut:
					got[e.Key()] = string(e.Value())
				default:
					delete(got, e.Key())
				}
			case <-ctx.Done():
				t.Fatalf("the bucket has %v, want %v", got, want)
			}
		}
	}
	publish("Deliveries", delivery{"nut", 2}, delivery{"bolt", 1}, delivery{"nut", 3})
	becomes(map[string]string{"nut": `{"item":"nut","n":5}`, "bolt": `{"item":"bolt","n":1}`})
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(t, dir)
	publish("Discontinued", delivery{"nut", 0})
	publish("Deliveries", delivery{"bolt", 4})
	becomes(map[string]string{"bolt": `{"item":"bolt","n":5}`})
}
