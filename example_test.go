package eventflux_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"
	"testing/fstest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux"
)

const spendingApp = `
@app:name('Spending')
define stream Payments (shop string, amount double);
@info(name='totals')
from Payments select shop, sum(amount) as total, count() as n group by shop insert into Totals;`

// Payment and Total are rows of the app's streams.
type (
	Payment struct {
		Shop   string  `json:"shop"`
		Amount float64 `json:"amount"`
	}
	Total struct {
		Shop  string  `json:"shop"`
		Total float64 `json:"total"`
		N     int64   `json:"n"`
	}
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// start runs EventFlux with the app in a folder that stop removes.
func start(ctx context.Context) (n *eventflux.Node, stop func()) {
	dir, err := os.MkdirTemp("", "eventflux")
	if err != nil {
		log.Fatal(err)
	}
	if n, err = eventflux.Open(ctx, eventflux.Options{Data: dir, Log: quiet}); err != nil {
		log.Fatal(err)
	}
	if _, err := n.Deploy(ctx, spendingApp); err != nil {
		log.Fatal(err)
	}
	return n, func() {
		if err := errors.Join(n.Close(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}

// An app inside the program: an event goes in, a result comes out.
func Example() {
	ctx := context.Background()
	node, stop := start(ctx) // Open and Deploy
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	totals, err := eventflux.Subscribe[Total](ctx, node.Client, "Spending", "Totals")
	if err != nil {
		log.Fatal(err)
	}
	defer totals.Close()

	if _, err := payments.Publish(ctx, Payment{"bakery", 3.5}); err != nil {
		log.Fatal(err)
	}
	result, err := totals.Next(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %.2f\n", result.Value.Shop, result.Value.Total)
	// Output: bakery: 3.50
}

// The state survives: the next Open on the same folder continues from the last checkpoint.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "eventflux")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for range 2 {
		node, err := eventflux.Open(ctx, eventflux.Options{
			Data: dir, Settings: map[string]string{"checkpoint.interval": "10s"}, Log: quiet,
		})
		if err != nil {
			log.Fatal(err)
		}
		if _, err := node.Deploy(ctx, spendingApp); err != nil { // a second time, this changes nothing
			log.Fatal(err)
		}
		payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
		if err != nil {
			log.Fatal(err)
		}
		if _, err := payments.Publish(ctx, Payment{"bakery", 3}); err != nil {
			log.Fatal(err)
		}
		items, err := node.State(ctx, eventflux.StateQuery{App: "Spending", Component: "totals/aggregate"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", items[0].Value)
		if err := node.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// {"rows":1,"values":{"total":3,"n":1}}
	// {"rows":2,"values":{"total":6,"n":2}}
}

// A client of a cluster that runs elsewhere, over your own connection.
func ExampleConnect() {
	ctx := context.Background()
	node, stop := start(ctx) // stands for the cluster
	defer stop()

	nc, err := nats.Connect(node.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	apps, err := eventflux.Connect(nc).Apps(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, app := range apps {
		fmt.Println(app.Name, "version", app.Version)
	}
	// Output: Spending version 1
}

// The error for a bad app says where the mistake is, and what to write instead.
func ExampleClient_Deploy() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	_, err := node.Deploy(ctx, `@app:name('Other') define stream Payments (shop string);
from Payments select shp insert into Out;`)
	fmt.Println(err)
	// Output: deploy: 2:22: unknown attribute `shp` of stream `Payments`: did you mean `shop`?
}

// A Go type that does not fit the stream is refused before anything is published.
func ExampleNewPublisher() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	type Wrong struct {
		Shop   string `json:"shop"`
		Amount string `json:"amount"`
	}
	_, err := eventflux.NewPublisher[Wrong](ctx, node.Client, "Spending", "Payments")
	fmt.Println(err)
	// Output: publish: events of Payments(shop string, amount double) do not fit the Go type: attribute amount is double, and its field is string
}

// A message with an id counts once, even if it is published again.
func ExampleWithID() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := payments.Publish(ctx, Payment{"bakery", 3}, eventflux.WithID("payment-17"), eventflux.WithTime(time.Now())); err != nil {
			log.Fatal(err)
		}
	}
	items, err := node.State(ctx, eventflux.StateQuery{App: "Spending", Component: "totals/aggregate"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", items[0].Value)
	// Output: {"rows":1,"values":{"total":3,"n":1}}
}

// Events that an app refuses do not block the others of the message.
func ExampleRejectedError() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[map[string]any](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	_, err = payments.PublishAll(ctx, []map[string]any{
		{"shop": "bakery", "amount": 3},
		{"shop": "bakery", "amount": "three"},
	})
	var rejected *eventflux.RejectedError
	if errors.As(err, &rejected) {
		for _, e := range rejected.Events {
			fmt.Printf("event %d: %s\n", e.Index, e.Reason)
		}
	}
	// Output: event 1: amount: expected double, found string "three"
}

// A durable subscription continues after the results that were confirmed.
func ExampleDurable() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := payments.PublishAll(ctx, []Payment{{"bakery", 1}, {"books", 2}}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		totals, err := eventflux.Subscribe[Total](ctx, node.Client, "Spending", "Totals", eventflux.Durable("ledger"), eventflux.FromStart())
		if err != nil {
			log.Fatal(err)
		}
		r, err := totals.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Value.Shop) // write it to a database, with r.Generation and r.Position, and then:
		if err := r.Ack(); err != nil {
			log.Fatal(err)
		}
		totals.Close()
	}
	// Output:
	// bakery
	// books
}

// All loops over results.
func ExampleSubscription_All() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	totals, err := eventflux.Subscribe[Total](ctx, node.Client, "Spending", "Totals")
	if err != nil {
		log.Fatal(err)
	}
	defer totals.Close()
	for range 3 {
		if _, err := payments.Publish(ctx, Payment{"bakery", 3}); err != nil {
			log.Fatal(err)
		}
	}
	for r, err := range totals.All(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Value.Total)
		if r.Value.N == 3 {
			break
		}
	}
	// Output:
	// 3
	// 6
	// 9
}

// Upgrade changes a running app and keeps its state. A plan says before what would be lost.
func ExampleClient_Upgrade() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := payments.Publish(ctx, Payment{"bakery", 2}); err != nil {
		log.Fatal(err)
	}
	next := strings.Replace(spendingApp, "from Payments select", "from Payments[amount > 1] select", 1)
	plan, err := node.Upgrade(ctx, next, eventflux.UpgradeOptions{Plan: true})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(&plan)
	change, err := node.Upgrade(ctx, next, eventflux.UpgradeOptions{From: plan.From})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("version", change.App.Version)

	totals, err := eventflux.Subscribe[Total](ctx, node.Client, "Spending", "Totals", eventflux.FromStart())
	if err != nil {
		log.Fatal(err)
	}
	defer totals.Close()
	if _, err := payments.PublishAll(ctx, []Payment{{"bakery", 1}, {"bakery", 3}}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		r, err := totals.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(r.Value.Total)
	}
	// Output:
	// totals/aggregate kept
	// version 2
	// 2
	// 5
}

// Embed makes the files that an app names part of its text.
func ExampleEmbed() {
	text, err := eventflux.Embed(`@app:name('Readings')
@source(@map(type='avro', schema='reading.avsc'))
define stream Readings (v double);
from Readings select max(v) as v insert into Peaks;`, fstest.MapFS{ // or an embed.FS
		"reading.avsc": {Data: []byte(`{"type":"record","name":"Reading","fields":[{"name":"v","type":"double"}]}`)},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(text)
	// Output:
	// @app:name('Readings')
	// @source(@map(type='avro', schema='reading.avsc'))
	// define stream Readings (v double);
	// from Readings select max(v) as v insert into Peaks;
	// @app:file(name='reading.avsc', text="""{"type":"record","name":"Reading","fields":[{"name":"v","type":"double"}]}""")
}

// State shows what an app holds for a key.
func ExampleClient_State() {
	ctx := context.Background()
	node, stop := start(ctx)
	defer stop()

	payments, err := eventflux.NewPublisher[Payment](ctx, node.Client, "Spending", "Payments")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := payments.PublishAll(ctx, []Payment{{"bakery", 1}, {"books", 2}}); err != nil {
		log.Fatal(err)
	}
	items, err := node.State(ctx, eventflux.StateQuery{App: "Spending", Component: "totals/aggregate", Key: "books"})
	if err != nil {
		log.Fatal(err)
	}
	for _, i := range items {
		fmt.Printf("%s: %s\n", i.Key, i.Value)
	}
	// Output: books: {"rows":1,"values":{"total":2,"n":1}}
}
