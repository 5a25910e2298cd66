package engine_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

// deltaCases are components where one entry alone would grow with the state. most are the
// shares of the state that the changes of 1 and of 100 events may take: values fall into it
// at random, so that hardly two share a part.
var deltaCases = []struct {
	name, component, query string
	most                   [2]float64
}{
	{"sort", "q/window", `from S#sort(20000, v) select v, d, k insert all events into Out`, [2]float64{.01, .3}},
	{"session", "q/window", `from S#session(1 day) select v, d, k insert all events into Out`, [2]float64{.015, .02}},
	{"session by key", "q/window", `from S#session(1 day, one, 1 hour) select v, d, k insert all events into Out`, [2]float64{.015, .02}},
	{"min", "q/aggregate", `from S#length(20000) select min(v) as x insert into Out`, [2]float64{.015, .5}},
	{"max of doubles by group", "q/aggregate", `from S#length(20000) select one, max(d) as x group by one insert into Out`, [2]float64{.015, .5}},
	{"distinctCount", "q/aggregate", `from S#length(20000) select distinctCount(v) as x insert into Out`, [2]float64{.015, .5}},
	{"distinctCount of texts by group", "q/aggregate", `from S#length(20000) select one, distinctCount(k) as x group by one insert into Out`, [2]float64{.015, .5}},
	{"min in a partition", "q/aggregate", `partition with (one of S) begin
		@info(name = 'q') from S#length(20000) select min(v) as x insert into Out; end`, [2]float64{.015, .5}},
}

const deltaApp = `@app:playback define stream S (one string, k string, v long, d double);
	@info(name = 'q') `

// scatter is an endless stream of values at random.
type scatter struct {
	random *rand.Rand
	stream *siddhiql.Stream
	engine *engine.Engine
	sent   int64
}

func (s *scatter) send(rows int) { sendRows(s.engine, s.stream, s.batch(rows)) }

func (s *scatter) batch(rows int) *event.Batch {
	b := event.NewBatch(s.stream.Schema)
	for range rows {
		s.sent++
		b.TS = append(b.TS, 1_000_000+10*s.sent)
		b.Cols[0].AppendText("one")
		b.Cols[1].AppendText("key " + strconv.Itoa(s.random.IntN(1e9)))
		b.Cols[2].AppendInt(s.random.Int64N(1e12))
		b.Cols[3].AppendFloat(s.random.NormFloat64())
	}
	return b
}

func changesBytes(changes []state.Change) (n int) {
	for _, c := range changes {
		n += len(c.Key) + len(c.Value)
	}
	return n
}

// A delta takes bytes for what has changed, not for what is there.
func TestDeltasAreOfChanges(t *testing.T) {
	const rows = 20_000
	for _, test := range deltaCases {
		t.Run(test.name, func(t *testing.T) {
			app := deltaApp + test.query + ";"
			if test.query[0] == 'p' {
				app = deltaApp[:len(deltaApp)-len("@info(name = 'q') ")] + test.query + ";"
			}
			plan, err := siddhiql.Compile(app)
			if err != nil {
				t.Fatal(err)
			}
			holder, e := holderAfter(t, app, test.component)
			s := &scatter{rand.New(rand.NewPCG(1, 2)), plan.Streams[0], e, 0}
			s.send(rows + 100)
			f := &fed{Holder: holder}
			f.commit()
			base, deltas := f.Snapshot().Entries(), [][]state.Change{}
			for i, events := range []int{1, 100} {
				s.send(events)
				full := len(serialized(t, holder))
				deltas = append(deltas, f.delta(t))
				delta := changesBytes(deltas[i])
				f.Committed(f.epoch)
				t.Logf("%d events: %d bytes, the whole state has %d", events, delta, full)
				if most := test.most[i] * float64(full); delta == 0 || float64(delta) > most {
					t.Errorf("%d events: %d bytes, at most %.0f of %d are of changes", events, delta, most, full)
				}
			}
			loadBeside(t, app, e, holder, state.Merge(base, deltas...))
		})
	}
}

