package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// ratesApp has every output rate and every trigger.
const ratesApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
define trigger Start at 'start';
define trigger Often at every 700 millisec;
define trigger Minutes at '0 * * * * ?';
@info(name = 'allEvents') from S select * output every 7 events insert into O1;
@info(name = 'allTime') from S#window.length(2) select k, v, f output every 2 sec insert all events into O2;
@info(name = 'firstEvents') from S select k, v output first every 9 events insert into O3;
@info(name = 'firstEventsBy') from S select k, g, v group by k, g output first every 3 events insert into O4;
@info(name = 'firstTime') from S select k, v output first every 300 millisec insert into O5;
@info(name = 'firstTimeBy') from S select k, v group by k output first every 1 sec insert into O6;
@info(name = 'lastEvents') from S select k, d output last every 11 events insert into O7;
@info(name = 'lastEventsBy') from S#window.length(3) select k, sum(v) as s group by k output last every 11 events insert all events into O8;
@info(name = 'lastTime') from S select k, o output last every 3 sec insert into O9;
@info(name = 'lastTimeBy') from S select d, b group by d, b output last every 4 sec insert into O10;
@info(name = 'latest') from S select k, v output snapshot every 900 millisec insert into O11;
@info(name = 'latestBy') from S select k, max(v) as most group by k output snapshot every 1 sec insert into O12;
@info(name = 'rows') from S#window.sort(5, v) select k, v, b output snapshot every 1 sec insert into O13;
@info(name = 'totals') from S#window.time(400 millisec) select sum(v) as s, count() as n output snapshot every 500 millisec insert into O14;
@info(name = 'totalsBy') from S#window.time(1 sec) select sum(v) as s group by g output snapshot every 1 sec insert into O15;
@info(name = 'mixed') from S#window.lengthBatch(4) select k, count() as n output snapshot every 1 sec insert into O16;
@info(name = 'mixedBy') from S#window.session(200 millisec, k) select k, g, count() as n group by g output snapshot every 1 sec insert into O17;
@info(name = 'ofTrigger') from Often select count() as n insert into O18;
@info(name = 'ofOthers') from Minutes select triggered_time as t output every 2 events insert into O19;
@info(name = 'ofStart') from Start insert into O20;
partition with (k of S, k of T) begin
  @info(name = 'ofKeyAll') from T select k, v output every 3 events insert into O21;
  @info(name = 'ofKeyFirst') from T select k, v output first every 500 millisec insert into O22;
  @info(name = 'ofKeyLast') from T select k, sum(v) as s output last every 2 sec insert into O23;
  @info(name = 'ofKeyRows') from S#window.length(2) select k, v, sum(v) as s output snapshot every 2 sec insert into O24;
end;
`

// tablesApp has tables, named windows and joins.
const tablesApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
define table Rows (k string, v int, o object);
@PrimaryKey('k') define table ByText (k string, v int, d double);
@PrimaryKey('g', 'b') @Index('k') define table ByBoth (g int, b bool, k string);
define window Newest (k string, v int, o object) length(5);
define window Recent (k string, v long) time(700 millisec) output current events;
define window Batches (k string, g int) lengthBatch(3) output expired events;
define window Sorted (k string, v int, d double) sort(4, v);
define window ByKey (k string, v int) unique:length(k, 3);
define window Visits (k string, v int) session(300 millisec, k);
from S[v > 20] select k, v, o insert into Rows;
from S select k, v, d update or insert into ByText set ByText.v = ByText.v + v on ByText.k == k;
from S select g, b, k update or insert into ByBoth on ByBoth.g == g and ByBoth.b == b;
from S[v < 5] select k delete Rows on Rows.k == k;
from T select k delete ByText for all events on ByText.k == k;
from S select k, v, o insert into Newest;
from T insert into Recent;
from S select k, g insert into Batches;
from S select k, v, d insert into Sorted;
from S select k, v insert into ByKey;
from S[not (k is null)] select k, v insert into Visits;
@info(name = 'totals') from Newest select k, sum(v) as s, count() as n group by k insert all events into O1;
@info(name = 'of') from Sorted join Recent on Sorted.k == Recent.k select Sorted.k as k, count() as n, max(Recent.v) as m insert into O2;
@info(name = 'outer') from S#window.length(3) as a full outer join T#window.length(2) as b on a.k == b.k
select a.k as k, b.v as v, count() as n group by a.k, b.v insert all events into O3;
@info(name = 'looked') from T as a join ByBoth as b on a.k == b.k select a.k as k, b.g as g insert into O4;
@info(name = 'kinds') from Batches select k, g insert all events into O5;
@info(name = 'pairs') from Visits as a join ByKey as b on a.k == b.k select a.k as k, a.v as x, b.v as y insert into O6;
@info(name = 'shown') from ByKey select k, v output snapshot every 1 sec insert into O7;
`

