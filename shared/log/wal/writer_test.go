package wal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func TestWriterKeepsOrderOverFrames(t *testing.T) {
	nc := startNode(t, natsconn.Durable).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := runWriter(t, WriterConfig{Conn: nc, AttemptTimeout: time.Minute}) // no answer is late
	const n = 20_000
	var want []string
	told := newOutcomes(n)
	for i := range n {
		want = append(want, fmt.Sprint("row ", i))
		if err := w.Append(all(alerts(want[i]), int64(i)), told); err != nil {
			t.Fatal(err)
		}
	}
	told.wait(t, n)
	l := readLog(t, nc)
	if !slices.Equal(l.texts, want) {
		t.Errorf("%d rows, want %d in order", len(l.texts), n)
	}
	if len(l.frames) < 2 || len(l.frames) > n/10 {
		t.Errorf("%d rows are in %d frames", n, len(l.frames))
	}
	if s := w.Stats(); s.Rows != n || s.Frames != uint64(len(l.frames)) || s.Repeats != 0 || l.duplicates != 0 {
		t.Errorf("%+v, %d duplicates", s, l.duplicates)
	}
}

func TestWriterManyGoroutines(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := runWriter(t, WriterConfig{Conn: nc})
	const writers, each = 8, 500
	var group sync.WaitGroup
	for g := range writers {
		group.Go(func() {
			for i := range each {
				f, err := w.AppendFuture(all(alerts(fmt.Sprintf("%d %d", g, i)), 1))
				if err != nil {
					t.Error(err)
					return
				}
				if i%50 == 0 {
					if _, err := f.Wait(within(t)); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	if err := w.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	next := make([]int, writers)
	l := readLog(t, nc)
	for _, text := range l.texts {
		var g, i int
		if _, err := fmt.Sscan(text, &g, &i); err != nil || next[g] != i {
			t.Fatalf("row %q where %d of goroutine %d was due (%v)", text, next[g], g, err)
		}
		next[g]++
	}
	if len(l.texts) != writers*each {
		t.Errorf("%d rows, want %d", len(l.texts), writers*each)
	}
}

// All that was appended before Run is in one frame, in order, whatever the stream.
func TestWriterMixesStreamsAndKeepsWhatTheyCarry(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc})
	flights := event.NewBatch(flight)
	for i := range 3 {
		flights.Cols[0].AppendInt(int64(i))
		flights.Cols[1].AppendText("DTW")
		flights.Cols[2].AppendNull()
		flights.Cols[3].AppendInt(-5)
		flights.Cols[4].AppendInt(1750)
		flights.TS = append(flights.TS, 40)
	}
	told := newOutcomes(10)
	for _, m := range []*Message{
		all(alerts("a"), 100), all(alerts("b", "c"), 100), all(flights, 101),
		{Batch: alerts("x", "d", "y"), From: 1, To: 2, Arrived: 99}, // the clock went back
		{Batch: alerts("e"), To: 1, Arrived: 102, ID: "id-1", Header: "traceparent: 00\r\n"},
		{Batch: alerts("f", "g"), To: 2, Arrived: 102, Chunk: true},
		all(alerts("h"), 102),
	} {
		if err := w.Append(m, told); err != nil {
			t.Fatal(err)
		}
	}
	cut := frame.Cut{Epoch: 3, Term: 2, ID: [16]byte{1}}
	err := errors.Join(w.AppendTick(50, told), w.AppendBarrier(200, cut, told), w.Append(all(alerts("i"), 150), told))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Run(context.Background()) }()
	told.wait(t, 10)
	if err := w.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	l := readLog(t, nc)
	if got := strings.Join(l.texts, ""); got != "abcdefghi" {
		t.Errorf("rows %s", got)
	}
	if want := []int64{100, 100, 100, 101, 101, 101, 101, 102, 102, 102, 102, 200}; !slices.Equal(l.stamps, want) {
		t.Errorf("arrivals %v, want %v", l.stamps, want)
	}
	var got []string
	for _, f := range l.frames {
		line := fmt.Sprint(f.Kind, " ", f.Number, " @", f.Stamp)
		for _, r := range f.Runs {
			line += fmt.Sprintf(" %d×%d/%v/%s/%s", r.Block, r.Rows, r.Chunk, r.ID, strings.TrimSpace(r.Header))
		}
		got = append(got, line)
	}
	want := []string{
		"events 1 @102 0×3/false// 1×3/false// 0×1/false// 0×1/false/id-1/traceparent: 00 0×2/true// 0×1/false//",
		"tick 2 @102", "barrier 3 @200", "events 4 @200 0×1/false//",
	}
	if !slices.Equal(got, want) {
		t.Errorf("frames\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if l.frames[2].Cut != cut {
		t.Errorf("cut %+v", l.frames[2].Cut)
	}
}

// Only rows that carry nothing are told by their number alone.
func TestRunsJoinOnlyWhereNothingIsLost(t *testing.T) {
	plain := frame.Run{Rows: 1}
	if !joins(&plain, &plain) {
		t.Error("plain rows do not join")
	}
	for _, other := range []frame.Run{{Block: 1}, {Chunk: true}, {ID: "i"}, {Header: "h"}} {
		if joins(&plain, &other) || joins(&other, &plain) {
			t.Errorf("%+v joins plain rows", other)
		}
		if other.Block == 0 && joins(&other, &other) {
			t.Errorf("%+v joins its like", other)
		}
	}
}

func TestWriterBoundsWhatWaits(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc, PendingBytesMax: 4096})
	told := newOutcomes(1000)
	taken := 0
	for {
		err := w.Append(all(alerts("0123456789"), 1), told)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil || taken == 1000 {
			t.Fatalf("append %d: %v", taken, err)
		}
		taken++
	}
	if p := w.Stats().Pending; p > 4096 || p < 3500 {
		t.Errorf("%d bytes wait, limit 4096", p)
	}
	if err := w.AppendTick(1, nil); !errors.Is(err, ErrFull) {
		t.Errorf("tick: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.AwaitSpace(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("space in a full writer: %v", err)
	}
	go func() { _ = w.Run(context.Background()) }()
	told.wait(t, taken)
	if err := w.AwaitSpace(within(t)); err != nil {
		t.Fatal(err)
	}
	// An empty writer takes more than the bound, or a large message would never go.
	f, err := w.AppendFuture(all(alerts(strings.Repeat("x", 10_000)), 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wait(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if p := w.Stats().Pending; p != 0 {
		t.Errorf("%d bytes still wait", p)
	}
}

func TestWriterRefusesWhatCannotBeAFrame(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc})
	short := alerts("a")
	short.Cols = nil
	unnamed := event.NewBatch(&event.Schema{Attrs: alert.Attrs})
	unnamed.Cols[0].AppendText("a")
	unnamed.TS = append(unnamed.TS, 1)
	for name, c := range map[string]struct {
		m    *Message
		want error
	}{
		"no batch":  {&Message{}, ErrInvalid},
		"no rows":   {&Message{Batch: alerts("a")}, ErrInvalid},
		"too far":   {&Message{Batch: alerts("a"), To: 2}, ErrInvalid},
		"columns":   {&Message{Batch: short, To: 1}, ErrInvalid},
		"unnamed":   {&Message{Batch: unnamed, To: 1}, ErrInvalid},
		"long id":   {&Message{Batch: alerts("a"), To: 1, ID: strings.Repeat("i", frame.TextBytesMax+1)}, ErrTooLarge},
		"large row": {all(alerts(strings.Repeat("x", frame.BytesMax)), 1), ErrTooLarge},
	} {
		if err := w.Append(c.m, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := w.AppendBarrier(1, frame.Cut{Epoch: 1}, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("barrier without term: %v", err)
	}
	if p := w.Stats().Pending; p != 0 {
		t.Errorf("%d bytes wait, though nothing was taken", p)
	}
	largest := strings.Repeat("x", frame.BytesMax-frameSlackBytes-messageBytesMin-20)
	f, err := w.AppendFuture(all(alerts(largest), 1))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = w.Run(context.Background()) }()
	if _, err := f.Wait(within(t)); err != nil {
		t.Errorf("the largest row: %v", err)
	}
	if err := w.Close(within(t)); err != nil {
		t.Fatal(err)
	}
}

func TestWriterClose(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	ensureWAL(t, nc, natsconn.StreamLimits{})
	w := newWriter(t, WriterConfig{Conn: nc})
	f, err := w.AppendFuture(all(alerts("never"), 1))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Wait(within(t)); !errors.Is(err, ErrClosed) || errors.Is(err, ErrUnknown) {
		t.Errorf("what a writer took that never ran: %v", err)
	}
	if err := w.Append(all(alerts("late"), 1), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := w.Run(within(t)); err == nil {
		t.Error("a closed writer ran")
	}
	if l := readLog(t, nc); len(l.frames) != 0 {
		t.Errorf("%d frames were written", len(l.frames))
	}
}

// In steady state an append costs no memory; a frame costs some.
func TestAppendAllocatesNothing(t *testing.T) {
	nc := startNode(t, natsconn.Fast).connect()
	w := newWriter(t, WriterConfig{Conn: nc, PendingBytesMax: 64 << 20})
	told := newOutcomes(0)
	m := all(alerts("0123456789"), 1)
	for range 2 {
		for range 5000 { // fill groups, so that they have their memory
			if err := w.Append(m, told); err != nil {
				t.Fatal(err)
			}
		}
		w.open.reset()
	}
	if n := testing.AllocsPerRun(1000, func() { _ = w.Append(m, told) }); n > 0 {
		t.Errorf("%v allocations per append", n)
	}
}
