package view

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const totals = `@app:name('shop')
define stream S (shop string, v int);
@sink(stream='Totals', kv='TOTALS', key='{shop}', expired='delete')
from S#window.length(5) select shop, v insert all events into Totals;
from S select v insert into Other;`

// rig is a server with the output stream of an app, whose results the test publishes itself.
type rig struct {
	t    testing.TB
	srv  *natsconn.Embedded
	nc   *nats.Conn
	js   jetstream.JetStream
	plan *siddhiql.Plan
	gen  uint64
	seq  uint64          // of the log
	last result.Position // of Totals
}

func newRig(t testing.TB, app string) *rig {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	r := &rig{t: t, srv: srv, gen: 1}
	r.nc, err = natsconn.Connect(r.within(), natsconn.ConnectConfig{Embedded: srv, Log: quiet})
	must(t, err)
	t.Cleanup(r.nc.Close)
	r.js, err = jetstream.New(r.nc, jetstream.WithPublishAsyncTimeout(PublishTimeout))
	must(t, err)
	r.plan, err = siddhiql.Compile(app)
	must(t, err)
	_, err = natsconn.EnsureApp(r.within(), r.js, r.plan.Name, 1, natsconn.StreamLimits{})
	must(t, err)
	r.bucket(natsconn.LinksBucket)
	r.bucket("TOTALS")
	return r
}

func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) bucket(name string) jetstream.KeyValue {
	r.t.Helper()
	kv, err := r.js.CreateKeyValue(r.within(), jetstream.KeyValueConfig{Bucket: name})
	must(r.t, err)
	return kv
}

// result publishes a result of Totals.
func (r *rig) result(kind, row string) {
	r.t.Helper()
	r.publish("out.shop.Totals.0", kind, row)
}

func (r *rig) publish(subject, kind, row string) {
	r.t.Helper()
	_, err := r.js.PublishMsg(r.within(), r.message(subject, kind, row))
	must(r.t, err)
}

func (r *rig) resultAsync(row string) {
	r.t.Helper()
	_, err := r.js.PublishMsgAsync(r.message("out.shop.Totals.0", "current", row))
	must(r.t, err)
}

// message returns the next result.
func (r *rig) message(subject, kind, row string) *nats.Msg {
	r.seq++
	m := &nats.Msg{Subject: subject, Data: []byte(row), Header: nats.Header{
		output.HeaderGeneration: {fmt.Sprint(r.gen)}, output.HeaderPosition: {fmt.Sprintf("%d.0", r.seq)},
		output.HeaderKind: {kind}, output.HeaderTimestamp: {"1000"},
	}}
	if strings.Contains(subject, ".Totals.") {
		m.Header[output.HeaderPrevious] = []string{string(output.Previous{Same: r.last, Any: r.last}.Append(nil))}
		r.last = result.Position{Generation: r.gen, Seq: r.seq}
	}
	return m
}

// restore starts a new generation at an earlier position of the log.
func (r *rig) restore(to uint64) { r.gen, r.seq = r.gen+1, to }

func (r *rig) config() Config {
	return Config{Conn: r.nc, JS: r.js, App: "shop", Version: 1, Partitions: 1, Stream: r.plan.Views()[0], Log: quiet, Beat: 20 * time.Millisecond, Repair: time.Millisecond}
}

// start runs the view; stop ends it as a kill would.
func (r *rig) start(change ...func(*Config)) (v *View, stop func()) {
	cfg := r.config()
	for _, c := range change {
		c(&cfg)
	}
	v = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); v.Run(ctx) }()
	done := false
	stop = func() {
		if !done {
			done = true
			cancel()
			<-ended
		}
	}
	r.t.Cleanup(stop)
	return v, stop
}