// goldenSet is an app whose states are compared with files.
type goldenSet struct {
	app, folder string
	has         func(id string) bool // which components the files have
}

var (
	ratesSet = goldenSet{ratesApp, "testdata/golden-rates", func(id string) bool {
		return strings.HasSuffix(id, "/output") || strings.HasPrefix(id, "trigger/")
	}}
	tablesSet = goldenSet{tablesApp, "testdata/golden-tables", func(id string) bool {
		for _, part := range []string{"table/", "window/", "/left", "/right", "/aggregate", "/output"} {
			if strings.HasPrefix(id, part) || strings.HasSuffix(id, part) {
				return true
			}
		}
		return false
	}}
)

func (g goldenSet) plan(tb testing.TB) *siddhiql.Plan {
	tb.Helper()
	plan, err := siddhiql.Compile(g.app)
	if err != nil {
		tb.Fatal(err)
	}
	return plan
}

func (g goldenSet) task(tb testing.TB, plan *siddhiql.Plan) *engine.Task {
	tb.Helper()
	task, err := engine.NewTask(plan, 0, goldenSettings)
	if err != nil {
		tb.Fatal(err)
	}
	deploy := deployOf(plan, g.app)
	deploy.Stamp = 1_700_000_000_000
	if _, err := task.Apply(0, deploy); err != nil {
		tb.Fatal(err)
	}
	task.ResetOutputs() // the trigger at start has fired
	return task
}

// State of output rates and triggers that this version wrote is read forever, and what
// follows is what would have followed without a restart.
func TestGoldenStatesOfRates(t *testing.T) { ratesSet.checkStates(t) }

// The same for tables, named windows and joins.
func TestGoldenStatesOfTables(t *testing.T) { tablesSet.checkStates(t) }

func (g goldenSet) checkStates(t *testing.T) {
	plan := g.plan(t)
	frames := goldenInput(t, plan)
	left, loaded := g.task(t, plan), g.task(t, plan)
	applyGolden(t, left, frames[:goldenCut], 0)
	states := map[string][]byte{}
	for _, h := range engine.Registry(left.Components()).List() {
		id, data := h.Info().ID, goldenBytes(t, h)
		states[id] = data
		if !g.has(id) {
			continue // TestGoldenStates has it
		}
		path := filepath.Join(g.folder, strings.ReplaceAll(id, "/", ".")+".state")
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
			t.Errorf("%s: the state has other bytes than %s; change no format: raise its version, and keep reading the old one", id, path)
		}
		states[id] = golden
	}
	loadGolden(t, loaded, states)
	want := applyGolden(t, left, frames[goldenCut:], goldenCut)
	if got := applyGolden(t, loaded, frames[goldenCut:], goldenCut); got != want {
		t.Errorf("after the golden state comes\n%s\nwant\n%s", got, want)
	}
}

// After the CRC check: bytes of entries changed, and entries cut, in many places.
func TestAlteredEntriesOfRatesAreSurvived(t *testing.T) { ratesSet.checkAltered(t) }

func TestAlteredEntriesOfTablesAreSurvived(t *testing.T) { tablesSet.checkAltered(t) }

