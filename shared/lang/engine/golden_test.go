package engine_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

var rewriteGolden = flag.Bool("rewrite-golden", false, "write golden states that are not there yet")

// goldenApp has every window, every aggregator, and everything else that remembers.
const goldenApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
@info(name = 'length') from S#window.length(300) select k, v, d, o, sum(v) as s insert all events into O1;
@info(name = 'lengthBatch') from S#window.lengthBatch(7) select k, b, f, count() as n insert all events into O2;
@info(name = 'lengthBatchStream') from S#window.lengthBatch(7, true) select k, count() as n insert all events into O3;
@info(name = 'time') from S#window.time(1 sec) select k, v, max(v) as most, min(d) as least insert all events into O4;
@info(name = 'timeBatch') from S#window.timeBatch(1 sec) select k, v, avg(d) as mean insert all events into O5;
@info(name = 'timeBatchStream') from S#window.timeBatch(1 sec, true) select k, v, sum(d) as s insert all events into O6;
@info(name = 'externalTime') from S#window.externalTime(t, 1 sec) select k, sum(d) as s insert all events into O7;
@info(name = 'externalTimeBatch') from S#window.externalTimeBatch(t, 1 sec, 0, 700 millisec) select k, v, distinctCount(k) as n insert all events into O8;
@info(name = 'session') from S#window.session(60 millisec, k, 30 millisec) select k, v, o, count() as n insert all events into O9;
@info(name = 'sort') from S#window.sort(6, d, 'desc', k) select k, d, min(v) as least insert all events into O10;
@info(name = 'ungrouped') from S select count() as n, sum(v) as s, sum(d) as sd, avg(f) as a, min(v) as least, max(d) as most, distinctCount(k) as dk, distinctCount(d) as dd insert into O11;
@info(name = 'byText') from S#window.length(40) select k, count() as n, sum(v) as s, sum(d) as sd, avg(v) as a, min(f) as least, max(v) as most, distinctCount(g) as dg group by k insert all events into O12;
@info(name = 'byInt') from S select g, avg(d) as a group by g insert into O13;
@info(name = 'byDouble') from S select d, count() as n group by d insert into O14;
@info(name = 'byMany') from S#window.time(2 sec) select k, g, b, d, count() as n, max(f) as most group by k, g, b, d insert into O15;
partition with (k of S, k of T) begin
  @info(name = 'ofKey1') from S#window.length(3) select k, sum(v) as s insert all events into O16;
  @info(name = 'ofKey2') from S#window.time(500 millisec) select k, g, sum(v) as s group by g insert all events into O17;
  @info(name = 'ofKey3') from S#window.session(60 millisec) select k, count() as n insert all events into O18;
  @info(name = 'ofKey4') from S#window.sort(2, v) select k, v insert all events into O19;
  @info(name = 'ofKey5') from T#window.timeBatch(1 sec) select k, max(v) as most insert all events into #Most;
  @info(name = 'ofKey6') from #Most#window.lengthBatch(2) select k, sum(most) as s insert all events into O20;
  @info(name = 'ofKey7') from S#window.externalTime(t, 300 millisec) select k, count() as n insert all events into O21;
  @info(name = 'ofKey8') from S#window.externalTimeBatch(t, 300 millisec) select k, count() as n insert all events into O22;
end;
partition with (g < 2 as 'low' or g >= 1 as 'high' of S) begin
  @info(name = 'ofRange') from S select k, distinctCount(k) as n group by b insert into O23;
