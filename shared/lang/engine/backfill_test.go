package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A backfillCase adds the text in add to an app.
type backfillCase struct{ name, defs, head, end, add string }

var backfillCases = []backfillCase{
	{name: "length window", add: `@info(name='new') from S#window.length(5) select k, v, sum(v) as t insert into New;`},
	{name: "time window", add: `@info(name='new') from S#window.time(7) select k, count() as n, max(v) as m group by k insert all events into New;`},
	{name: "time batch", add: `@info(name='new') from S#window.timeBatch(10) select k, sum(v) as t group by k insert into New;`},
	{name: "session", add: `@info(name='new') from S#window.session(3, k) select k, count() as n insert all events into New;`},
	{name: "aggregate", add: `@info(name='new') from S select k, count() as n, distinctCount(v) as d group by k insert into New;`},
	{name: "pattern", add: `@info(name='new') from every e1=S[v > 5] -> e2=R[v > e1.v] within 15 milliseconds select e1.k as a, e2.k as b insert into New;`},
	{name: "absent", add: `@info(name='new') from e1=S[v > 5] -> not R[k == e1.k] for 6 milliseconds select e1.k as a insert into New;`},
	{name: "join", add: `@info(name='new') from S#window.length(3) join R#window.time(9) on S.k == R.k select S.v as a, R.v as b, count() as n insert into New;`},
	{name: "rate", add: `@info(name='new') from S select k, v output last every 4 events insert into New;`},
	{name: "rate of time", add: `@info(name='new') from S select k, sum(v) as t group by k output snapshot every 8 milliseconds insert into New;`},
	{name: "table", defs: `define table T (k string, v long);`, add: `from R select k, v update or insert into T on T.k == k; @info(name='new') from S join T on S.k == T.k select S.v as a, T.v as b insert into New;`},
	{name: "named window", defs: `define window W (k string, v long) length(4);`, add: `from S select k, v insert into W; @info(name='new') from W select k, sum(v) as t group by k insert into New;`},
	{name: "trigger", defs: `define trigger Tick at every 6 milliseconds;`, add: `@info(name='new') from Tick#window.length(3) select count() as n insert into New;`},
	{name: "what follows from kept state", add: `@info(name='new') from Out#window.length(4) select k, sum(total) as t insert into New;`},
	{name: "partition", add: `partition with (k of S) begin @info(name='new') from S#window.length(2) select k, sum(v) as t insert into New; end;`},
	{
		name: "in a partition that goes on", head: `partition with (k of S, k of R) begin @info(name='there') from S[v > 8]#window.time(5) select k, count() as n insert into There;`,
		end: ` end;`, add: `@info(name='new') from R#window.length(2) select k, sum(v) as t insert all events into New;`,
	},
	{
		name: "in a partition with purge", head: `@purge(enable='true', interval='1 milliseconds', idle.period='11 milliseconds') partition with (k of S, k of R) begin @info(name='there') from S#window.length(3) select k, count() as n insert into There;`,
		end: ` end;`, add: `@info(name='new') from R select k, sum(v) as t, count() as n insert into New;`,
	},
	{name: "dropped", head: `@info(name='new') from S#window.length(3) select k, v, count() as n insert into New;`, add: `-`},
}

const backfillHead = `define stream S (k string, v long); define stream R (k string, v long);
	`

const backfillQueries = `@info(name='kept') from S select k, sum(v) as total group by k insert into Out;
	@info(name='wide') from R#window.time(4) select k, count() as n insert into Wide;
	`

func (c *backfillCase) texts(app string) (old, next string) {
	old = app + backfillHead + backfillQueries + c.head + c.end
	if c.add == "-" {
		return old, strings.Replace(old, "S#window.length(3) select k, v, count()", "S#window.time(6) select k, v, count()", 1)
	}
	return old, app + backfillHead + c.defs + backfillQueries + c.head + c.add + c.end
}

// backfillLog makes logs of random events.
type backfillLog struct {
	keptLog
	rnd  *rand.Rand
	now  int64
	plan *siddhiql.Plan
}

func (l *backfillLog) fill(frames int) {
	for range frames {
		l.now += l.rnd.Int64N(4)
		stream := l.plan.Stream([]string{"S", "R"}[l.rnd.IntN(2)])
		b := event.NewBatch(stream.Schema)
		f := &frame.Frame{Header: frame.Header{Kind: frame.Events}}
		for range 1 + l.rnd.IntN(3) {
			b.Cols[0].AppendText(fmt.Sprint("k", l.rnd.IntN(5)))
			b.Cols[1].AppendInt(l.rnd.Int64N(12))
			b.TS = append(b.TS, l.now)
			f.Runs = append(f.Runs, frame.Run{Rows: 1, ID: []string{"", fmt.Sprint("id", l.rnd.IntN(30))}[l.rnd.IntN(2)]})
		}
		f.Blocks = []frame.Block{{Batch: b}}
		l.addAt(f, l.now)
		if l.rnd.IntN(10) == 0 { // its writer repeats the frame
			l.records = append(l.records, l.records[len(l.records)-1])
		}
	}
}

