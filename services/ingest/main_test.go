package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const (
	flightsApp = `@app:name('a') define stream Flights (origin string, delay int); from Flights select origin insert into Out;`
	arrival    = int64(1_700_000_000_000) // what the tests' clock says
)

// rig is a service on a server of its own, and a publisher.
type rig struct {
	t   testing.TB
	at  natsconn.EmbeddedConfig
	srv *natsconn.Embedded
	svc *Service
	pub *nats.Conn
	js  jetstream.JetStream
	// index is the index of the newest deployment.
	index uint64

	stop context.CancelFunc
	done chan error
	read map[string]int // times that newTimes has returned, by app
}

func plans(t testing.TB, apps ...string) []*siddhiql.Plan {
	t.Helper()
	var all []*siddhiql.Plan
	for _, text := range apps {
		p, err := siddhiql.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// start runs a service for the apps, and makes their streams first; change may alter its configuration.
func start(t testing.TB, change func(*Config), apps ...string) *rig {
	t.Helper()
	return startAt(t, natsconn.Fast, change, apps...)
}

func startAt(t testing.TB, d natsconn.Durability, change func(*Config), apps ...string) *rig {
	t.Helper()
	r := &rig{
		t: t, done: make(chan error, 1),
		at: natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: d, Log: quiet},
	}
	srv, err := natsconn.OpenEmbedded(r.at)
	if err != nil {
		t.Fatal(err)
	}
	r.srv = srv
	t.Cleanup(func() {
		if err := r.srv.Close(); err != nil {
			t.Error(err)
		}
	})
	r.pub = connect(t, srv)
	if r.js, err = jetstream.New(r.pub); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.js.CleanupPublisher)
	if _, err := r.js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: natsconn.LinksBucket}); err != nil {
		t.Fatal(err)
	}
	r.begin(change, apps...)
	t.Cleanup(func() { r.end() })
	return r
}