// fold returns the newest valid row of each key, from the output stream alone.
func (r *rig) fold() map[string]string {
	r.t.Helper()
	type one struct {
		at     result.Position
		key    string
		row    string
		expire bool
	}
	var all []one
	cuts := map[uint64]result.Position{}
	stream, err := r.js.Stream(r.within(), natsconn.OutStream("shop", 0))
	must(r.t, err)
	info, err := stream.Info(r.within())
	must(r.t, err)
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(r.within(), seq)
		must(r.t, err)
		if m.Subject != "out.shop.Totals.0" {
			continue
		}
		at, err := output.ReadPlace(m.Header)
		must(r.t, err)
		if cuts[at.Generation] == (result.Position{}) {
			cuts[at.Generation] = at
		}
		key := strings.Split(string(m.Data), `"`)[3]
		all = append(all, one{at, key, string(m.Data), m.Header.Get(output.HeaderKind) == "expired"})
	}
	rows := map[string]string{}
	for _, o := range all {
		valid := true
		for g, c := range cuts {
			valid = valid && !(g > o.at.Generation && o.at.Seq >= c.Seq)
		}
		switch {
		case !valid:
		case o.expire:
			delete(rows, o.key)
		default:
			rows[o.key] = o.row
		}
	}
	return rows
}

// values returns what the bucket has.
func (r *rig) values() map[string]string {
	r.t.Helper()
	rows := map[string]string{}
	kv, err := r.js.KeyValue(r.within(), "TOTALS")
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return rows
	}
	must(r.t, err)
	keys, err := kv.ListKeys(r.within())
	must(r.t, err)
	for key := range keys.Keys() {
		e, err := kv.Get(r.within(), key)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // deleted in the meantime
		}
		must(r.t, err)
		rows[key] = string(e.Value())
	}
	return rows
}

// await returns once the bucket is the fold of the output stream.
func (r *rig) await(what string, v *View) {
	r.t.Helper()
	want := r.fold()
	r.until(what, func() string {
		if got := r.values(); !maps.Equal(got, want) {
			return fmt.Sprintf("the bucket has %v, want %v; %+v", got, want, v.Info())
		}
		return ""
	})
}

// until waits until check has nothing to say.
func (r *rig) until(what string, check func() string) {
	r.t.Helper()
	for ctx := r.within(); ; {
		why := check()
		if why == "" {
			return
		}
		if err := r.nc.FlushWithContext(ctx); err != nil { // a moment
			r.t.Fatalf("%s: %s", what, why)
		}
	}
}

func total(shop string, v int) string { return fmt.Sprintf(`{"shop":%q,"v":%d}`, shop, v) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Views end at any moment, two run at once, generations start, and buckets and records are
// deleted. In the end the bucket is the fold of the output stream.
func TestTheBucketIsTheFoldOfTheResults(t *testing.T) {
	t.Parallel()
	rounds := 20
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 0))
			r := newRig(t, totals)
			v, stop := r.start()
			n := 0
			for range 25 {
				for range rnd.IntN(30) {
					n++
					kind := "current"
					if rnd.IntN(5) == 0 {
						kind = "expired"
					}
					key := fmt.Sprintf("k%d", rnd.IntN(12))
					if rnd.IntN(4) == 0 { // a key that a later generation does not have
						key = fmt.Sprintf("g%d", r.gen)
					}
					r.result(kind, total(key, n))
					if rnd.IntN(4) == 0 {
						r.publish("out.shop.Other.0", "current", `{"v":1}`)
					}
				}
				switch rnd.IntN(8) {
				case 0:
					r.restore(uint64(rnd.Int64N(int64(r.seq + 1))))
				case 1:
					must(t, r.js.DeleteKeyValue(r.within(), "TOTALS"))
					r.bucket("TOTALS")
				case 2:
					stop()
					s, err := r.js.Stream(r.within(), "KV_"+natsconn.LinksBucket)
					must(t, err)
					must(t, s.Purge(r.within()))
					v, stop = r.start()
				case 3: // two write at once
					_, other := r.start()
					defer other()
				case 4, 5:
					stop()
					v, stop = r.start()
				default:
				}
			}
			r.await("in the end", v)
		})
	}
}

