package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
)

const customersApp = `@app:name('kv') @app:partitions('2')
@PrimaryKey('id') @source(kv='CUSTOMERS', @map(type='json', @attributes(city='$.home.city'))) define table C (name string, id string, city string);
define stream S (id string);
partition with (id of S) begin from S join C on S.id == C.id select S.id, C.name insert into Out; end;`

func (r *rig) customers() jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.CreateKeyValue(within(r.t), jetstream.KeyValueConfig{Bucket: "CUSTOMERS", History: 3})
	if err != nil {
		r.t.Fatal(err)
	}
	return kv
}

func (r *rig) put(kv jetstream.KeyValue, key, value string) {
	r.t.Helper()
	if _, err := kv.Put(within(r.t), key, []byte(value)); err != nil {
		r.t.Fatal(err)
	}
}

func customer(name string) string {
	return fmt.Sprintf(`{"id":"ignored","name":%q,"home":{"city":"Bern"}}`, name)
}

// names applies the log of a partition to an engine, and returns the names of the table by id. early is the
// number of events before the first load.
func (r *rig) names(app string, partition uint32) (names map[string]string, early int) {
	r.t.Helper()
	plan := r.svc.unit(app).served()[0].app
	e, err := engine.New(plan)
	if err != nil {
		r.t.Fatal(err)
	}
	r.frames(app, partition, func(f *frame.Frame) {
		next := make([]int, len(f.Blocks))
		for _, run := range f.Runs {
			b, from := f.Blocks[run.Block].Batch, next[run.Block]
			next[run.Block] += run.Rows
			switch {
			case siddhiql.HasRecords(b.Schema):
				if err := engine.CheckRecords(b); err != nil {
					r.t.Fatal(err)
				}
				e.Fill(plan.Tables[0], b, from, from+run.Rows)
			case e.Buckets()[0].Load == 0:
				early += run.Rows
			}
		}
	})
	names = map[string]string{}
	for _, c := range e.Components() {
		if c.ID == "table/"+plan.Tables[0].Name {
			c.Source.(state.Lister).Items(func(i state.Item) {
				var row struct{ ID, Name, City string }
				if err := json.Unmarshal(i.Value, &row); err != nil {
					r.t.Fatal(err)
				}
				names[row.ID] = row.Name
				if row.City != "Bern" {
					r.t.Errorf("%s", i.Value)
				}
			})
		}
	}
	return names, early
}

// awaitNames returns once the table of each partition has these names.
func (r *rig) awaitNames(want map[string]string) {
	r.t.Helper()
	for ctx := within(r.t); ; {
		same := true
		var got map[string]string
		for p := range uint32(2) {
			got, _ = r.names("kv", p)
			same = same && maps.Equal(got, want)
		}
		if same {
			return
		}
		if err := r.pub.FlushWithContext(ctx); err != nil { // a moment
			r.t.Fatalf("the table has %v, want %v; %+v", got, want, r.svc.Info().Streams)
		}
	}
}

// The table has the rows of its bucket in every log: at the start, after each change, after
// changes while nothing read it, and after the bucket was created again.
func TestATableFollowsItsBucketInEveryLog(t *testing.T) {
	r := start(t, now)
	kv := r.customers()
	r.put(kv, "a", customer("Ann"))
	r.put(kv, "b", customer("Bob"))
	r.put(kv, "gone", customer("Gus"))
	if err := kv.Delete(within(t), "gone"); err != nil {
		t.Fatal(err)
	}
	r.put(kv, "bad", `{"name":5}`)
	r.svc.Serve(r.deploy(customersApp))
	r.state("kv", Serving)
	r.awaitNames(map[string]string{"a": "Ann", "b": "Bob"})
	if dead := r.dead("kv"); len(dead) != 1 || !strings.Contains(dead[0], "Ef-Subject=$KV.CUSTOMERS.bad") {
		t.Errorf("dead letters: %q", dead)
	}
	r.put(kv, "a", customer("Anna"))
	r.put(kv, "c.d", customer("Cid"))
	r.put(kv, "b", `no json`) // the bucket has no row of b any more
	r.awaitNames(map[string]string{"a": "Anna", "c.d": "Cid"})
	r.put(kv, "b", customer("Bob"))
	if err := kv.Purge(within(t), "c.d"); err != nil {
		t.Fatal(err)
	}
	r.awaitNames(map[string]string{"a": "Anna", "b": "Bob"})
	r.ask("events.S", `{"id":"a"}`)

	r.end()
	stream, err := r.js.Stream(within(t), "KV_CUSTOMERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(within(t), jetstream.WithPurgeSubject("$KV.CUSTOMERS.b")); err != nil { // as a limit does
		t.Fatal(err)
	}
	r.put(kv, "e", customer("Eve"))
	r.begin(now, customersApp)
	r.state("kv", Serving)
	r.awaitNames(map[string]string{"a": "Anna", "e": "Eve"})
	if dead := r.dead("kv"); len(dead) != 2 { // bad at first, and then b
		t.Errorf("dead letters: %q", dead)
	}

	if err := r.js.DeleteKeyValue(within(t), "CUSTOMERS"); err != nil {
		t.Fatal(err)
	}
	r.bucket(waits("KV bucket CUSTOMERS was deleted"))
	kv = r.customers()
	r.put(kv, "a", customer("Al"))
	r.awaitNames(map[string]string{"a": "Al"})
	if info := r.bucket(func(i *InfoResults) bool { return i.State == "reading" }); info.Recreated != 1 || info.JetStream != "KV_CUSTOMERS" {
		t.Errorf("%+v", info)
	}
	for p := range uint32(2) {
		if _, early := r.names("kv", p); early > 0 {
			t.Errorf("%d events are in log %d before the first load", early, p)
		}
	}
}

