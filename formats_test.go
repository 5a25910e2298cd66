package eventflux_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux"
)

const rowSchema = `{"type":"record","name":"Row","fields":[{"name":"shop","type":["null","string"]},{"name":"total","type":["null","double"]},{"name":"n","type":"long"}]}`

// chain are apps that hand rows on: as protobuf, as Avro, and as JSON.
func chain(t *testing.T) (apps [3]string) {
	t.Helper()
	for i, text := range []string{
		`@app:name('One') define stream In (shop string, total double, n long);
		@sink(stream='Out', @map(type='protobuf', descriptor='docs/examples/order.desc', message='shop.Order', @attributes(shop='id', n='created')))
		from In select shop, total, n insert into Out;`,
		`@app:name('Two')
		@source(subject='out.One.Out.*', @map(type='protobuf', descriptor='docs/examples/order.desc', message='shop.Order', @attributes(shop='id', n='created')))
		define stream In (shop string, total double, n long);
		@sink(stream='Out', @map(type='avro', encoding='single-object', schema="""` + rowSchema + `"""))
		from In select shop, total, default(n, 0L) as n insert into Out;`,
		`@app:name('Three')
		@source(subject='out.Two.Out.*', @map(type='avro', encoding='single-object', schema="""` + rowSchema + `"""))
		define stream In (shop string, total double, n long);
		from In select shop, total, n insert into Out;`,
	} {
		apps[i] = must(eventflux.Embed(text, os.DirFS(".")))(t)
	}
	return apps
}

// TestResultsInOtherFormats: rows go from app to app as messages of Protocol Buffers and Avro, and
// come out as they were. An app that would read another format than the other app writes is
// refused, before and after. Typed subscriptions read all formats.
func TestResultsInOtherFormats(t *testing.T) {
	ctx := t.Context()
	n := open(t, t.TempDir())
	apps := chain(t)
	for _, text := range apps {
		must(n.Deploy(ctx, text))(t)
	}
	pub := must(eventflux.NewPublisher[total](ctx, n.Client, "One", "In"))(t)
	sub := must(eventflux.Subscribe[total](ctx, n.Client, "Three", "Out", eventflux.FromStart()))(t)
	defer sub.Close()
	want := []total{{"bakery", 2.5, 7}, {"", 0, 0}, {"büro", -1e300, -1}}
	must(pub.PublishAll(ctx, want))(t)
	if got := take(t, sub, 3); !slices.Equal(got, want) {
		t.Errorf("rows %v, want %v", got, want)
	}

	refused := func(text, why string) {
		t.Helper()
		if _, err := n.Deploy(ctx, text); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("got %v, want %q", err, why)
		}
	}
	refused(`@app:name('Four') @source(subject='out.One.Out.*') define stream In (shop string); from In select shop insert into Out;`,
		"stream In of app Four reads out.One.Out.* as JSON, but results of stream Out of app One are application/protobuf; message=shop.Order")
	plain := `@app:name('One') define stream In (shop string, total double, n long); from In select shop, total, n insert into Out;`
	if _, err := n.Upgrade(ctx, plain, eventflux.UpgradeOptions{}); err == nil || !strings.Contains(err.Error(), "stream In of app Two reads out.One.Out.*") {
		t.Error(err)
	}
	for _, app := range []string{"One", "Two"} {
		typed := must(eventflux.Subscribe[total](ctx, n.Client, app, "Out", eventflux.FromStart()))(t)
		defer typed.Close()
		if got := take(t, typed, 3); !slices.Equal(got, want) {
			t.Errorf("rows of app %s: %v, want %v", app, got, want)
		}
	}
	for _, name := range []string{"Three", "Two"} {
		if err := n.Remove(ctx, name); err != nil {
			t.Fatal(err)
		}
	}

	// After an upgrade, each message says which format it has. Typed subscriptions read both, and a
	// source of JSON makes dead letters of the others.
	must(n.Upgrade(ctx, plain, eventflux.UpgradeOptions{}))(t)
	must(pub.Publish(ctx, total{"late", 1, 1}))(t)
	old := must(eventflux.Subscribe[total](ctx, n.Client, "One", "Out", eventflux.FromStart()))(t)
	defer old.Close()
	if got := take(t, old, 4); !slices.Equal(got, append(want, total{"late", 1, 1})) {
		t.Errorf("rows of two versions: %v", got)
	}
	must(n.Deploy(ctx, jsonReader))(t)
	five := must(eventflux.Subscribe[total](ctx, n.Client, "Five", "Out", eventflux.FromStart()))(t)
	defer five.Close()
	if got := take(t, five, 1); got[0] != (total{"late", 1, 1}) {
		t.Errorf("the first row in JSON is %v", got)
	}
	nc := must(nats.Connect(n.URL()))(t)
	defer nc.Close()
	letters := must(must(must(jetstream.New(nc))(t).OrderedConsumer(ctx, "EFD_Five", jetstream.OrderedConsumerConfig{}))(t).Next())(t)
	if why := letters.Headers().Get("Ef-Reason"); !strings.Contains(why, "is application/protobuf; message=shop.Order, and the source reads JSON") {
		t.Errorf("the first dead letter says %q", why)
	}
}

const jsonReader = `@app:name('Five') @source(subject='out.One.Out.*') define stream In (shop string, total double, n long); from In select shop, total, n insert into Out;`
