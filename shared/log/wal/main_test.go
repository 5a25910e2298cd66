package wal

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	quiet  = slog.New(slog.DiscardHandler)
	flight = &event.Schema{Name: "Flights", Attrs: []event.Attr{
		{Name: "time", Type: event.Long},
		{Name: "origin", Type: event.String},
		{Name: "destination", Type: event.String},
		{Name: "delay", Type: event.Int},
		{Name: "distance", Type: event.Int},
	}}
	alert = &event.Schema{Name: "Alerts", Attrs: []event.Attr{{Name: "text", Type: event.String}}}
)

// node is a server that can be stopped and started again at the same address.
type node struct {
	t   testing.TB
	cfg natsconn.EmbeddedConfig
	srv *natsconn.Embedded
}

func startNode(t testing.TB, d natsconn.Durability) *node {
	t.Helper()
	n := &node{t: t, cfg: natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: d, Log: quiet}}
	n.start()
	n.cfg.Listen = strings.TrimPrefix(n.srv.URL(), "nats://")
	t.Cleanup(n.stop)
	return n
}

func (n *node) start() {
	n.t.Helper()
	srv, err := natsconn.OpenEmbedded(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.srv = srv
}

func (n *node) stop() {
	if err := n.srv.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *node) connect() *nats.Conn {
	n.t.Helper()
	return connectTo(n.t, natsconn.ConnectConfig{URL: n.srv.URL()})
}

func connectTo(t testing.TB, cfg natsconn.ConnectConfig) *nats.Conn {
	t.Helper()
	cfg.Log = quiet
	nc, err := natsconn.Connect(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func jetStream(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func ensureWAL(t testing.TB, nc *nats.Conn, limits natsconn.StreamLimits) jetstream.Stream {
	t.Helper()
	s, err := natsconn.EnsureWAL(within(t), jetStream(t, nc), "app", 0, limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// runWriter returns a writer that runs until the test ends.
func runWriter(t testing.TB, cfg WriterConfig) *Writer {
	t.Helper()
	w := newWriter(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return w
}

func newWriter(t testing.TB, cfg WriterConfig) *Writer {
	t.Helper()
	cfg.App, cfg.Log = "app", quiet
	w, err := NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// alerts returns a batch of one row per text.
func alerts(texts ...string) *event.Batch {
	b := event.NewBatch(alert)
	for _, text := range texts {
		b.Cols[0].AppendText(text)
		b.TS = append(b.TS, 7)
	}
	return b
}

func all(b *event.Batch, arrived int64) *Message {
	return &Message{Batch: b, To: b.Len(), Arrived: arrived}
}

// logged is a log as a task sees it: what the chain lets through.
type logged struct {
	frames     []frame.Frame // headers, cuts and runs
	texts      []string      // first attribute of each alert
	stamps     []int64       // arrival of each row
	duplicates int
}

// readLog reads what the log holds now, and fails the test unless it is whole.
func readLog(t testing.TB, nc *nats.Conn) logged {
	t.Helper()
	r, err := OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: natsconn.WALStream("app", 0), From: 1, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var l logged
	var dec frame.Decoder
	chain := frame.NewChain("app", 0)
	for !r.AtTail() {
		rec, err := r.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		f, err := dec.Decode(rec.Data)
		if err != nil {
			t.Fatal(err)
		}
		verdict, err := chain.Check(rec.Seq, &f.Header, f.CRC)
		if err != nil {
			t.Fatal(err)
		}
		if verdict == frame.Duplicate {
			l.duplicates++
			continue
		}
		l.add(f)
	}
	return l
}

func (l *logged) add(f *frame.Frame) {
	kept := frame.Frame{Header: f.Header, Cut: f.Cut}
	at := make([]int, len(f.Blocks))
	for _, run := range f.Runs {
		kept.Runs = append(kept.Runs, frame.Run{Block: run.Block, Rows: run.Rows, Chunk: run.Chunk, ID: strings.Clone(run.ID), Header: strings.Clone(run.Header)})
		b := &f.Blocks[run.Block]
		for range run.Rows {
			row := at[run.Block]
			at[run.Block]++
			l.stamps = append(l.stamps, b.Stamps()[row])
			if b.Batch.Schema.Name == alert.Name {
				l.texts = append(l.texts, strings.Clone(b.Batch.Cols[0].Text(row)))
			}
		}
	}
	l.frames = append(l.frames, kept)
}

// outcomes collects what a writer tells, from the writer's goroutine.
type outcomes struct{ c chan error }

func newOutcomes(n int) *outcomes { return &outcomes{make(chan error, n)} }

func (o *outcomes) Committed(seq uint64, err error) {
	if err == nil && seq == 0 {
		err = errors.New("committed without a sequence")
	}
	o.c <- err
}

func (o *outcomes) wait(t testing.TB, n int) {
	t.Helper()
	for i := range n {
		select {
		case err := <-o.c:
			if err != nil {
				t.Fatalf("append %d: %v", i, err)
			}
		case <-within(t).Done():
			t.Fatalf("append %d of %d: no outcome", i, n)
		}
	}
}

// readAfter returns the texts behind those in before.
func readAfter(t testing.TB, nc *nats.Conn, before logged) []string {
	t.Helper()
	from := uint64(len(before.frames) + 1)
	r, err := OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: natsconn.WALStream("app", 0), From: from, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var l logged
	var dec frame.Decoder
	last := map[uint64]uint64{} // number by writer
	for !r.AtTail() {
		rec, err := r.Next(within(t))
		if err != nil {
			t.Fatal(err)
		}
		f, err := dec.Decode(rec.Data)
		if err != nil {
			t.Fatal(err)
		}
		if f.Number > last[f.Writer] { // else the writer had no answer in time, and sent it again
			last[f.Writer] = f.Number
			l.add(f)
		}
	}
	return l.texts
}

// awaitMessages returns once the log has n messages.
func awaitMessages(t testing.TB, n *node, want uint64) {
	t.Helper()
	js := jetStream(t, n.connect())
	for ctx := within(t); ; {
		s, err := js.Stream(ctx, natsconn.WALStream("app", 0))
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.LastSeq >= want {
			return
		}
	}
}