// ensureApp makes the streams of an app, with logs that are open and empty.
func ensureApp(t testing.TB, js jetstream.JetStream, app string, partitions uint32) {
	t.Helper()
	if _, err := natsconn.EnsureApp(within(t), js, app, partitions, natsconn.StreamLimits{}); err != nil {
		t.Fatal(err)
	}
	for p := range partitions {
		if err := natsconn.OpenWAL(within(t), js, app, p, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// begin makes the streams of the apps and runs a service for them. The previous service must
// have ended.
func (r *rig) begin(change func(*Config), apps ...string) {
	r.t.Helper()
	r.again(change, r.deploy(apps...)...)
}

// again runs a service for apps without making their streams.
func (r *rig) again(change func(*Config), apps ...App) {
	r.t.Helper()
	gate := &Gate{}
	events, err := natsconn.Connect(within(r.t), natsconn.ConnectConfig{URL: r.srv.URL(), Log: quiet, BeforeRead: gate.Wait})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(events.Close)
	cfg := Config{
		Conn: events, Gate: gate, LogConn: connect(r.t, r.srv), Version: "0.1.0", Log: quiet,
		Durability: r.at.Durability, Now: func() int64 { return arrival },
	}
	if change != nil {
		change(&cfg)
	}
	if r.svc, err = New(cfg); err != nil {
		r.t.Fatal(err)
	}
	r.svc.leaseBeat = 20 * time.Millisecond
	r.svc.Serve(apps)
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	svc, done := r.svc, r.done
	go func() { done <- svc.Run(ctx) }()
	select {
	case <-r.svc.Ready():
	case err := <-r.done:
		cancel()
		r.t.Fatal(err)
	}
}

// deploy makes the streams of apps, as a checkpointer does.
func (r *rig) deploy(apps ...string) (all []App) {
	r.t.Helper()
	for _, p := range plans(r.t, apps...) {
		ensureApp(r.t, r.js, p.Name, uint32(p.Partitions))
		r.index++
		all = append(all, App{Name: p.Name, Index: r.index, Plan: p})
	}
	return all
}

// state waits until an app is in that state, and returns why.
func (r *rig) state(app string, want State) string {
	r.t.Helper()
	var a AppState
	for ctx := within(r.t); ctx.Err() == nil; <-time.After(time.Millisecond) {
		if u := r.svc.unit(app); u != nil {
			if a = u.appState(); a.State == want {
				return a.Reason
			}
		}
	}
	r.t.Fatalf("app %s is %+v, want %s", app, a, want)
	return ""
}

// restart stops the server and starts it again on its files and its address. It returns once the
// publisher is connected to it.
func (r *rig) restart() {
	r.t.Helper()
	r.at.Listen = strings.TrimPrefix(r.srv.URL(), "nats://")
	if err := r.srv.Close(); err != nil {
		r.t.Fatal(err)
	}
	srv, err := natsconn.OpenEmbedded(r.at)
	if err != nil {
		r.t.Fatal(err)
	}
	r.srv = srv
	// The client may not have noticed yet that the former server is gone.
	ctx := within(r.t)
	for r.pub.FlushWithContext(ctx) != nil {
		if ctx.Err() != nil {
			r.t.Fatal("the publisher does not reach the server that was started again")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// end stops the service, once.
func (r *rig) end() {
	r.t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

func connect(t testing.TB, srv *natsconn.Embedded) *nats.Conn {
	t.Helper()
	nc, err := natsconn.Connect(within(t), natsconn.ConnectConfig{URL: srv.URL(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// reply is an answer as a client sees it.
type reply struct {
	Stream        string
	Seq           uint64
	Duplicate     bool
	Error         *answerError
	Accepted      int      `json:"-"` // events
	Apps          []string `json:"-"` // that accepted the message, in an error 503
	ID            string
	Rejected      []rejection
	RejectedCount int `json:"rejected_count"`
}

// UnmarshalJSON reads an answer, where accepted is a number or a list.
func (r *reply) UnmarshalJSON(data []byte) error {
	type plain reply
	var also struct{ Accepted json.RawMessage }
	if err := errors.Join(json.Unmarshal(data, (*plain)(r)), json.Unmarshal(data, &also)); err != nil || also.Accepted == nil {
		return err
	}
	if also.Accepted[0] == '[' {
		return json.Unmarshal(also.Accepted, &r.Apps)
	}
	return json.Unmarshal(also.Accepted, &r.Accepted)
}

// ask publishes with a reply subject. headers are names and values in turns.
func (r *rig) ask(subject, payload string, headers ...string) reply {
	r.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(payload)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
	}
	answer, err := r.pub.RequestMsgWithContext(within(r.t), m)
	if err != nil {
		r.t.Fatalf("%s %.60s: %v", subject, payload, err)
	}
	var out reply
	if err := json.Unmarshal(answer.Data, &out); err != nil {
		r.t.Fatalf("answer %q: %v", answer.Data, err)
	}
	return out
}

// logged returns what the log of a partition holds, a line for each run of rows:
// "Flights @arrived chunk id=… header=… ts:[row] ts:[row]".
func (r *rig) logged(app string, partition uint32) []string {
	r.t.Helper()
	var lines []string
	r.frames(app, partition, func(f *frame.Frame) { lines = append(lines, runsOf(f)...) })
	return lines
}

// frames calls see with the frames of a log that a task applies. A writer that gets no answer in
// time sends its frame again, so the log may have it twice.
func (r *rig) frames(app string, partition uint32, see func(*frame.Frame)) {
	r.t.Helper()
	var dec frame.Decoder
	last := map[uint64]uint64{} // number by writer
	r.messages(natsconn.WALStream(app, partition), func(m *jetstream.RawStreamMsg) {
		f, err := dec.Decode(m.Data)
		if err != nil {
			r.t.Fatal(err)
		}
		if f.Number > last[f.Writer] {
			last[f.Writer] = f.Number
			see(f)
		}
	})
}

func runsOf(f *frame.Frame) []string {
	var lines []string
	next := make([]int, len(f.Blocks))
	for _, run := range f.Runs {
		b := &f.Blocks[run.Block]
		var line strings.Builder
		fmt.Fprintf(&line, "%s +%d", b.Batch.Schema.Name, b.Stamps()[next[run.Block]]-arrival)
		if run.Chunk {
			line.WriteString(" chunk")
		}
		if run.ID != "" {
			line.WriteString(" id=" + run.ID)
		}
		if run.Header != "" {
			fmt.Fprintf(&line, " header=%q", run.Header)
		}
		for range run.Rows {
			i := next[run.Block]
			next[run.Block]++
			fmt.Fprintf(&line, " %s", rowjson.AppendArray(nil, b.Batch, i))
			if ts := b.Batch.TS[i]; ts != arrival {
				fmt.Fprintf(&line, "@%d", ts)
			}
		}
		lines = append(lines, line.String())
	}
	return lines
}

// messages calls see for all messages of a JetStream stream.
func (r *rig) messages(stream string, see func(*jetstream.RawStreamMsg)) {
	r.t.Helper()
	s, err := r.js.Stream(within(r.t), stream)
	if err != nil {
		r.t.Fatal(err)
	}
	state := s.CachedInfo().State
	for seq := max(state.FirstSeq, 1); seq <= state.LastSeq; seq++ {
		m, err := s.GetMsg(within(r.t), seq)
		if err != nil {
			r.t.Fatal(err)
		}
		see(m)
	}
}

// dead returns the dead letters of an app, a line each. The service must have ended, because
// it stores them concurrently.
func (r *rig) dead(app string) []string {
	r.t.Helper()
	added := []string{"Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"} // by the server as it answers
	var lines []string
	r.messages(natsconn.DLQStream(app), func(m *jetstream.RawStreamMsg) {
		var names []string
		for name := range m.Header {
			if !slices.Contains(added, name) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		line := m.Subject + " " + string(m.Data)
		for _, name := range names {
			line += fmt.Sprintf(" %s=%s", name, m.Header.Get(name))
		}
		lines = append(lines, line)
	})
	return lines
}

func equal(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