// Results can be removed on purpose, with the first one of a generation among them. A fill still
// leaves out the rows that the generation voids, and a record of a removed result still counts.
func TestViewOfResultsThatWereRemoved(t *testing.T) {
	t.Parallel()
	r := newRig(t, totals)
	name := natsconn.OutStream("shop", 0)
	stream, err := r.js.Stream(r.within(), name)
	must(t, err)
	remove := func(c output.Compaction, sequences ...uint64) {
		t.Helper()
		must(t, output.WriteCompactions(r.within(), r.js, name, map[string]output.Compaction{"Totals": c}))
		for _, seq := range sequences {
			must(t, stream.DeleteMsg(r.within(), seq))
		}
	}
	is := func(what string, want map[string]string) {
		t.Helper()
		r.until(what, func() string {
			if got := r.values(); !maps.Equal(got, want) {
				return fmt.Sprint(got)
			}
			return ""
		})
	}
	for _, key := range []string{"a", "c", "b"} {
		r.result("current", total(key, 1))
	}
	r.restore(1)
	r.result("current", total("b", 2)) // it has the position of c
	r.result("current", total("b", 3))
	remove(output.Compaction{Before: 5, Starts: []result.Position{{Generation: 2, Seq: 2}}}, 3, 4)
	_, stop := r.start()
	is("filled", map[string]string{"a": total("a", 1), "b": total("b", 3)})
	r.until("the record is written", func() string {
		if record, _, err := New(r.config()).loadRecord(r.within()); err != nil || record.Sequence != 5 || record.Filling {
			return fmt.Sprint(record, err)
		}
		return ""
	})
	stop()
	r.result("current", total("b", 4))
	remove(output.Compaction{Before: 6}, 5)
	v := New(r.config())
	record, _, err := v.loadRecord(r.within())
	must(t, err)
	out, err := stream.Info(r.within())
	must(t, err)
	kv, err := r.js.Stream(r.within(), "KV_TOTALS")
	must(t, err)
	if why, err := v.differs(r.within(), &record, out, kv.CachedInfo()); why != "" || err != nil {
		t.Errorf("a record of a result that was removed: %s, %v", why, err)
	}
}

// A view names what keeps it from its bucket, and goes on by itself.
func TestAViewNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t, totals)
	v, stop := r.start()
	r.result("current", total("a", 1))
	r.result("current", total("b", 2))
	r.await("at first", v)
	says := func(what string, ok func(Info) bool) {
		t.Helper()
		r.until(what, func() string {
			if i := v.Info(); !ok(i) {
				return fmt.Sprintf("%+v", i)
			}
			return ""
		})
	}
	says("it follows", func(i Info) bool { return i.State == Following && i.Reason == "" && i.Lag == 0 })

	// Somebody else writes: a key of the view, and one that it does not have.
	kv, err := r.js.KeyValue(r.within(), "TOTALS")
	must(t, err)
	_, err = kv.Put(r.within(), "a", []byte("mine"))
	must(t, err)
	says("a foreign write", func(i Info) bool { return i.Foreign == 1 && i.ForeignAt == "key a, revision 3" })
	r.until("the row is back", func() string {
		if e, err := kv.Get(r.within(), "a"); err != nil || string(e.Value()) != total("a", 1) {
			return fmt.Sprintf("%v: %s", err, e.Value())
		}
		return ""
	})
	_, err = kv.Put(r.within(), "a", []byte("mine again")) // the next row of the key wins, too
	must(t, err)
	r.result("current", total("a", 3))
	r.await("after a foreign write", v)

	// Its bucket is gone, and comes back.
	must(t, r.js.DeleteKeyValue(r.within(), "TOTALS"))
	says("the bucket is gone", func(i Info) bool {
		return i.State == Waiting && strings.Contains(i.Reason, "KV bucket TOTALS is not there")
	})
	r.result("current", total("c", 4))
	r.bucket("TOTALS")
	r.await("with a new bucket", v)
	says("it follows again", func(i Info) bool { return i.State == Following && i.Recreated >= 1 })

	// Results go before the view has read them.
	r.until("the record is written", func() string {
		if rec, _, err := v.loadRecord(r.within()); err != nil || rec.Sequence != 4 || rec.Filling {
			return fmt.Sprintf("%+v %v", rec, err)
		}
		return ""
	})
	stop()
	r.result("current", total("a", 5))
	r.result("current", total("b", 6))
	s, err := r.js.Stream(r.within(), natsconn.OutStream("shop", 0))
	must(t, err)
	must(t, s.Purge(r.within(), jetstream.WithPurgeSequence(5+1)))
	v, stop = r.start()
	says("trimmed results", func(i Info) bool { return i.Trimmed == 1 && i.State == Following })
	want := map[string]string{"a": total("a", 3), "b": total("b", 6), "c": total("c", 4)} // a keeps what it has
	r.until("the rows that are left", func() string {
		if got := r.values(); !maps.Equal(got, want) {
			return fmt.Sprint(got)
		}
		return ""
	})
	stop()
}

