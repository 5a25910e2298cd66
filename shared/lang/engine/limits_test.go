package engine_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// doubling is an app where each pair of queries makes two rows of one: pairs pairs make
// 2^pairs rows of an event.
func doubling(pairs int) string {
	var b strings.Builder
	b.WriteString("define stream S0 (k string, v long);\n")
	for i := range pairs {
		for _, side := range []string{"a", "b"} {
			fmt.Fprintf(&b, "@info(name='%s%d') from S%d select k, v insert into S%d;\n", side, i, i, i+1)
		}
	}
	return b.String()
}

func newEngine(t *testing.T, app string) *engine.Engine {
	t.Helper()
	plan, err := siddhiql.Compile(app)
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sendOne sends an event (k, 1) to the first stream.
func sendOne(e *engine.Engine, stream *siddhiql.Stream, k string) error {
	b := event.NewBatch(stream.Schema)
	b.Cols[0].AppendText(k)
	b.Cols[1].AppendInt(1)
	b.TS = append(b.TS, 1000)
	return e.Try(func() { e.Send(stream, b, 0, 1, 1000) })
}

// An event that would lead to 2^40 rows ends with an error that names the query and the
// setting, and takes no more memory than the limit allows.
func TestRowsOfAnEventAreBounded(t *testing.T) {
	plan, err := siddhiql.Compile(doubling(40))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	for _, c := range []struct {
		limits engine.Limits
		want   string
	}{
		{engine.Limits{EventRows: 100_000}, "more than 100000 rows follow from one event (setting limits.event_rows_max)"},
		{engine.Limits{FrameRows: 100_000}, "more than 100000 rows follow from one frame (setting limits.frame_rows_max)"},
		{engine.Limits{FrameBytes: 10 << 20}, "the rows that follow from one frame take more than 10485760 bytes (setting limits.frame_bytes_max)"},
	} {
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		e.Limit(c.limits)
		runtime.ReadMemStats(&before)
		err = sendOne(e, plan.Streams[0], "k")
		runtime.ReadMemStats(&after)
		var limit *engine.LimitError
		if !errors.As(err, &limit) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.limits, err)
			continue
		}
		if !strings.HasPrefix(limit.Query, `query "`) {
			t.Errorf("no query is named: %q", limit.Query)
		}
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 100<<20 {
			t.Errorf("%+v: %d bytes were allocated before the limit was met", c.limits, taken)
		}
	}
}

// The limit of an event counts for each event: many small ones are no large one.
func TestEachEventHasItsOwnRows(t *testing.T) {
	e := newEngine(t, doubling(4)) // 30 rows of an event
	plan, _ := siddhiql.Compile(doubling(4))
	e.Limit(engine.Limits{EventRows: 30})
	for range 100 {
		if err := sendOne(e, plan.Streams[0], "k"); err != nil {
			t.Fatal(err)
		}
		e.ResetOutputs()
	}
	e.Limit(engine.Limits{EventRows: 30, FrameRows: 99})
	var err error
	n := 0
	for ; err == nil; n++ {
		err = sendOne(e, plan.Streams[0], "k")
	}
	if n != 4 || !strings.Contains(err.Error(), "limits.frame_rows_max") {
		t.Errorf("event %d of the frame: %v", n, err)
	}
}

// Each timer has its own rows, too: a window whose rows expire one by one never has too
// many, however many are due when time passes at last.
func TestEachTimerHasItsOwnRows(t *testing.T) {
	plan, err := siddhiql.Compile("define stream S (k string, v long); from S#window.time(1 sec) select k insert all events into Out;")
	if err != nil {
		t.Fatal(err)
	}
	e, _ := engine.New(plan)
	e.Limit(engine.Limits{EventRows: 2})
	for i := range 100 {
		b := event.NewBatch(plan.Streams[0].Schema)
		b.Cols[0].AppendText("k")
		b.Cols[1].AppendInt(1)
		b.TS = append(b.TS, int64(i))
		if err := e.Try(func() { e.Send(plan.Streams[0], b, 0, 1, int64(i)) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Try(func() { e.Advance(5000) }); err != nil {
		t.Fatal(err)
	}
	if b, _ := e.Rows(0); b.Len() != 200 {
		t.Errorf("%d rows, want 200", b.Len())
	}
}

// A text that is too long to be a key ends the frame, wherever it is to be one.
func TestKeysAreBounded(t *testing.T) {
	for what, app := range map[string]string{
		"group key":         "from S0 select k, sum(v) as s group by k insert into Out;",
		"group key ":        "from S0 select k, sum(v) as s group by v, k insert into Out;",
		"counted value":     "from S0 select distinctCount(k) as n insert into Out;",
		"partition key":     "partition with (k of S0) begin from S0 select v insert into Out; end;",
		"key of the window": "from S0#window.session(1 sec, k) select v insert into Out;",
	} {
		for _, size := range []int{100, 101} {
			plan, err := siddhiql.Compile("define stream S0 (k string, v long); " + app)
			if err != nil {
				t.Fatal(err)
			}
			e, _ := engine.New(plan)
			e.Limit(engine.Limits{KeyBytes: 100})
			err = sendOne(e, plan.Streams[0], strings.Repeat("k", size))
			want := fmt.Sprintf("query 1 of 1: a %s of 101 bytes, limit 100 (setting limits.key_bytes_max)", strings.TrimSpace(what))
			switch {
			case size == 100 && err != nil, size == 101 && err == nil:
				t.Errorf("%s of %d bytes: %v", what, size, err)
			case size == 101 && err.Error() != want:
				t.Errorf("got %q, want %q", err, want)
			}
		}
	}
}

// An interrupt ends a frame that would never end.
func TestInterruptEndsAFrame(t *testing.T) {
	plan, err := siddhiql.Compile(doubling(40))
	if err != nil {
		t.Fatal(err)
	}
	e, _ := engine.New(plan)
	e.Limit(engine.Limits{EventRows: 1 << 50, FrameRows: 1 << 50, FrameBytes: 1 << 50})
	e.Interrupt()
	if err := sendOne(e, plan.Streams[0], "k"); !errors.Is(err, engine.ErrInterrupted) {
		t.Error(err)
	}
}

// BenchmarkEndlessEvent measures how long an event lasts that meets the default limit.
func BenchmarkEndlessEvent(b *testing.B) {
	plan, err := siddhiql.Compile(doubling(40))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		e, _ := engine.New(plan)
		if err := sendOne(e, plan.Streams[0], "k"); err == nil {
			b.Fatal("no limit")
		}
	}
}
