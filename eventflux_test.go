package eventflux_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux"
)

const totalsApp = `
@app:name('Spending') @app:partitions('2')
define stream Payments (shop string, amount double);
partition with (shop of Payments) begin
  @info(name='totals') from Payments select shop, sum(amount) as total, count() as n insert into Totals;
end;`

type payment struct {
	Shop   string  `json:"shop"`
	Amount float64 `json:"amount"`
}

type total struct {
	Shop  string  `json:"shop"`
	Total float64 `json:"total"`
	N     int64   `json:"n"`
}

func open(t testing.TB, dir string) *eventflux.Node {
	t.Helper()
	n, err := eventflux.Open(t.Context(), eventflux.Options{Data: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestFromEventsToResults: each published event has one result, from all partitions, and a
// durable subscription continues after a restart where it had confirmed.
func TestFromEventsToResults(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	n := open(t, dir)
	app := must(n.Deploy(ctx, totalsApp))(t)
	if app.Name != "Spending" || app.Partitions != 2 || app.Generation != 1 {
		t.Errorf("deployed as %+v", app)
	}
	pub := must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	sub := must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.Durable("books"), eventflux.FromStart()))(t)
	must(pub.Publish(ctx, payment{"bakery", 3}))(t)
	must(pub.PublishAll(ctx, []payment{{"bakery", 4}, {"books", 10}}))(t)

	got := take(t, sub, 3)
	slices.SortFunc(got, func(a, b total) int { return strings.Compare(a.Shop, b.Shop) })
	if want := []total{{"bakery", 3, 1}, {"bakery", 7, 2}, {"books", 10, 1}}; !slices.Equal(got, want) {
		t.Errorf("results %v, want %v", got, want)
	}
	items := must(n.State(ctx, eventflux.StateQuery{App: "Spending", Component: "totals/aggregate"}))(t)
	if len(items) != 2 {
		t.Errorf("the state has %v, want an item for each of two shops", items)
	}
	must(n.Checkpoint(ctx, "Spending"))(t)
	sub.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	n = open(t, dir)
	pub = must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	must(pub.Publish(ctx, payment{"bakery", 5}))(t)
	sub = must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.Durable("books")))(t)
	defer sub.Close()
	if got := take(t, sub, 1); got[0] != (total{"bakery", 12, 3}) {
		t.Errorf("after a restart the first result is %v", got[0])
	}
	if err := n.Remove(ctx, "Spending"); err != nil {
		t.Error(err)
	}
	if apps := must(n.Apps(ctx))(t); len(apps) > 0 {
		t.Errorf("after the removal there is %v", apps)
	}
}

func take[T any](t *testing.T, sub *eventflux.Subscription[T], n int) (got []T) {
	t.Helper()
	for range n {
		r, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Ack(); err != nil {
			t.Fatal(err)
		}
		got = append(got, r.Value)
	}
	return got
}

// TestIDs: messages with the same id count once.
func TestIDs(t *testing.T) {
	ctx, n := t.Context(), open(t, t.TempDir())
	must(n.Deploy(ctx, totalsApp))(t)
	pub := must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	sub := must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.FromStart()))(t)
	defer sub.Close()
	for range 3 {
		must(pub.Publish(ctx, payment{"bakery", 3}, eventflux.WithID("order-1"), eventflux.WithTime(time.Now())))(t)
	}
	must(pub.Publish(ctx, payment{"bakery", 1}))(t)
	if got := take(t, sub, 2); got[1] != (total{"bakery", 4, 2}) {
		t.Errorf("results %v", got)
	}
}