// version adds a deploy frame, or a tick if number is 0.
func (l *backfillLog) version(number uint32, text, change string) {
	if number == 0 {
		l.addAt(&frame.Frame{Header: frame.Header{Kind: frame.Tick}}, l.now)
		return
	}
	l.addAt(&frame.Frame{Header: frame.Header{Kind: frame.Deploy}, Deploy: frame.Version{
		Number: number, Level: engine.Level, Build: "1.0.0", Settings: keptSettings.JSON(), Text: text, Change: change,
	}}, l.now)
}

// historyOf reads records again.
func historyOf(records [][]byte) engine.History {
	return func(first, end uint64, visit func(uint64, *frame.Frame) error) error {
		decoder := &frame.Decoder{}
		for seq := first; seq < end; seq++ {
			f, err := decoder.Decode(records[seq-1])
			if err != nil {
				return err
			}
			if err := visit(seq, f); err != nil {
				return err
			}
		}
		return nil
	}
}

// replayed applies all records, and returns the rows of the query "new" by record. With restarts, a
// new task with the state of the former one applies each record.
func replayed(t *testing.T, plan *siddhiql.Plan, records [][]byte, restarts bool) (rows [][]string, last *engine.Task, at map[int]map[string]any) {
	t.Helper()
	task, err := engine.NewTask(plan, 0, keptSettings)
	if err != nil {
		t.Fatal(err)
	}
	at = map[int]map[string]any{}
	decoder := &frame.Decoder{}
	for i, data := range records {
		if restarts && i > 0 {
			if task, err = startedFrom(task.Plan(), entriesOfAll(task)); err != nil {
				t.Fatal(err)
			}
			decoder = &frame.Decoder{}
		}
		task.ReadAgain(historyOf(records))
		f, err := decoder.Decode(data)
		if err == nil {
			_, err = task.Apply(uint64(i+1), f)
		}
		if err != nil {
			t.Fatalf("record %d: %v", i+1, err)
		}
		var made []string
		for _, o := range task.Outputs() {
			if q := task.Plan().Queries[o.Query]; q.Name == "new" {
				b, kinds := task.Rows(int(o.Query))
				for r := o.From; r < o.To; r++ {
					made = append(made, fmt.Sprint(o.Clock, " ", kinds[r], " ", rowText(b, int(r))))
				}
			}
		}
		rows = append(rows, made)
		task.ResetOutputs()
		state := map[string]any{}
		for id, entries := range entriesOfAll(task) {
			state[id] = entries
		}
		at[i] = state
	}
	return rows, task, at
}

// A change that builds state from a complete log gives the state and the later rows of an app that
// had the new text from its first event on. It does not matter where the task restarts.
func TestBackfillIsAsIfItHadAlwaysBeenThere(t *testing.T) {
	for _, c := range backfillCases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(6) {
				old, next := c.texts("@app:name('A') ")
				m, err := engine.Migrate(compiledText(t, old), compiledText(t, next), engine.MigrateOptions{Drop: true, Backfill: []uint64{1}})
				if err == nil {
					err = m.Err()
				}
				if err != nil || !m.FromLog() || m.Count(engine.OutcomeNew)+m.Count(engine.OutcomeDropped) == 0 {
					t.Fatalf("%v\n%v", err, m)
				}
				made := func(first, second string, change string, number uint32) [][]byte {
					l := &backfillLog{keptLog: keptLog{t: t}, rnd: rand.New(rand.NewPCG(seed, 1)), now: 1, plan: compiledText(t, old)}
					l.version(1, first, "")
					l.fill(40)
					l.version(number, second, change)
					l.fill(40)
					return l.records
				}
				always, _, wantState := replayed(t, compiledText(t, next), made(next, "", "", 0), false)
				records := made(old, next, m.Change.JSON(), 2)
				cut := slices.IndexFunc(records, func(data []byte) bool {
					f, err := new(frame.Decoder).Decode(data)
					return err == nil && f.Kind == frame.Deploy && f.Deploy.Number == 2
				})
				for _, restarts := range []bool{false, true} {
					rows, _, state := replayed(t, compiledText(t, old), records, restarts)
					for i := cut; i < len(records); i++ {
						if i > cut && !slices.Equal(rows[i], always[i]) {
							t.Fatalf("seed %d, restarts %t, record %d:\n%q, want\n%q", seed, restarts, i+1, rows[i], always[i])
						}
						for id := range state[i] {
							new := slices.ContainsFunc(m.Steps, func(s engine.ComponentStep) bool { return s.ID == id && s.FromLog })
							if new && !strings.HasPrefix(id, "partition") && !reflect.DeepEqual(state[i][id], wantState[i][id]) {
								t.Fatalf("seed %d, restarts %t, record %d: %s is\n%q, want\n%q", seed, restarts, i+1, id, state[i][id], wantState[i][id])
							}
						}
					}
					if slices.ContainsFunc(rows[cut:cut+1], func(r []string) bool { return len(r) > 0 }) {
						t.Fatalf("seed %d: rows of the time before the change: %q", seed, rows[cut])
					}
				}
			}
		})
	}
}

