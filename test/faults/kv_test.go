package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
)

const ratesApp = `@app:name('Rates')
@PrimaryKey('k') @source(kv='RATES') define table R (k string, v long);
@source(stream='ORDERS') define stream Orders (n long, k string);
from Orders left outer join R on R.k == Orders.k select Orders.n, Orders.k, R.v insert into Out;
`

// market is a KV bucket whose values grow, and a stream of orders that are joined with it.
type market struct {
	t      *testing.T
	rnd    *rand.Rand
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	orders int
	values int64
	rows   map[string]int64
}

func (m *market) trade(ctx context.Context) {
	m.t.Helper()
	key := fmt.Sprintf("k%d", m.rnd.IntN(20))
	m.orders++
	_, err := m.js.Publish(ctx, "orders.new", fmt.Appendf(nil, `{"n":%d,"k":%q}`, m.orders, key))
	must(m.t, err)
	m.values++
	switch m.rnd.IntN(8) {
	case 0:
		must(m.t, m.kv.Delete(ctx, key))
		delete(m.rows, key)
	case 1: // as a limit does: without a marker
		s, err := m.js.Stream(ctx, "KV_RATES")
		must(m.t, err)
		must(m.t, s.Purge(ctx, jetstream.WithPurgeSubject("$KV.RATES."+key)))
		delete(m.rows, key)
	default:
		_, err := m.kv.Put(ctx, key, fmt.Appendf(nil, `{"v":%d}`, m.values))
		must(m.t, err)
		m.rows[key] = m.values
	}
}

// TestKillWhileATableFollowsABucket kills the process again and again while a bucket changes and
// events are joined with its rows. A replay of the log gives the same results, no key goes back
// to an older value, and in the end the table has the rows of the bucket.
func TestKillWhileATableFollowsABucket(t *testing.T) {
	t.Parallel()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	nc, err := nats.Connect(srv.URL())
	must(t, err)
	t.Cleanup(nc.Close)
	m := &market{t: t, rnd: random(t), rows: map[string]int64{}}
	m.js, err = jetstream.New(nc)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	_, err = m.js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	must(t, err)
	m.kv, err = m.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "RATES"})
	must(t, err)
	data, file := t.TempDir(), write(t, "rates.siddhi", ratesApp)
	begin := func() *process {
		// Without checkpoints, the log keeps all frames.
		return start(t, "run", file, "--data", data, "--nats.url", srv.URL(), "--wal.durability", "fast", "--ingest.lag_max", "1h",
			"--checkpoint.interval=24h")
	}
	for range *kills {
		p := begin()
		strike := time.After(moment(m.rnd))
		if m.rnd.IntN(4) > 0 { // else while it starts
			p.awaitReady()
			strike = time.After(moment(m.rnd))
		}
		for waiting := true; waiting; {
			select {
			case <-strike:
				waiting = false
			default:
				m.trade(ctx)
			}
		}
		p.signal(syscall.SIGKILL)
		if code := p.end(); code != -1 {
			t.Fatalf("exit code %d after a kill", code)
		}
	}
	for range 20 { // while nothing reads the bucket
		m.trade(ctx)
	}
	p := begin()
	p.awaitReady()
	got := m.results(ctx)
	m.awaitRows(ctx)
	want, _ := ratesReplayed(t, m.js)
	p.stop() // trims the log
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the results are\n%v\nand a replay of the log gives\n%v", got, want)
	}
	newest := map[string]int64{}
	for i, r := range got {
		if r.N != i+1 {
			t.Fatalf("result %d is of order %d", i+1, r.N)
		}
		if r.V != nil {
			if *r.V < newest[r.K] {
				t.Fatalf("order %d: key %s went back from %d to %d", r.N, r.K, newest[r.K], *r.V)
			}
			newest[r.K] = *r.V
		}
	}
	t.Logf("%d orders, %d changes, %d kills", m.orders, m.values, *kills)
}

type rated struct {
	N int
	K string
	V *int64
}

func (r rated) String() string {
	if r.V == nil {
		return fmt.Sprint(r.N, r.K, "-")
	}
	return fmt.Sprint(r.N, r.K, *r.V)
}

// results returns the results of all orders.
func (m *market) results(ctx context.Context) (rows []rated) {
	m.t.Helper()
	results, err := m.js.OrderedConsumer(ctx, natsconn.OutStream("Rates", 0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{"out.Rates.Out.0"}})
	must(m.t, err)
	messages, err := results.Messages()
	must(m.t, err)
	defer messages.Stop()
	for range m.orders {
		one, err := messages.Next(jetstream.NextContext(ctx))
		must(m.t, err)
		var row rated
		must(m.t, json.Unmarshal(one.Data(), &row))
		rows = append(rows, row)
	}
	return rows
}

// awaitRows returns once the table has the rows of the bucket.
func (m *market) awaitRows(ctx context.Context) {
	m.t.Helper()
	for {
		_, rows := ratesReplayed(m.t, m.js)
		if maps.Equal(rows, m.rows) {
			return
		}
		if ctx.Err() != nil {
			m.t.Fatalf("the table has %v, and the bucket %v", rows, m.rows)
		}
	}
}

// ratesReplayed applies the log of the app to a new task, and returns its results and the rows
// of its table.
func ratesReplayed(t *testing.T, js jetstream.JetStream) (results []rated, table map[string]int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	log, err := js.Stream(ctx, natsconn.WALStream("Rates", 0))
	must(t, err)
	if log.CachedInfo().State.FirstSeq != 1 {
		t.Fatalf("the log starts at %d", log.CachedInfo().State.FirstSeq)
	}
	plan, err := siddhiql.Compile(ratesApp)
	must(t, err)
	var task *engine.Task
	var decoder frame.Decoder
	for seq := uint64(1); seq <= log.CachedInfo().State.LastSeq; seq++ {
		m, err := log.GetMsg(ctx, seq)
		must(t, err)
		f, err := decoder.Decode(m.Data)
		must(t, err)
		if task == nil {
			var settings engine.Settings
			must(t, json.Unmarshal([]byte(f.Deploy.Settings), &settings))
			task, err = engine.NewTask(plan, 0, settings)
			must(t, err)
		}
		_, err = task.Apply(seq, f)
		must(t, err)
		for _, o := range task.Outputs() {
			rows, _ := task.Rows(int(o.Query))
			for i := int(o.From); i < int(o.To); i++ {
				var row rated
				must(t, json.Unmarshal(rowjson.AppendObject(nil, rows, i), &row))
				results = append(results, row)
			}
		}
		task.ResetOutputs()
	}
	table = map[string]int64{}
	for _, c := range task.Components() {
		if c.ID == "table/R" {
			c.Source.(state.Lister).Items(func(i state.Item) {
				var row rated
				must(t, json.Unmarshal(i.Value, &row))
				table[row.K] = *row.V
			})
		}
	}
	return results, table
}