end;
`

// The state is taken between frame goldenCut and the next.
const (
	goldenCut    = 700
	goldenFrames = 1000
)

// log makes the frames of a fixed log, of two writers, one after the other.
type goldenLog struct {
	plan   *siddhiql.Plan
	random uint32
	stamp  int64
	last   [2]frame.Header // of each writer: its last frame
	crc    [2]uint32
}

func (l *goldenLog) draw(n int) int {
	l.random = l.random*1664525 + 1013904223 // Numerical Recipes' generator
	return int(l.random>>16) % n
}

// next returns frame number seq.
func (l *goldenLog) next(tb testing.TB, seq uint64) *frame.Frame {
	tb.Helper()
	w := l.draw(2)
	h := &l.last[w]
	h.App, h.Writer, h.Number, h.Prev = "golden", uint64(w)<<40+7, h.Number+1, l.crc[w]
	l.crc[w] = uint32(seq) * 2654435761
	l.stamp += int64(l.draw(40))
	if l.draw(20) == 0 {
		l.stamp += 1500
	}
	h.Stamp, h.Kind = l.stamp, frame.Events
	f := &frame.Frame{Header: *h, CRC: l.crc[w]}
	if l.draw(15) == 0 {
		f.Kind = frame.Tick
		return f
	}
	stream, rows := l.plan.Stream("S"), 1+l.draw(3)
	values := l.row
	if l.draw(5) == 0 {
		stream, values = l.plan.Stream("T"), l.pair
	}
	batch := event.NewBatch(stream.Schema)
	block := frame.Block{Batch: batch}
	for range rows {
		own := l.stamp - int64(l.draw(50))
		if err := rowjson.NewDecoder(stream.Schema).Values(batch, []byte(values(own)), own); err != nil {
			tb.Fatal(err)
		}
		block.Arrived = append(block.Arrived, l.stamp)
	}
	run := frame.Run{Rows: rows, Chunk: l.draw(2) == 0}
	if l.draw(8) > 0 {
		run.ID = fmt.Sprintf("message %d", int(seq)-l.draw(2))
	}
	f.Blocks, f.Runs = []frame.Block{block}, []frame.Run{run}
	return f
}

func (l *goldenLog) row(own int64) string {
	return fmt.Sprintf("[%s,%s,%s,%s,%s,%s,%s,%s]", l.key(), l.number(3), l.number(50),
		l.real(), l.one(fmt.Sprint(own-int64(l.draw(100)))), l.real(), l.one("true", "false"), l.one(`{"a":[1,2]}`, `"text"`))
}

func (l *goldenLog) pair(int64) string { return fmt.Sprintf("[%s,%s]", l.key(), l.number(1000)) }

func (l *goldenLog) key() string {
	return l.one(`"a"`, `"b"`, `""`, `"a key of more than seven bytes"`, `"é and \u0000"`)
}

func (l *goldenLog) number(n int) string { return l.one(fmt.Sprint(l.draw(n) - n/4)) }

func (l *goldenLog) real() string {
	return l.one(fmt.Sprint(float64(l.draw(99))/8), "1e15", "-0.1", "-0.0")
}

// one returns one of the values, or now and then null.
func (l *goldenLog) one(values ...string) string {
	if l.draw(12) == 0 {
		return "null"
	}
	return values[l.draw(len(values))]
}

func goldenPlan(tb testing.TB) *siddhiql.Plan {
	tb.Helper()
	plan, err := siddhiql.Compile(goldenApp)
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

func newGoldenTask(tb testing.TB, plan *siddhiql.Plan) *engine.Task {
	tb.Helper()
	task, err := engine.NewTask(plan, 0, goldenSettings)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := task.Apply(0, deployOf(plan, goldenApp)); err != nil {
		tb.Fatal(err)
	}
	return task
}

var goldenSettings = engine.Settings{DedupWindow: 60_000}

// deployOf returns the deploy frame of an app, which is older than all events.
func deployOf(plan *siddhiql.Plan, text string) *frame.Frame {
	return &frame.Frame{
		Header: frame.Header{App: plan.Name, Kind: frame.Deploy, Writer: 1 << 60, Number: 1, Stamp: 1_000},
		Deploy: frame.Version{Number: 1, Level: engine.Level, Build: "1.0.0", Settings: goldenSettings.JSON(), Text: text},
	}
}

// applyGolden applies frames and returns what comes out.
func applyGolden(tb testing.TB, task *engine.Task, frames []*frame.Frame, seq int) string {
	tb.Helper()
	var out strings.Builder
	for i, f := range frames {
		done, err := task.Apply(uint64(seq+i+1), f)
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&out, "frame %d: %+v\n", seq+i+1, done)
		for _, o := range task.Outputs() {
			rows, kinds := task.Rows(int(o.Query))
			for n := int(o.From); n < int(o.To); n++ {
				fmt.Fprintf(&out, "%d %d %d %d %s\n", o.Query, o.Chunk, o.Clock, kinds[n], rowjson.AppendArray(nil, rows, n))
			}
		}
		task.ResetOutputs()
	}
	return out.String()
}

func goldenInput(tb testing.TB, plan *siddhiql.Plan) []*frame.Frame {
	tb.Helper()
	log := &goldenLog{plan: plan, stamp: 1_700_000_000_000}
	frames := make([]*frame.Frame, goldenFrames)
	for i := range frames {
		frames[i] = log.next(tb, uint64(i+1))
	}
	addRecords(plan, frames)
	return frames
}

func goldenPath(id string) string {
	return filepath.Join("testdata", "golden", strings.ReplaceAll(id, "/", ".")+".state")
}

// readGolden returns the kept states by component.
func readGolden(tb testing.TB, task *engine.Task) map[string][]byte {
	tb.Helper()
	states := map[string][]byte{}
	for _, c := range task.Components() {
		data, err := os.ReadFile(goldenPath(c.ID))
		if err != nil {
			tb.Fatal(err)
		}
		states[c.ID] = data
	}
	return states
}

// loadGolden loads all components, each behind those it depends on.
func loadGolden(tb testing.TB, task *engine.Task, states map[string][]byte) *state.Registry {
	tb.Helper()
	registry := engine.Registry(task.Components())
	ordered, err := registry.Ordered()
	if err != nil {
		tb.Fatal(err)
	}
	for _, h := range ordered {
		if err := state.DeserializeState(h, states[h.Info().ID]); err != nil {
			tb.Fatal(err)
		}
	}
	return registry
}

// State that this version of every component wrote is read forever, and what
// follows is what would have followed without a restart. A golden file is written
// once, with -rewrite-golden, and then kept.
func TestGoldenStates(t *testing.T) {
	plan := goldenPlan(t)
	frames := goldenInput(t, plan)
	left := newGoldenTask(t, plan)
	applyGolden(t, left, frames[:goldenCut], 0)
	for _, h := range engine.Registry(left.Components()).List() {
		data := goldenBytes(t, h)
		path := goldenPath(h.Info().ID)
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
			t.Errorf("%s: the state has other bytes than %s; change no format: raise its version, and keep reading the old one", h.Info().ID, path)
		}
	}
	loaded := newGoldenTask(t, plan)
	states := readGolden(t, loaded)
	for _, h := range loadGolden(t, loaded, states).List() {
		if !bytes.Equal(goldenBytes(t, h), states[h.Info().ID]) {
			t.Errorf("%s: loaded, and it shows other bytes", h.Info().ID)
		}
	}
	want := applyGolden(t, left, frames[goldenCut:], goldenCut)
	if got := applyGolden(t, loaded, frames[goldenCut:], goldenCut); got != want {
		t.Errorf("after the golden state comes\n%s\nwant\n%s", got, want)
	}
}

// State that version 1.0.0 of every component wrote, as EventFlux 0.x did, is loaded, and
// has the form of this version from then on.
func TestStatesOfVersion10AreLoaded(t *testing.T) {
	plan := goldenPlan(t)
	frames := goldenInput(t, plan)
	loaded, again := newGoldenTask(t, plan), newGoldenTask(t, plan)
	states := map[string][]byte{}
	for _, c := range loaded.Components() {
		folder := "golden-1.0"
		if c.ID == "log/version" { // 0.x had none: it comes with the deploy frame of the takeover
			folder = "golden"
		}
		data, err := os.ReadFile(filepath.Join("testdata", folder, strings.ReplaceAll(c.ID, "/", ".")+".state"))
		if err != nil {
			t.Fatal(err)
		}
		states[c.ID] = data
	}
	for _, h := range loadGolden(t, loaded, states).List() {
		states[h.Info().ID] = goldenBytes(t, h)
	}
	loadGolden(t, again, states)
	want := applyGolden(t, loaded, frames[goldenCut:], goldenCut)
	if !strings.Contains(want, "\n3 ") {
		t.Error("nothing comes of the query with the window time")
	}
	if got := applyGolden(t, again, frames[goldenCut:], goldenCut); got != want {
		t.Errorf("after the state of 1.0 comes\n%s\nand after another restart\n%s", want, got)
	}
}

// A load over what is there leaves nothing of it, no timer among it.
func TestLoadIntoATaskThatHasRun(t *testing.T) {
	plan := goldenPlan(t)
	frames := goldenInput(t, plan)
	used, fresh := newGoldenTask(t, plan), newGoldenTask(t, plan)
	states := readGolden(t, used)
	applyGolden(t, used, frames[:goldenCut/2], 0)
	loadGolden(t, used, states)
	loadGolden(t, fresh, states)
	want := applyGolden(t, fresh, frames[goldenCut:], goldenCut)
	if got := applyGolden(t, used, frames[goldenCut:], goldenCut); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func goldenBytes(tb testing.TB, h state.Holder) []byte {
	tb.Helper()
	data, err := state.SerializeState(h)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}
