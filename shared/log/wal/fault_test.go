package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// appendRows appends one row per number, waits for space where it must, and
// returns the texts.
func appendRows(t *testing.T, w *Writer, from, to int, told Committed) []string {
	t.Helper()
	var texts []string
	for i := from; i < to; i++ {
		texts = append(texts, fmt.Sprint("row ", i))
		m := all(alerts(texts[len(texts)-1]), int64(i))
		err := w.Append(m, told)
		for errors.Is(err, ErrFull) {
			if err := w.AwaitSpace(within(t)); err != nil {
				t.Fatal(err)
			}
			err = w.Append(m, told)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return texts
}

func TestWriterGoesOnAfterServerRestart(t *testing.T) {
	n := startNode(t, natsconn.Durable)
	nc := n.connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := runWriter(t, WriterConfig{Conn: nc, PendingBytesMax: 64 << 10})
	told := newOutcomes(30_000)
	want := appendRows(t, w, 0, 10_000, told)
	n.stop() // in the middle: the bound makes the last rows still wait
	// While it is down, appends are taken up to the bound.
	next := 10_000
	for ; next < 10_100; next++ {
		text := fmt.Sprint("row ", next)
		err := w.Append(all(alerts(text), int64(next)), told)
		if errors.Is(err, ErrFull) {
			break // the rows before the stop have used the bound up
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, text)
	}
	n.start()
	want = append(want, appendRows(t, w, next, 20_000, told)...)
	told.wait(t, 20_000)
	if l := readLog(t, nc); !slices.Equal(l.texts, want) {
		t.Errorf("%d rows, want %d in order", len(l.texts), len(want))
	}
	if err := w.Health(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// The server has stored the frame, and its answer is lost. The frame is repeated,
// and the log's reader drops the second copy.
func TestWriterRepeatsWhatHasNoAnswer(t *testing.T) {
	for _, cut := range []bool{true, false} {
		t.Run(fmt.Sprintf("cut=%v", cut), func(t *testing.T) {
			n := startNode(t, natsconn.Fast)
			ensureWAL(t, n.connect(), natsconn.StreamLimits{})
			p := startProxy(t, n.srv.URL(), acknowledgement, cut)
			nc := connectTo(t, natsconn.ConnectConfig{URL: p.url()})
			w := runWriter(t, WriterConfig{Conn: nc, AttemptTimeout: 100 * time.Millisecond})
			told := newOutcomes(1000)
			want := appendRows(t, w, 0, 10, told)
			told.wait(t, 10)
			for i := 10; i < 40; i += 10 {
				p.lose.Store(2) // what comes after the first row must not get into its frame
				want = append(want, appendRows(t, w, i, i+10, told)...)
				told.wait(t, 10)
			}
			l := readLog(t, n.connect())
			if !slices.Equal(l.texts, want) {
				t.Errorf("rows %q, want %q", l.texts, want)
			}
			// A slow answer is a lost one, so there may be more.
			if repeats := int(w.Stats().Repeats); l.duplicates < 6 || repeats < l.duplicates {
				t.Errorf("%d duplicates after %d repeats, want at least 6 duplicates, and a repeat for each", l.duplicates, repeats)
			}
		})
	}
}

func TestWriterWaitsWhileTheLogIsFull(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	stream := ensureWAL(t, nc, natsconn.StreamLimits{BytesMax: 64 << 10})
	w := runWriter(t, WriterConfig{Conn: nc, PendingBytesMax: 8 << 10})
	noise := func(i int) string { return fmt.Sprint(i, strings.Repeat(fmt.Sprint(i*i), 50)) }
	var told []Future
	for i := 0; ; i++ {
		f, err := w.AppendFuture(all(alerts(noise(i)), 1))
		if errors.Is(err, ErrFull) {
			if w.Health() != nil {
				break // the log, and then the writer
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			_ = w.AwaitSpace(ctx)
			cancel()
			i--
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, f)
	}
	err := w.Append(all(alerts(noise(0)), 1), nil)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "maximum bytes exceeded") {
		t.Errorf("append to a full log: %v", err)
	}
	before := readLog(t, nc)
	if err := stream.Purge(within(t), jetstream.WithPurgeSequence(uint64(len(before.frames)+1))); err != nil {
		t.Fatal(err)
	}
	for i, f := range told {
		if _, err := f.Wait(within(t)); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	if err := w.Health(); err != nil {
		t.Errorf("after there was space: %v", err)
	}
	after := readAfter(t, nc, before)
	if got := len(before.texts) + len(after); got != len(told) {
		t.Errorf("%d rows in the log, %d acknowledged", got, len(told))
	}
}

func TestWriterWaitsForTheStream(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	w := runWriter(t, WriterConfig{Conn: nc})
	f, err := w.AppendFuture(all(alerts("early"), 1))
	if err != nil {
		t.Fatal(err)
	}
	for w.Health() == nil {
		<-time.After(time.Millisecond)
	}
	if err := w.Health(); !strings.Contains(err.Error(), "ef.wal.app.0") {
		t.Errorf("without a stream: %v", err)
	}
	ensureWAL(t, nc, natsconn.StreamLimits{})
	if _, err := f.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestWriterStopsAtForeignStream(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	_, err := jetStream(t, nc).CreateStream(within(t), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"ef.wal.>"}})
	if err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, WriterConfig{Conn: nc})
	f, err := w.AppendFuture(all(alerts("lost"), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(within(t)); err == nil || !strings.Contains(err.Error(), "OTHER") {
		t.Errorf("run: %v", err)
	}
	if _, err := f.Wait(within(t)); !errors.Is(err, ErrUnknown) {
		t.Errorf("append: %v", err)
	}
}

// When the writer has to end, what was sent may be in the log, and what was not
// sent is not.
func TestWriterTellsUnknownFromUnwritten(t *testing.T) {
	n := startNode(t, natsconn.Fast)
	ensureWAL(t, n.connect(), natsconn.StreamLimits{})
	p := startProxy(t, n.srv.URL(), acknowledgement, false)
	p.lose.Store(1 << 20)
	w := newWriter(t, WriterConfig{Conn: connectTo(t, natsconn.ConnectConfig{URL: p.url()})})
	var told []Future
	for range 3 { // each fills a frame
		f, err := w.AppendFuture(all(alerts(strings.Repeat("x", groupBytesMax)), 1))
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	awaitMessages(t, n, 1)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("run: %v", err)
	}
	for i, want := range []error{ErrUnknown, ErrClosed, ErrClosed} {
		if _, err := told[i].Wait(within(t)); !errors.Is(err, want) || errors.Is(err, ErrUnknown) != (i == 0) {
			t.Errorf("append %d: %v, want %v", i, err, want)
		}
	}
	if l := readLog(t, n.connect()); len(l.frames) != 1 {
		t.Errorf("%d frames in the log", len(l.frames))
	}
}

// A frame that was repeated is answered twice, and the second answer may come when
// the next frame is in flight. It says nothing about that one.
func TestLateAnswerIsNotTheNextFrames(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc})
	a, err := openAttempts(w)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for seq := uint64(1); seq <= 3; seq++ {
		w.open.add(all(alerts("a"), 1), mustBlock(t, w.open), 1)
		w.open.bytes = 1
		a.answers <- &nats.Msg{Subject: a.msg.Reply, Data: []byte(`{"stream":"EFW_app_0","seq":999}`)}
		a.begin(w.encodeNext(w.takeAny))
		if got, err := a.await(within(t)); got != seq || err != nil {
			t.Errorf("frame %d has sequence %d, %v", seq, got, err)
		}
	}
}

func mustBlock(t *testing.T, g *group) int {
	t.Helper()
	index, err := g.block(alert)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestWriterEndsWithItsConnection(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc})
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	f, err := w.AppendFuture(all(alerts("a"), 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if _, err := w.AppendFuture(all(alerts("b"), 1)); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "connection closed") {
		t.Errorf("run: %v", err)
	}
	if err := w.Append(all(alerts("c"), 1), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
}
