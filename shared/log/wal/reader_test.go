package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func openReader(t testing.TB, nc *nats.Conn, from uint64) *Reader {
	t.Helper()
	r, err := OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: natsconn.WALStream("app", 0), From: from, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func publish(t testing.TB, nc *nats.Conn, from, to int) {
	t.Helper()
	js := jetStream(t, nc)
	for i := from; i <= to; i++ {
		if _, err := js.Publish(within(t), natsconn.WALSubject("app", 0), fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func expect(t testing.TB, r *Reader, from, to uint64) {
	t.Helper()
	for seq := from; seq <= to; seq++ {
		rec, err := r.Next(within(t))
		if err != nil {
			t.Fatalf("sequence %d: %v", seq, err)
		}
		if rec.Seq != seq || string(rec.Data) != fmt.Sprint(seq) || time.Since(rec.Time) > time.Minute {
			t.Fatalf("record %d %q of %s, want %d", rec.Seq, rec.Data, rec.Time, seq)
		}
	}
}

func TestReaderWaitsAtTheTail(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	r := openReader(t, nc, 1)
	if !r.AtTail() || r.Position() != 1 {
		t.Error("an empty log has no tail to reach")
	}
	publish(t, nc, 1, 50)
	expect(t, r, 1, 50)
	if !r.AtTail() || r.Tail() != 50 {
		t.Errorf("tail %d, position %d", r.Tail(), r.Position())
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("at the tail: %v", err)
	}
	publish(t, nc, 51, 51)
	expect(t, r, 51, 51)

	late := openReader(t, nc, 31)
	if late.AtTail() {
		t.Error("20 records are left, and the reader says none")
	}
	expect(t, late, 31, 51)
	openReader(t, nc, 52) // a task continues right after the end
}

func TestReaderSurvivesRestart(t *testing.T) {
	n := startNode(t, natsconn.Fast)
	nc := n.connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	r := openReader(t, nc, 1)
	for round := range 3 {
		at := round * 100
		publish(t, n.connect(), at+1, at+100)
		expect(t, r, uint64(at+1), uint64(at+50))
		n.stop()
		n.start()
		expect(t, r, uint64(at+51), uint64(at+100))
	}
}

func TestReaderRefusesWhatWasTrimmed(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	stream := ensureWAL(t, nc, natsconn.StreamLimits{})
	publish(t, nc, 1, 20)
	if err := stream.Purge(within(t), jetstream.WithPurgeSequence(11)); err != nil {
		t.Fatal(err)
	}
	_, err := OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: "EFW_app_0", From: 10, Log: quiet})
	var trimmed *TrimmedError
	if !errors.As(err, &trimmed) || trimmed.First != 11 || trimmed.Wanted != 10 {
		t.Errorf("trimmed to 11, read from 10: %v", err)
	}
	expect(t, openReader(t, nc, 11), 11, 20)
}

func TestReaderRefusesLostTail(t *testing.T) {
	n := startNode(t, natsconn.Fast)
	nc := n.connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	publish(t, nc, 1, 20)
	_, err := OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: "EFW_app_0", From: 22, Log: quiet})
	var lost *LostTailError
	if !errors.As(err, &lost) || lost.Last != 20 || lost.Wanted != 22 {
		t.Errorf("log of 20, read from 22: %v", err)
	}
	// A reader that is running finds out as well, when the server comes back with
	// less, even if new records have filled some of the numbers.
	r := openReader(t, nc, 1)
	expect(t, r, 1, 20)
	n.stop()
	if err := os.RemoveAll(filepath.Join(n.cfg.Dir, "jetstream")); err != nil {
		t.Fatal(err)
	}
	// The client must not get through before the log has its new content.
	addr := n.cfg.Listen
	n.cfg.Listen = "127.0.0.1:0"
	n.start()
	other := n.connect()
	ensureWAL(t, other, natsconn.StreamLimits{})
	publish(t, other, 1, 10)
	other.Close()
	n.stop()
	n.cfg.Listen = addr
	n.start()
	if _, err = r.Next(within(t)); !errors.As(err, &lost) || lost.Last != 10 || lost.Wanted != 21 {
		t.Errorf("read 20, then the log has 10: %v", err)
	}
	if _, again := r.Next(within(t)); !errors.As(again, &lost) {
		t.Errorf("asked again: %v", again)
	}
}