// loadBeside loads entries of a component into a new engine, and all other components
// as they are: it is in the same state then.
func loadBeside(t *testing.T, app string, e *engine.Engine, whole state.Holder, entries []state.Entry) {
	t.Helper()
	_, fresh := holderAfter(t, app, "clock")
	loading, err := engine.Registry(fresh.Components()).Ordered()
	if err != nil {
		t.Fatal(err)
	}
	others := engine.Registry(e.Components())
	for _, h := range loading {
		if h.Info().ID == whole.Info().ID {
			if err := h.Load(1, h.Info().Version, 1, state.Hash(entries)); err != nil {
				t.Fatal(err)
			}
			if h.Digest() != whole.Digest() {
				t.Errorf("base and deltas have digest %s, the state %s", h.Digest(), whole.Digest())
			}
			continue
		}
		other, _ := others.ByID(h.Info().ID)
		if err := state.DeserializeState(h, serialized(t, other)); err != nil {
			t.Fatal(err)
		}
	}
}

// grouped is the state of aggregators of an app, and the app.
type grouped struct {
	state.Freezer
	engine *engine.Engine
	stream *siddhiql.Stream
	rows   *event.Batch
	now    int64
}

// send lets rows come, of one group or each of a group of its own.
func (g *grouped) send(t *rapid.T) {
	b := g.rows
	b.Reset()
	group, apart := rapid.IntRange(0, 4).Draw(t, "group"), rapid.IntRange(0, 3).Draw(t, "apart") == 0
	from, size := rapid.IntRange(0, 500).Draw(t, "from"), rapid.SampledFrom([]int{1, 2, 30, 90}).Draw(t, "size")
	for i := range size {
		g.now++
		b.TS = append(b.TS, g.now)
		if apart {
			group = from + i
		}
		b.Cols[0].AppendText("group of some length "[:group%2*20] + strconv.Itoa(group))
		b.Cols[1].AppendText(strconv.Itoa(from + i*7919%500))
		b.Cols[2].AppendInt(int64(from + i*7919%500))
		b.Cols[3].AppendFloat(float64(from-i) / 3)
	}
	sendRows(g.engine, g.stream, b)
}

// TestLargeGroups holds groups with segments to the laws of state.Source. Groups come,
// go and are forgotten.
func TestLargeGroups(t *testing.T) {
	const columns = ` min(v) as a, count() as b, max(d) as c, distinctCount(k) as e, distinctCount(v) as f `
	for name, query := range map[string]string{
		"totals":    `from S#length(150) select one, sum(v) as a, count() as b group by one insert into Out;`,
		"by text":   `from S#length(150) select one,` + columns + `group by one insert into Out;`,
		"by number": `from S#length(150) select v,` + columns + `group by v insert into Out;`,
		"reset":     `from S#lengthBatch(120) select one,` + columns + `group by one insert into Out;`,
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := siddhiql.Compile(deltaApp + query)
			if err != nil {
				t.Fatal(err)
			}
			statetest.Run(t, func() state.Source {
				e, err := engine.New(plan)
				if err != nil {
					t.Fatal(err)
				}
				g := &grouped{engine: e, stream: plan.Streams[0], rows: event.NewBatch(plan.Streams[0].Schema), now: 1_000_000}
				for _, c := range e.Components() {
					if c.ID == "q/aggregate" {
						g.Freezer = c.Source.(state.Freezer)
					}
				}
				return g
			}, func(t *rapid.T, s state.Source) { s.(*grouped).send(t) })
		})
	}
}

// BenchmarkScatter sends events one by one into windows and aggregates that are
// small, just as large as one part, and large.
func BenchmarkScatter(b *testing.B) {
	for _, query := range []string{
		"sort(10, v) select v", "sort(20000, v) select v", "session(1 sec, k) select v", "session(100 sec) select v",
		"length(10) select min(v) as x", "length(64) select min(v) as x", "length(1000) select min(v) as x", "length(20000) select min(v) as x",
		"length(10) select distinctCount(v) as x", "length(64) select distinctCount(v) as x", "length(1000) select distinctCount(v) as x", "length(20000) select distinctCount(v) as x",
		"length(10) select distinctCount(k) as x", "length(64) select distinctCount(k) as x", "length(1000) select distinctCount(k) as x", "length(20000) select distinctCount(k) as x",
	} {
		b.Run(query, func(b *testing.B) {
			app := deltaApp + "from S#" + query + " insert into Out;"
			plan, err := siddhiql.Compile(app)
			if err != nil {
				b.Fatal(err)
			}
			_, e := holderAfter(b, app, "clock")
			s := &scatter{rand.New(rand.NewPCG(1, 2)), plan.Streams[0], e, 0}
			s.send(20_000)
			rows := s.batch(100_000)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += rows.Len() {
				sendRows(e, s.stream, rows)
				b.StopTimer()
				for i := range rows.TS {
					rows.TS[i] += 10 * int64(rows.Len())
				}
				b.StartTimer()
			}
		})
	}
}