// TestTypesAreChecked: a Go type that does not fit the stream is refused at once, each field
// named.
func TestTypesAreChecked(t *testing.T) {
	ctx, n := t.Context(), open(t, t.TempDir())
	must(n.Deploy(ctx, totalsApp))(t)
	must(n.Deploy(ctx, `@app:name('Csv') @source(@map(type='csv')) define stream Sheet (shop string, amount double); from Sheet select shop insert into Out;`))(t)
	type wrong struct {
		Shop   int     `json:"shop"`
		Amount float64 `json:"amnt"`
		Note   string  `json:"-"`
	}
	type bare struct{ Shop string }
	type narrow struct {
		N     int32   `json:"n"`
		Total float32 `json:"total"`
	}
	for _, one := range []struct {
		name string
		err  error
		want []string
	}{
		{"events", second(eventflux.NewPublisher[wrong](ctx, n.Client, "Spending", "Payments")), []string{
			"attribute shop is string, and its field is int", "attribute amount has no field: add one with the tag `json:\"amount\"`", "field amnt is no attribute",
		}},
		{"names", second(eventflux.NewPublisher[bare](ctx, n.Client, "Spending", "Payments")), []string{"field Shop is no attribute"}},
		{"results", second(eventflux.Subscribe[narrow](ctx, n.Client, "Spending", "Totals")), []string{
			"attribute n is long, and its field is int32", "attribute total is double, and its field is float32",
		}},
		{"a stream of CSV", second(eventflux.NewPublisher[payment](ctx, n.Client, "Csv", "Sheet")), []string{"stream Sheet of app Csv takes no JSON (@map)", "events.Sheet"}},
		{"a filled stream", second(eventflux.NewPublisher[total](ctx, n.Client, "Spending", "Totals")), []string{"stream Totals of app Spending is filled by a query"}},
		{"unknown stream", second(eventflux.NewPublisher[total](ctx, n.Client, "Spending", "Total")), []string{"app Spending has no stream Total"}},
		{"unknown app", second(eventflux.Subscribe[total](ctx, n.Client, "Spend", "Total")), []string{"Spend"}},
		{"a wrong text", second(n.Deploy(ctx, "define stream S (a int")), []string{"1:23"}},
	} {
		for _, want := range one.want {
			if one.err == nil || !strings.Contains(one.err.Error(), want) {
				t.Errorf("%s: the error is %v, want %q in it", one.name, one.err, want)
			}
		}
	}
	// A type that is not a struct is checked by the app, not by the publisher.
	pub := must(eventflux.NewPublisher[map[string]any](ctx, n.Client, "Spending", "Payments"))(t)
	_, err := pub.PublishAll(ctx, []map[string]any{{"shop": "bakery", "amount": 1}, {"shop": "bakery", "amount": "much"}})
	var rejected *eventflux.RejectedError
	if !errors.As(err, &rejected) || rejected.Count != 1 || len(rejected.Events) != 1 || rejected.Events[0].Index != 1 {
		t.Errorf("the error is %v, want event 1 rejected", err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestNumbersThatJSONLacks: NaN and infinity reach a float64 field; a null reaches a pointer.
func TestNumbersThatJSONLacks(t *testing.T) {
	ctx, n := t.Context(), open(t, t.TempDir())
	must(n.Deploy(ctx, `@app:name('Odd') define stream S (a double, b double);
from S select a / b as ratio, a insert into R;`))(t)
	pub := must(eventflux.NewPublisher[map[string]any](ctx, n.Client, "Odd", "S"))(t)
	type row struct {
		Ratio float64  `json:"ratio"`
		A     *float64 `json:"a"`
	}
	sub := must(eventflux.Subscribe[row](ctx, n.Client, "Odd", "R", eventflux.FromStart()))(t)
	defer sub.Close()
	must(pub.PublishAll(ctx, []map[string]any{{"a": 1e308, "b": 1e-308}, {"a": nil, "b": 2}}))(t)
	got := take(t, sub, 2)
	if !math.IsInf(got[0].Ratio, 1) || got[0].A == nil || *got[0].A != 1e308 || got[1].A != nil {
		t.Errorf("results %+v", got)
	}
}

// TestConnect: a client of a cluster that another process runs, over the network.
func TestConnect(t *testing.T) {
	ctx, n := t.Context(), open(t, t.TempDir())
	nc := must(nats.Connect(n.URL()))(t)
	defer nc.Close()
	c := eventflux.Connect(nc)
	must(c.Deploy(ctx, totalsApp))(t)
	if app := must(c.App(ctx, "Spending"))(t); app.Text != totalsApp || app.Version != 1 {
		t.Errorf("the app is %+v", app)
	}
	sub := must(eventflux.Subscribe[total](ctx, c, "Spending", "Totals"))(t)
	defer sub.Close()
	pub := must(eventflux.NewPublisher[*payment](ctx, c, "Spending", "Payments"))(t)
	must(pub.Publish(ctx, &payment{"bakery", 3}))(t)
	for r, err := range sub.All(ctx) {
		if err != nil || r.Value != (total{"bakery", 3, 1}) || r.Expired || r.Generation != 1 || r.Position == "" {
			t.Errorf("the result is %+v, %v", r, err)
		}
		break
	}
	patience, stop := context.WithCancel(ctx)
	stop()
	if _, err := sub.Next(patience); !errors.Is(err, context.Canceled) {
		t.Errorf("Next without a result ends with %v", err)
	}
}

// TestOptionsAreChecked: a wrong option is named before anything starts.
func TestOptionsAreChecked(t *testing.T) {
	for _, one := range []struct {
		opt  eventflux.Options
		want string
	}{
		{eventflux.Options{}, "Options.Data is empty"},
		{eventflux.Options{Data: t.TempDir(), Settings: map[string]string{"checkpoint.intervall": "1s"}}, `there is no setting "checkpoint.intervall"`},
		{eventflux.Options{Data: t.TempDir(), Settings: map[string]string{"checkpoint.interval": "soon"}}, "checkpoint.interval"},
	} {
		if n, err := eventflux.Open(t.Context(), one.opt); err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%+v: the error is %v, want %q in it", one.opt, err, one.want)
			if n != nil {
				_ = n.Close()
			}
		}
	}
}

// A subscription gets the results of a stream from whichever subjects the app has chosen for it.
func TestSubscriptionsFindChosenSubjects(t *testing.T) {
	ctx := t.Context()
	n := open(t, t.TempDir())
	app := strings.Replace(totalsApp, "partition with", "@sink(stream='Totals', subject='totals.{partition}.{shop}') partition with", 1)
	must(n.Deploy(ctx, app))(t)
	pub := must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	must(pub.PublishAll(ctx, []payment{{"bakery", 4}, {"a.b", 10}, {"bakery", 5}}))(t)
	sub := must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.FromStart()))(t)
	defer sub.Close()
	nc := must(nats.Connect(n.URL()))(t)
	defer nc.Close()
	for _, subject := range []string{"totals.0.bakery", "totals.1.bakery"} {
		must(nc.Request(subject, []byte("of somebody else"), 10*time.Second))(t)
	}
	must(pub.PublishAll(ctx, []payment{{"bakery", 1}}))(t)
	got := take(t, sub, 4)
	slices.SortStableFunc(got, func(a, b total) int { return strings.Compare(a.Shop, b.Shop) })
	if want := []total{{"a.b", 10, 1}, {"bakery", 4, 1}, {"bakery", 9, 2}, {"bakery", 10, 3}}; !slices.Equal(got, want) {
		t.Errorf("results %v, want %v", got, want)
	}
}