// holed starts a node with a log of 20 records, and deletes some of them.
func holed(t *testing.T, deleted ...uint64) *nats.Conn {
	t.Helper()
	nc := startNode(t, natsconn.Fast).connect()
	stream, err := jetStream(t, nc).CreateStream(within(t), jetstream.StreamConfig{Name: "EFW_app_0", Subjects: []string{"ef.wal.app.0"}})
	if err != nil {
		t.Fatal(err)
	}
	publish(t, nc, 1, 20)
	for _, seq := range deleted {
		if err := stream.DeleteMsg(within(t), seq); err != nil {
			t.Fatal(err)
		}
	}
	return nc
}

func TestReaderFindsHoles(t *testing.T) {
	nc := holed(t, 8, 9)
	r := openReader(t, nc, 1)
	expect(t, r, 1, 7)
	_, err := r.Next(within(t))
	var gap *GapError
	if !errors.As(err, &gap) || *gap != (GapError{Stream: "EFW_app_0", Expected: 8, Got: 10}) {
		t.Errorf("8 and 9 are missing: %v", err)
	}
	if err != nil && !strings.Contains(err.Error(), "2 records are missing") {
		t.Errorf("text: %v", err)
	}
}

// A server whose file is shorter than its index says keeps the last sequence, and
// has nothing to deliver up to it. That must not look like an idle log.
func TestReaderFindsHoleAtTheEnd(t *testing.T) {
	nc := holed(t, 19, 20)
	r := openReader(t, nc, 1)
	expect(t, r, 1, 18)
	_, err := r.Next(within(t))
	var gap *GapError
	if want := (GapError{Stream: "EFW_app_0", Expected: 19, Got: 21}); !errors.As(err, &gap) || *gap != want {
		t.Errorf("19 and 20 are missing: %v", err)
	}
	_, err = OpenReader(within(t), ReaderConfig{JS: jetStream(t, nc), Stream: "EFW_app_0", From: 20, Log: quiet})
	if want := (GapError{Stream: "EFW_app_0", Expected: 20, Got: 21}); !errors.As(err, &gap) || *gap != want {
		t.Errorf("20 is missing: %v", err)
	}
}

// A consumer is gone, and there is no answer about the next one. The reader makes another, and
// leaves none over.
func TestReaderMakesAnotherConsumer(t *testing.T) {
	n := startNode(t, natsconn.Fast)
	nc := n.connect()
	stream := ensureWAL(t, nc, natsconn.StreamLimits{})
	p := startProxy(t, n.srv.URL(), newConsumer, false)
	r := openReader(t, connectTo(t, natsconn.ConnectConfig{URL: p.url()}), 1)
	publish(t, nc, 1, 5)
	expect(t, r, 1, 5)
	before := consumers(t, stream)
	p.lose.Store(1)
	if len(before) != 1 {
		t.Fatalf("consumers %v, want one", before)
	}
	if err := stream.DeleteConsumer(within(t), before[0]); err != nil {
		t.Fatal(err)
	}
	publish(t, nc, 6, 9)
	expect(t, r, 6, 9)
	if after := consumers(t, stream); p.lose.Load() != 0 || len(after) != 1 || after[0] == before[0] {
		t.Errorf("consumers %v, and then %v; want one, and another one", before, after)
	}
}

func consumers(t testing.TB, stream jetstream.Stream) (names []string) {
	t.Helper()
	list := stream.ConsumerNames(within(t))
	for name := range list.Name() {
		names = append(names, name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestReaderEnds(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	r := openReader(t, nc, 1)
	r.Close()
	if _, err := r.Next(within(t)); !errors.Is(err, ErrReaderClosed) {
		t.Errorf("after close: %v", err)
	}
	r = openReader(t, nc, 1)
	if err := jetStream(t, nc).DeleteStream(within(t), "EFW_app_0"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(within(t)); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("stream deleted: %v", err)
	}
}