// A change is refused if what it builds would differ from that.
func TestBackfillRefused(t *testing.T) {
	const head = `@app:name('A') define stream S (k string, v long); define table T (k string, v long); define window W (k string, v long) length(3);
		@info(name='kept') from S select k, sum(v) as total group by k insert into Out; from S select k, v insert into T; from S select k, v insert into W; `
	for _, c := range []struct {
		name, app, add string
		from           uint64
		want           string
	}{
		{name: "complete", add: "@info(name='new') from Out#window.length(3) select k insert into New;", from: 1},
		{name: "after state", add: "@info(name='new') from Out#window.length(3) select k insert into New;", from: 9, want: "new/window cannot be built from the log: it reads what follows from kept/aggregate, and the log has only a part"},
		{name: "after a table", add: "@info(name='new') from S[S.k == T.k in T]#window.length(3) select k insert into New;", from: 9, want: "it reads what follows from table/T"},
		{name: "a join with a table", add: "@info(name='new') from S join T on S.k == T.k select S.k as k, count() as n insert into New;", from: 9, want: "it reads what follows from table/T"},
		{name: "writes a table", add: "@info(name='new') from S#window.length(3) select k, v insert into T;", from: 9},
		{name: "a named window", add: "@info(name='new') from W select sum(v) as t insert into New;", from: 1, want: "it counts the rows in window/W"},
		{name: "in two steps", add: "from Out[total > 1] select k insert into Mid; @info(name='new') from Mid#window.length(3) select k insert into New;", from: 9, want: "kept/aggregate"},
		{name: "a filter before it", add: "from S[v > 1] select k insert into Mid; @info(name='new') from Mid#window.length(3) select k insert into New;", from: 9},
		{name: "lateness", app: "@app:playback(lateness='5 sec') ", add: "@info(name='new') from S#window.length(3) select k insert into New;", from: 1, want: "the lateness of @app:playback changes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			old := head
			if c.app != "" {
				old = "@app:playback(lateness='1 sec') " + head
			}
			m, err := engine.Migrate(compiledText(t, old), compiledText(t, c.app+head+c.add), engine.MigrateOptions{Backfill: []uint64{c.from}})
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Err(); (err != nil) != (c.want != "") || c.want != "" && (!errors.Is(err, engine.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// A task that cannot read its log again stops at the change, and says why. An interrupt ends it.
func TestBackfillStops(t *testing.T) {
	c := backfillCases[0]
	old, next := c.texts("@app:name('A') ")
	change := func(from ...uint64) string {
		m, err := engine.Migrate(compiledText(t, old), compiledText(t, next), engine.MigrateOptions{Backfill: from})
		if err != nil {
			t.Fatal(err)
		}
		return m.Change.JSON()
	}
	lost := errors.New("the log is lost")
	for _, test := range []struct {
		name, change string
		history      engine.History
		want         string
		is           error
	}{
		{name: "no log", change: change(1), want: "there is no log to read it from here"},
		{name: "an error", change: change(7), history: func(first, end uint64, _ func(uint64, *frame.Frame) error) error {
			if first != 7 || end != 12 {
				t.Errorf("frames %d to %d are read", first, end)
			}
			return lost
		}, want: `version 2 of app "A" builds state from the log, from sequence 7 on: the log is lost`, is: lost},
		{name: "another partition", change: change(0), want: "does not name the sequence for partition 0"},
		{name: "an interrupt", change: change(1), want: "interrupted", is: engine.ErrInterrupted},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &backfillLog{keptLog: keptLog{t: t}, rnd: rand.New(rand.NewPCG(3, 3)), now: 1, plan: compiledText(t, old)}
			l.version(1, old, "")
			l.fill(10)
			l.records = l.records[:11]
			l.version(2, next, test.change)
			task, err := engine.NewTask(compiledText(t, old), 0, keptSettings)
			if err != nil {
				t.Fatal(err)
			}
			applyRecords(t, task, l.records[:11], 1, false)
			task.ReadAgain(test.history)
			if test.is == engine.ErrInterrupted {
				task.ReadAgain(func(first, end uint64, visit func(uint64, *frame.Frame) error) error {
					task.Interrupt()
					return historyOf(l.records)(first, end, visit)
				})
			}
			f, err := new(frame.Decoder).Decode(l.records[11])
			if err != nil {
				t.Fatal(err)
			}
			_, err = task.Apply(12, f)
			var b *engine.BackfillError
			if !errors.As(err, &b) || !strings.Contains(err.Error(), test.want) || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