func (g goldenSet) checkAltered(t *testing.T) {
	d := &damaged{plan: g.plan(t), entries: map[string][]state.Entry{}}
	frames := goldenInput(t, d.plan)
	d.frames = frames[goldenCut:]
	task := g.task(t, d.plan)
	applyGolden(t, task, frames[:goldenCut], 0)
	for _, h := range engine.Registry(task.Components()).List() {
		d.entries[h.Info().ID] = h.Snapshot().Entries()
	}
	for _, c := range task.Components() {
		if !g.has(c.ID) {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			refused, taken := 0, 0
			task := g.task(t, d.plan)
			for n, e := range d.entries[c.ID] {
				if n >= 3 && n%7 > 0 {
					continue // many of them are alike
				}
				for at := 0; at < len(e.Value); at += 1 + len(e.Value)/8 {
					for _, wrong := range [][]byte{e.Value[:at], altered(e.Value, at, 0), altered(e.Value, at, 0xff), altered(e.Value, at, e.Value[at]+1)} {
						entries := append([]state.Entry(nil), d.entries[c.ID]...)
						entries[n].Value = wrong
						if err := d.load(task, c.ID, entries); err != nil {
							refused++
							continue
						}
						taken++
						d.use(t, task, 6)
						task = g.task(t, d.plan)
					}
				}
			}
			if refused == 0 {
				t.Errorf("nothing was refused, %d alterations were taken", taken)
			}
		})
	}
}

func altered(value []byte, at int, b byte) []byte {
	wrong := bytes.Clone(value)
	wrong[at] = b
	return wrong
}

// The deploy frame is the first instant of an arrival-time app: its triggers and periods of
// time count from there, and the task asks for ticks. In a playback app it is the first
// event, and only events move the clock.
func TestTheFirstInstantIsTheDeploy(t *testing.T) {
	for _, playback := range []bool{false, true} {
		text := "@app:name('golden')\n"
		if playback {
			text += "@app:playback\n"
		}
		text += "define stream S (v int); define trigger T at every 1 sec; from T insert into O;"
		plan, err := siddhiql.Compile(text)
		if err != nil {
			t.Fatal(err)
		}
		task, err := engine.NewTask(plan, 0, goldenSettings)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := task.Apply(1, deployOf(plan, text)); err != nil {
			t.Fatal(err)
		}
		at, due := task.NextTick()
		if got, want := fmt.Sprint(at, due), map[bool]string{false: "2000 true", true: "0 false"}[playback]; got != want {
			t.Errorf("playback %t: after the deploy at 1000 the next tick is %s, want %s", playback, got, want)
		}
	}
}

// After an upgrade a trigger keeps its schedule, and what the upgrade adds starts at its
// clock.
func TestTriggersGoOnAfterAnUpgrade(t *testing.T) {
	const old = `@app:name('A') define stream S (v int); define trigger T at every 1 sec;
		from T insert into P; `
	const added = `@app:name('A') define stream S (v int); define trigger T at every 1 sec; define trigger U at every 500 millisec;
		from T insert into P; from U insert into R;
		from S select v output last every 300 millisec insert into L;`
	before, err := siddhiql.Compile(old)
	if err != nil {
		t.Fatal(err)
	}
	after, err := siddhiql.Compile(added)
	if err != nil {
		t.Fatal(err)
	}
	m, err := engine.Migrate(before, after, engine.MigrateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(before)
	if err != nil {
		t.Fatal(err)
	}
	e.Advance(100)
	e.Advance(1200)
	e.ResetOutputs()
	if err := e.Upgrade(after, m, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for now := int64(1200); now <= 2300; now += 50 {
		e.Advance(now)
		for _, o := range e.Outputs() {
			got = append(got, fmt.Sprint(after.Queries[o.Query].Target.Name, o.Clock))
		}
		e.ResetOutputs()
		if now == 1250 {
			b := event.NewBatch(after.Stream("S").Schema)
			b.Cols[0].AppendInt(1)
			b.TS = append(b.TS, now)
			e.Send(after.Stream("S"), b, 0, 1, now)
		}
	}
	if want := "[L1500 R1700 P2100 R2200]"; fmt.Sprint(got) != want {
		t.Errorf("after the upgrade at 1200 came %v, want %s", got, want)
	}
}
