package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// rig is a server with the streams of one app, and a writer of its log.
type rig struct {
	text string
	t    testing.TB
	plan *siddhiql.Plan
	srv  *natsconn.Embedded
	nc   *nats.Conn
	js   jetstream.JetStream
	log  *wal.Writer
	most int // results in a batch; 0: the default
}

func newRig(t testing.TB, app string) *rig {
	t.Helper()
	plan, err := siddhiql.Compile(app)
	must(t, err)
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	r := &rig{t: t, text: app, plan: plan, srv: srv}
	r.nc = r.connect()
	r.js, err = jetstream.New(r.nc)
	must(t, err)
	r.ensure()
	r.log = r.writer()
	return r
}

// ensure makes the app's streams, as a checkpointer does.
func (r *rig) ensure() {
	r.t.Helper()
	deployLog(r.within(), r.t, r.js, r.text)
}

var settings = engine.Settings{DedupWindow: 120_000}

// deployLog makes the streams of an app, with the deploy frame at sequence 1.
func deployLog(ctx context.Context, t testing.TB, js jetstream.JetStream, text string) {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	must(t, err)
	var chosen []func(uint32) string
	for _, t := range plan.Templates() {
		chosen = append(chosen, t.PatternOf)
	}
	_, err = natsconn.EnsureApp(ctx, js, plan.Name, 1, natsconn.StreamLimits{}, chosen...)
	must(t, err)
	d := wal.Deployment{App: plan.Name, Stamp: 1, Version: frame.Version{Number: 1, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: text}}
	must(t, d.Deploy(ctx, js, 0))
}

func (r *rig) connect() *nats.Conn {
	r.t.Helper()
	nc, err := natsconn.Connect(r.within(), natsconn.ConnectConfig{Embedded: r.srv, Log: quiet})
	must(r.t, err)
	r.t.Cleanup(nc.Close)
	return nc
}

// writer returns a running writer of the log, as another process would have it.
func (r *rig) writer() *wal.Writer {
	r.t.Helper()
	w, err := wal.NewWriter(wal.WriterConfig{Conn: r.nc, App: r.plan.Name, Log: quiet})
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	r.t.Cleanup(func() { cancel(); must(r.t, <-ended) })
	return w
}

func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	r.t.Cleanup(cancel)
	return ctx
}

// send appends one row to the log and returns when it is durable.
func (r *rig) send(stream string, at int64, id string, values ...any) uint64 {
	r.t.Helper()
	b := event.NewBatch(r.plan.Stream(stream).Schema)
	for i, v := range values {
		switch v := v.(type) {
		case int:
			b.Cols[i].AppendInt(int64(v))
		case bool:
			b.Cols[i].AppendBool(v)
		case string:
			b.Cols[i].AppendText(v)
		default:
			r.t.Fatalf("value %v", v)
		}
	}
	b.TS = append(b.TS, at)
	f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: 1, Arrived: at, ID: id})
	must(r.t, err)
	seq, err := f.Wait(r.within())
	must(r.t, err)
	return seq
}

// start runs a processor; stop ends it as a kill would, without a farewell.
func (r *rig) start() (s *Service, stop func()) {
	r.t.Helper()
	return r.startWith(Config{Apps: []*siddhiql.Plan{r.plan}, BatchMessagesMax: r.most})
}

// startWith runs a processor of this server with some settings.
func (r *rig) startWith(cfg Config) (s *Service, stop func()) {
	r.t.Helper()
	cfg.Conn, cfg.Settings, cfg.Version, cfg.Log = r.nc, settings, "1.0.0", quiet
	s, err := New(cfg)
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	done := false
	stop = func() {
		if !done {
			done = true
			cancel()
			must(r.t, <-ended)
		}
	}
	r.t.Cleanup(stop)
	return s, stop
}

// drained runs a processor until it has applied all of the log.
func (r *rig) drained() TaskInfo {
	r.t.Helper()
	s, stop := r.start()
	must(r.t, s.Drain(r.within()))
	stop()
	return s.Tasks()[0]
}

// results returns the output stream as lines: "subject position kind ts payload".
func (r *rig) results() []string {
	r.t.Helper()
	stream, err := r.js.Stream(r.within(), natsconn.OutStream(r.plan.Name, 0))
	must(r.t, err)
	info, err := stream.Info(r.within())
	must(r.t, err)
	var lines []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(r.within(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue // deleted by hand
		}
		must(r.t, err)
		if m.Subject == natsconn.FenceSubject(r.plan.Name, 0) {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s %s", m.Subject,
			m.Header.Get(headerPosition), m.Header.Get(headerKind), m.Header.Get(headerTimestamp), m.Data))
	}
	return lines
}

// info is how the one task is; the zero TaskInfo before it was started.
func (r *rig) info(s *Service) (i TaskInfo) {
	if all := s.Tasks(); len(all) > 0 {
		i = all[0]
	}
	return i
}

// eventually waits until done holds.
func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(5 * time.Minute); !done(); <-tick.C {
		if time.Now().After(deadline) {
			r.t.Fatalf("waited a minute until %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