// Results beyond max.msgs.per.subject are removed after a checkpoint. No reader reports them as lost:
// not a subscription from the start, and not the task, which checks the stream when it starts.
func TestResultsOfEachSubjectAreBounded(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	n := open(t, dir)
	must(n.Deploy(ctx, strings.NewReplacer("partitions('2')", "partitions('1')", "partition with", "@sink(stream='Totals', subject='totals.{shop}', max.msgs.per.subject='1') partition with").Replace(totalsApp)))(t)
	pub := must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	must(pub.PublishAll(ctx, []payment{{"books", 1}, {"bakery", 1}, {"bakery", 2}, {"bakery", 3}}))(t)
	sub := must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.FromStart()))(t)
	take(t, sub, 4)
	sub.Close()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(t, dir) // the start writes a record of positions
	left := func() (results uint64) {
		js := must(jetstream.New(must(nats.Connect(n.URL()))(t)))(t)
		defer js.Conn().Close()
		stream := must(js.Stream(ctx, "EFO_Spending_0"))(t)
		for _, n := range must(stream.Info(ctx, jetstream.WithSubjectFilter("totals.>")))(t).State.Subjects {
			results += n
		}
		return results
	}
	for left() > 2 {
		must(n.Checkpoint(ctx, "Spending"))(t)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = open(t, dir)
	pub = must(eventflux.NewPublisher[payment](ctx, n.Client, "Spending", "Payments"))(t)
	must(pub.PublishAll(ctx, []payment{{"books", 2}, {"bakery", 4}}))(t)
	sub = must(eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", eventflux.FromStart()))(t)
	defer sub.Close()
	got := take(t, sub, 4)
	if want := []total{{"books", 1, 1}, {"bakery", 6, 3}, {"books", 3, 2}, {"bakery", 10, 4}}; !slices.Equal(got, want) {
		t.Errorf("results %v, want %v", got, want)
	}
}

// TestUpgrade: a plan changes nothing, a loss needs consent, and a subscription does not miss
// results that go to other subjects unseen.
func TestUpgrade(t *testing.T) {
	ctx := t.Context()
	n := open(t, t.TempDir())
	must(n.Deploy(ctx, totalsApp))(t)
	subscribe := func(opts ...eventflux.SubscribeOption) (*eventflux.Subscription[total], error) {
		return eventflux.Subscribe[total](ctx, n.Client, "Spending", "Totals", append(opts, eventflux.LookEvery(10*time.Millisecond))...)
	}
	books, live := must(subscribe(eventflux.Durable("books")))(t), must(subscribe())(t)
	defer live.Close()
	defer books.Close()

	lossy := strings.Replace(totalsApp, "name='totals'", "name='sums'", 1)
	plan := must(n.Upgrade(ctx, lossy, eventflux.UpgradeOptions{Plan: true}))(t)
	if plan.From != 1 || plan.To != 2 || plan.Refused == "" || !strings.Contains(plan.String(), "totals/aggregate refused") {
		t.Errorf("planned %+v", plan)
	}
	if _, err := n.Upgrade(ctx, lossy, eventflux.UpgradeOptions{}); err == nil || !strings.Contains(err.Error(), "totals/aggregate") {
		t.Errorf("a loss without consent: %v", err)
	}
	if _, err := n.Upgrade(ctx, "define stream", eventflux.UpgradeOptions{}); err == nil || !strings.HasPrefix(err.Error(), "upgrade: 1:14") {
		t.Error(err)
	}
	if c := must(n.Upgrade(ctx, totalsApp, eventflux.UpgradeOptions{}))(t); c.From != 1 || c.To != 1 {
		t.Errorf("the same text: %+v", c)
	}
	if c := must(n.Upgrade(ctx, lossy, eventflux.UpgradeOptions{Drop: true, From: plan.From}))(t); c.To != 2 || c.App.Version != 2 || !strings.Contains(c.String(), "totals/aggregate dropped") {
		t.Errorf("changed %+v", c)
	}
	if _, err := n.Upgrade(ctx, totalsApp, eventflux.UpgradeOptions{Drop: true, From: 1}); err == nil {
		t.Error("a change planned for another version is made")
	}

	moved := strings.Replace(lossy, "partition with", "@sink(stream='Totals', subject='totals.{partition}.{shop}') partition with", 1)
	must(n.Upgrade(ctx, moved, eventflux.UpgradeOptions{}))(t)
	var e *eventflux.MovedError
	for _, sub := range []*eventflux.Subscription[total]{books, live} {
		if _, err := sub.Next(ctx); !errors.As(err, &e) || e.Version != 3 || e.Subject != "totals.0.*" {
			t.Errorf("a running subscription: %v", err)
		}
	}
	if _, err := subscribe(eventflux.Durable("books")); !errors.As(err, &e) || e.Durable != "books" || !strings.Contains(err.Error(), "with another name") {
		t.Errorf("a durable subscription: %v", err)
	}
	must(subscribe(eventflux.Durable("books2")))(t).Close()
}
