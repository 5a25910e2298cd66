package engine_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

const latenessApp = `@app:name('late') @app:playback(lateness = '5 sec')
define stream S (k string, v long);
define stream T (v long, o object);
@info(name = 'q') from S#window.length(3) select k, sum(v) as s insert into O;
@info(name = 'r') from T select v, o insert into P;
`

// latenessEvents sends events whose times are up to 6 s out of order, two to a chunk now
// and then.
func latenessEvents(tb testing.TB, e *engine.Engine, plan *siddhiql.Plan, from, to int) {
	tb.Helper()
	s, t := plan.Stream("S"), plan.Stream("T")
	for i := from; i < to; i++ {
		at := int64(i)*20 - int64(i*7919%6000)
		if i%5 == 0 {
			b := event.NewBatch(t.Schema)
			b.Cols[0].AppendInt(int64(i))
			b.Cols[1].AppendText(`{"n":1}`)
			b.TS = append(b.TS, at)
			e.Send(t, b, 0, 1, 0)
			continue
		}
		b := event.NewBatch(s.Schema)
		for n := range 1 + i%2 {
			if i%11 == 0 {
				b.Cols[0].AppendNull()
			} else {
				b.Cols[0].AppendText("key"[:i%4])
			}
			b.Cols[1].AppendInt(int64(i + n))
			b.TS = append(b.TS, at-int64(n))
		}
		e.Send(s, b, 0, b.Len(), 0)
	}
}

func latenessEngine(tb testing.TB, app string) (*engine.Engine, *siddhiql.Plan) {
	tb.Helper()
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		tb.Fatal(err)
	}
	return e, plan
}

// TestGoldenReorder holds the state of events that wait to the bytes that version 1.0.0
// wrote, and loads them. It is written once, with -rewrite-golden, and then kept.
func TestGoldenReorder(t *testing.T) {
	const cut, all = 1000, 2000
	left, plan := latenessEngine(t, latenessApp)
	latenessEvents(t, left, plan, 0, cut)
	loaded, _ := latenessEngine(t, latenessApp)
	into, err := engine.Registry(loaded.Components()).Ordered()
	if err != nil {
		t.Fatal(err)
	}
	from, _ := engine.Registry(left.Components()).Ordered()
	for i, h := range from {
		data := goldenBytes(t, h)
		if h.Info().ID == "reorder" {
			path := goldenPath("late/reorder")
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && *rewriteGolden {
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(golden, data) {
				t.Errorf("the state has other bytes than %s; raise its version, and keep reading the old one", path)
			}
			data = golden
		}
		if err := state.DeserializeState(into[i], data); err != nil {
			t.Fatal(err)
		}
	}
	left.ResetOutputs()
	latenessEvents(t, left, plan, cut, all)
	latenessEvents(t, loaded, plan, cut, all)
	if got, want := engineRows(loaded), engineRows(left); got != want || want == "" {
		t.Errorf("after the golden state comes\n%s\nwant\n%s", got, want)
	}
	if left.Times().Late == 0 || left.Times().Waiting == 0 {
		t.Errorf("%+v: the test covers neither late events nor those that wait", left.Times())
	}
}

func engineRows(e *engine.Engine) string {
	var out bytes.Buffer
	for _, o := range e.Outputs() {
		rows, _ := e.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			out.WriteString(rows.Schema.Name)
			for c := range rows.Cols {
				if rows.Cols[c].Type.Class() == event.Texts {
					out.WriteString(" " + rows.Cols[c].Text(i))
				}
			}
			for _, n := range []int64{rows.TS[i], o.Clock, int64(o.Chunk)} {
				out.WriteString(" ")
				out.WriteString(strconv.FormatInt(n, 10))
			}
			out.WriteByte('\n')
		}
	}
	return out.String()
}

// disorder is an endless stream of events of a batch each, with times up to 4 s out of
// order, 20,000 to a second.
type disorder struct {
	random *rand.Rand
	batch  *event.Batch
	now    int64
}

func (d *disorder) next() *event.Batch {
	d.batch.Reset()
	d.now += 50 // µs
	d.batch.Cols[0].AppendText("key")
	d.batch.Cols[1].AppendInt(d.now)
	ms := d.now / 1000
	if d.random.IntN(10) == 0 {
		ms -= d.random.Int64N(4000)
	}
	d.batch.TS = append(d.batch.TS, ms)
	return d.batch
}

const orderApp = `define stream S (k string, v long);
from S#window.time(10 sec) select k, sum(v) as s insert into O;`

// TestLatenessAllocates holds events that wait to no allocation for each.
func TestLatenessAllocates(t *testing.T) {
	e, plan := latenessEngine(t, `@app:playback(lateness = '5 sec') `+orderApp)
	s := plan.Stream("S")
	d := &disorder{random: rand.New(rand.NewPCG(1, 2)), batch: event.NewBatch(s.Schema)}
	one := func() {
		e.Send(s, d.next(), 0, 1, 0)
		e.ResetOutputs()
	}
	for range 400_000 {
		one()
	}
	if n := testing.AllocsPerRun(100_000, one); n > 0.1 {
		t.Errorf("%.2f allocations per event", n)
	}
}

// BenchmarkLateness compares a playback app with lateness with the same without: a tenth
// of the events come up to 4 s out of order.
func BenchmarkLateness(b *testing.B) {
	for _, c := range []struct{ name, playback string }{
		{"off", "@app:playback "}, {"0sec", "@app:playback(lateness='0 sec') "}, {"5sec", "@app:playback(lateness='5 sec') "},
	} {
		b.Run(c.name, func(b *testing.B) {
			e, plan := latenessEngine(b, c.playback+orderApp)
			s := plan.Stream("S")
			d := &disorder{random: rand.New(rand.NewPCG(1, 2)), batch: event.NewBatch(s.Schema)}
			one := func() {
				e.Send(s, d.next(), 0, 1, 0)
				e.ResetOutputs()
			}
			for range 400_000 {
				one()
			}
			b.ReportAllocs()
			for b.Loop() {
				one()
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// Time starts with the first event, whatever time that event has.
func TestInputBegins(t *testing.T) {
	for _, app := range []string{`@app:playback `, `@app:playback(lateness = '5 sec') `} {
		plan, err := siddhiql.Compile(app + `define stream S (k string, v long); from S select v insert into O;`)
		if err != nil {
			t.Fatal(err)
		}
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		if ms, began := e.Input(); began {
			t.Errorf("%s: time is %d without an event", app, ms)
		}
		for _, at := range []int64{-62_135_596_800_000, 0, 253_402_300_799_999} { // the years 1, 1970 and 9999
			b := event.NewBatch(plan.Stream("S").Schema)
			b.Cols[0].AppendNull()
			b.Cols[1].AppendInt(1)
			b.TS = append(b.TS, at)
			e.Send(plan.Stream("S"), b, 0, 1, 0)
			if ms, began := e.Input(); ms != at || !began {
				t.Errorf("%s: the input clock is %d, %t, want %d", app, ms, began, at)
			}
		}
	}
}