// bucket waits until ok accepts the service's information about the table, and returns it.
func (r *rig) bucket(ok func(*InfoResults) bool) InfoResults {
	r.t.Helper()
	for ctx := within(r.t); ; {
		for _, s := range r.svc.Info().Streams {
			if len(s.Results) > 0 && s.Bucket == "CUSTOMERS" && ok(&s.Results[len(s.Results)-1]) {
				return s.Results[len(s.Results)-1]
			}
		}
		if err := r.pub.FlushWithContext(ctx); err != nil { // a moment
			r.t.Fatalf("%+v: %v", r.svc.Info().Streams, err)
		}
	}
}

// Events wait for the first load of the tables, for a limited time. An empty bucket is loaded
// at once.
func TestEventsWaitForTheFirstLoad(t *testing.T) {
	r := start(t, now, customersApp)
	if reason := r.state("kv", Waiting); !strings.Contains(reason, "first load from KV bucket CUSTOMERS") {
		t.Error(reason)
	}
	if got := r.ask("events.S", `{"id":"a"}`); got.Error == nil {
		t.Errorf("an event was accepted before the first load: %+v", got)
	}
	r.bucket(waits("there is no KV bucket CUSTOMERS"))
	kv := r.customers()
	r.state("kv", Serving)
	if got := r.ask("events.S", `{"id":"a"}`); got.Error != nil {
		t.Errorf("%+v", got)
	}
	r.put(kv, "a", customer("Ann"))
	r.awaitNames(map[string]string{"a": "Ann"})
	r.end()
	stream, err := r.js.Stream(within(t), "KV_CUSTOMERS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(within(t)); err != nil {
		t.Fatal(err)
	}
	r.begin(now, customersApp)
	r.awaitNames(map[string]string{})

	late := start(t, func(c *Config) { now(c); c.FirstLoadMax = time.Millisecond }, customersApp)
	late.state("kv", Serving)
}

// A permission that is missing is named, with the line to add.
func TestBucketsThatMayNotBeRead(t *testing.T) {
	t.Parallel()
	g := newGuarded(t, "events.>")
	ingest := g.opts.Users[1]
	ingest.Permissions.Publish = &server.SubjectPermission{Deny: []string{"$JS.API.CONSUMER.CREATE.KV_CUSTOMERS.>"}}
	opts := g.opts
	if err := g.srv.ReloadOptions(&opts); err != nil {
		t.Fatal(err)
	}
	all := g.connect("all", nil)
	js, err := jetstream.New(all)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{natsconn.LinksBucket, "CUSTOMERS"} {
		if _, err := js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: name}); err != nil {
			t.Fatal(err)
		}
	}
	ensureApp(t, js, "kv", 2)
	gate := &Gate{}
	s, err := New(Config{Conn: g.connect("ingest", gate), Gate: gate, LogConn: g.connect("all", nil), Version: "1.0.0", Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s.Serve([]App{{Name: "kv", Index: 1, Plan: plans(t, customersApp)[0]}})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	want := `add to the permissions of its user in the NATS configuration: publish: {allow: ["$JS.API.STREAM.INFO.KV_CUSTOMERS", "$JS.API.CONSUMER.CREATE.KV_CUSTOMERS.>"`
	for limit := within(t); ; {
		if a := s.Apps()[0]; strings.Contains(a.Reason, want) {
			return
		}
		if err := all.FlushWithContext(limit); err != nil { // a moment
			t.Fatalf("%+v: %v", s.Apps(), err)
		}
	}
}