// A row of an earlier version without an attribute of the key has null for it; one whose key has
// another type is counted.
func TestRowsOfEarlierVersions(t *testing.T) {
	t.Parallel()
	r := newRig(t, `@app:name('shop') define stream S (shop string, v int, ok bool);
@sink(stream='Totals', kv='TOTALS', key='all.{shop}.{v}.{ok}') from S select shop, v, ok insert into Totals;`)
	for _, row := range []string{
		`{"shop":"a b.c"}`, `{"shop":"","v":5,"ok":true,"more":[1]}`, `{"shop":7,"v":5,"ok":true}`, "{\"shop\":\"x\",\"v\":1,\"ok\":false}\n{\"shop\":\"é=\",\"v\":2,\"ok\":null}\n",
	} {
		r.result("current", row)
	}
	v, _ := r.start()
	want := map[string]string{
		"all.a=20b=2Ec.=null.=null": `{"shop":"a b.c"}`,
		"all.=empty.5.true":         `{"shop":"","v":5,"ok":true,"more":[1]}`,
		"all.x.1.false":             `{"shop":"x","v":1,"ok":false}`,
		"all.=C3=A9=3D.2.=null":     `{"shop":"é=","v":2,"ok":null}`,
	}
	r.until("the rows have keys", func() string {
		if got := r.values(); !maps.Equal(got, want) || v.Info().Unkeyed != 1 {
			return fmt.Sprintf("%v %+v", got, v.Info())
		}
		return ""
	})
}

// Another definition, and another output stream of the same name, leave nothing of the former one
// in the bucket. A process of an earlier version does not write over it.
func TestViewsThatAreDefinedInAnotherWay(t *testing.T) {
	t.Parallel()
	r := newRig(t, totals)
	v, stop := r.start()
	r.result("current", total("a", 1))
	r.result("current", total("b", 2))
	r.await("at first", v)
	other, err := siddhiql.Compile(strings.Replace(totals, "key='{shop}'", "key='by.{shop}'", 1))
	must(t, err)
	_, end := r.start(func(c *Config) { c.Version, c.Stream = 2, other.Views()[0] })
	want := map[string]string{"by.a": total("a", 1), "by.b": total("b", 2)}
	became := func() string {
		if got := r.values(); !maps.Equal(got, want) {
			return fmt.Sprint(got)
		}
		return ""
	}
	r.until("the keys are those of the new version", became)
	r.result("current", total("b", 3))
	want["by.b"] = total("b", 3)
	r.until("the former process has noticed", func() string {
		if i := v.Info(); !strings.Contains(i.Reason, "as version 2 of app shop has it") {
			return fmt.Sprintf("%+v", i)
		}
		return ""
	})
	r.until("only the new version writes", became)
	stop()
	end()

	must(t, r.js.DeleteStream(r.within(), natsconn.OutStream("shop", 0)))
	_, err = natsconn.EnsureApp(r.within(), r.js, "shop", 1, natsconn.StreamLimits{})
	must(t, err)
	r.seq, r.last = 0, result.Position{}
	r.result("current", total("a", 9))
	v, _ = r.start()
	r.await("after the app was deployed again", v)
}
