package rescale_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/rescale"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

const text = `@app:name('A') @app:partitions('1')
define stream S (k string, v int);
define stream R (k string, v int);
@purge(enable='true', idle.period='20 sec')
partition with (k of S, k of R)
begin
	from S#window.length(3) select k, sum(v) as n, 'length' as q insert all events into Length;
	from S#window.time(5 sec) select k, count() as n, 'time' as q insert all events into Time;
	from S select k, max(v) as n, 'group' as q group by v insert into Groups;
	from every a=S[v > 5] -> b=R[v > a.v] within 8 sec select a.k as k, b.v as n, 'pattern' as q insert into Pattern;
	from S#window.time(3 sec) join R#window.length(2) on S.v == R.v select S.k as k, R.v as n, 'join' as q insert into Joined;
	from S select k, v as n, 'rate' as q output last every 2 sec insert into Rate;
end;
partition with (k of S)
begin
	from S#window.session(4 sec) select k, sum(v) as n, 'session' as q insert all events into Session;
end;
`

var settings = engine.Settings{DedupWindow: 10_000}

// app is an app with one task for each partition. Each frame has a writer of its own.
type app struct {
	t       *rapid.T
	plan    *siddhiql.Plan
	text    string
	version uint32
	tasks   []*engine.Task
	writer  uint64
	seq     uint64
	results map[string][]string // by key and query, in order
}

func newApp(t *rapid.T, text string, partitions int) *app {
	a := &app{t: t, version: 1, results: map[string][]string{}}
	a.compile(text, partitions)
	for p := range partitions {
		a.tasks = append(a.tasks, a.task(uint32(p)))
		a.apply(p, &frame.Frame{Header: frame.Header{Kind: frame.Deploy, Stamp: 1000}, Deploy: frame.Version{
			Number: 1, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: a.text,
		}})
	}
	return a
}

func (a *app) compile(text string, partitions int) {
	var err error
	if a.text, err = siddhiql.WithPartitions(text, partitions); err != nil {
		a.t.Fatal(err)
	}
	if a.plan, err = siddhiql.Compile(a.text); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) task(p uint32) *engine.Task {
	task, err := engine.NewTask(a.plan, p, settings)
	if err != nil {
		a.t.Fatal(err)
	}
	return task
}

func (a *app) apply(p int, f *frame.Frame) {
	a.writer++
	a.seq++
	f.App, f.Partition, f.Writer, f.Number = a.plan.Name, uint32(p), a.writer, 1
	task := a.tasks[p]
	if _, err := task.Apply(a.seq, f); err != nil {
		a.t.Fatal(err)
	}
	for _, o := range task.Outputs() {
		rows, kinds := task.Rows(int(o.Query))
		for n := int(o.From); n < int(o.To); n++ {
			key := fmt.Sprintf("%s of query %d", rows.Cols[0].Text(n), o.Query)
			a.results[key] = append(a.results[key], fmt.Sprintf("%s %d %d", rowjson.AppendArray(nil, rows, n), kinds[n], rows.TS[n]))
		}
	}
	task.ResetOutputs()
}

// message has rows of one publish, which ingest divides by key.
type message struct {
	stream, id string
	keys       []string
	values     []int64
	at         int64
	chunk      bool
}

// publish writes a message to the logs of all partitions but one.
func (a *app) publish(m *message, without int) {
	schema := a.plan.Stream(m.stream).Schema
	for p := range a.tasks {
		rows := event.NewBatch(schema)
		for i, key := range m.keys {
			if int(engine.Home(key, uint32(len(a.tasks)))) == p {
				rows.Cols[0].AppendText(key)
				rows.Cols[1].AppendInt(m.values[i])
				rows.TS = append(rows.TS, m.at)
			}
		}
		if rows.Len() == 0 || p == without {
			continue
		}
		a.apply(p, &frame.Frame{
			Header: frame.Header{Kind: frame.Events, Stamp: m.at},
			Blocks: []frame.Block{{Batch: rows}}, Runs: []frame.Run{{Rows: rows.Len(), ID: m.id, Chunk: m.chunk}},
		})
	}
}

// tick moves the clocks of all partitions.
func (a *app) tick(at int64) {
	for p := range a.tasks {
		a.apply(p, &frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: at}, HasClock: a.plan.Playback, Clock: at})
	}
}

var options = checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 1, Choice: compress.Choice{Codec: compress.None}}

// scale divides the state among another number of partitions.
func (a *app) scale(s store.Store, partitions int) {
	var parts []checkpoint.Partition
	for p, task := range a.tasks {
		part := checkpoint.Partition{Partition: uint32(p)}
		for _, h := range engine.Registry(task.Components()).List() {
			h.Cut(1)
			c := h.Snapshot()
			like := checkpoint.Component{ID: h.Info().ID, Type: h.Info().Type, Version: h.Info().Version.String()}
			var entries []state.Entry
			for _, e := range c.Changes() {
				entries = append(entries, state.Entry{Key: e.Key, Value: e.Value})
			}
			stored, err := checkpoint.WriteEntries(a.t.Context(), s, options, &like, entries)
			if err != nil {
				a.t.Fatal(err)
			}
			part.Components = append(part.Components, stored)
		}
		parts = append(parts, part)
	}
	a.version++
	before := len(a.tasks)
	a.compile(a.text, partitions)
	r, err := engine.NewRescaling(a.plan, uint32(before), a.version)
	if err != nil {
		a.t.Fatal(err)
	}
	read := int64(0)
	divided, err := rescale.State(a.t.Context(), s, options, parts, r, func(n int64) { read += n })
	if err != nil {
		a.t.Fatal(err)
	}
	if read != rescale.Entries(parts) {
		a.t.Fatalf("%d entries were read, of %d", read, rescale.Entries(parts))
	}
	a.tasks = nil
	for p := range partitions {
		task := a.task(uint32(p))
		part := checkpoint.Partition{Partition: uint32(p), Components: divided[p]}
		if err := checkpoint.Load(a.t.Context(), s, &part, 1, engine.Registry(task.Components()), 1); err != nil {
			a.t.Fatal(err)
		}
		a.tasks = append(a.tasks, task)
	}
}

// An app that is scaled gives each key the results that it would have without: windows, timers,
// groups, patterns and joins go on. A message that was repeated, also after several scalings
// and if some of the logs had not got it, counts once.
func TestScalingChangesNoResults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 6), 1, 4).Draw(t, "partitions")
		plain, scaled := newApp(t, text, 1), newApp(t, text, sizes[0])
		s := memory.New()
		var sent []*message
		at := int64(1_000_000)
		for n, size := range sizes {
			if n > 0 {
				plain.tick(at)
				scaled.tick(at)
				scaled.scale(s, size)
			}
			for range rapid.IntRange(0, 12).Draw(t, "messages") {
				at += rapid.Int64Range(0, 3000).Draw(t, "ms")
				m := &message{at: at, stream: rapid.SampledFrom([]string{"S", "R"}).Draw(t, "stream"), chunk: rapid.Bool().Draw(t, "chunk")}
				for range rapid.IntRange(1, 4).Draw(t, "rows") {
					m.keys = append(m.keys, "k"+strconv.Itoa(rapid.IntRange(0, 7).Draw(t, "key")))
					m.values = append(m.values, rapid.Int64Range(0, 9).Draw(t, "v"))
				}
				slices.Sort(m.keys) // a chunk is passed on in runs of equal keys
				if rapid.Bool().Draw(t, "id") {
					m.id = "id" + strconv.Itoa(len(sent))
				}
				plain.publish(m, -1)
				scaled.publish(m, -1)
				sent = append(sent, m)
			}
			if len(sent) > 0 { // some publisher repeats a message
				again := *sent[rapid.IntRange(0, len(sent)-1).Draw(t, "repeated")]
				if again.id != "" && at-again.at < settings.DedupWindow {
					again.at = at
					plain.publish(&again, -1)
					scaled.publish(&again, -1)
				}
			}
		}
		plain.tick(at + 60_000)
		scaled.tick(at + 60_000)
		compare(t, scaled.results, plain.results)
	})
}

func compare(t *rapid.T, got, want map[string][]string) {
	for key := range want {
		if !slices.Equal(got[key], want[key]) {
			t.Fatalf("key %s has\n%q\nwant\n%q", key, got[key], want[key])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d keys, want %d", len(got), len(want))
	}
}

// Events that wait for their time wait in the partition of their key afterwards.
func TestScalingDividesEventsThatWait(t *testing.T) {
	const lateness = "@app:playback(lateness='2 sec')\n"
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.IntRange(1, 4).Draw(t, "from"), rapid.IntRange(1, 4).Draw(t, "to")
		plain, scaled := newApp(t, lateness+text, 1), newApp(t, lateness+text, from)
		s := memory.New()
		at := int64(1_000_000)
		for n := range 12 {
			at += rapid.Int64Range(0, 1500).Draw(t, "ms")
			plain.tick(at)
			scaled.tick(at)
			if n == 6 {
				scaled.scale(s, to)
			}
			m := &message{at: at - rapid.Int64Range(0, 3000).Draw(t, "late"), stream: "S"}
			for range rapid.IntRange(1, 4).Draw(t, "rows") {
				m.keys = append(m.keys, "k"+strconv.Itoa(rapid.IntRange(0, 7).Draw(t, "key")))
				m.values = append(m.values, rapid.Int64Range(0, 9).Draw(t, "v"))
			}
			plain.publish(m, -1)
			scaled.publish(m, -1)
		}
		plain.tick(at + 60_000)
		scaled.tick(at + 60_000)
		compare(t, scaled.results, plain.results)
	})
}

// Of a message that only some of the logs had got before the scaling, the other rows count when
// it comes again.
func TestScalingCompletesMessagesInPart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.IntRange(2, 5).Draw(t, "from"), rapid.IntRange(1, 5).Draw(t, "to")
		plain, scaled := newApp(t, text, 1), newApp(t, text, from)
		m := &message{at: 1_000_000, stream: "S", id: "one", keys: []string{"a", "b", "c", "d", "e", "f"}, values: []int64{1, 2, 3, 4, 5, 6}, chunk: rapid.Bool().Draw(t, "chunk")}
		plain.publish(m, -1)
		scaled.publish(m, rapid.IntRange(0, from-1).Draw(t, "without"))
		plain.tick(m.at)
		scaled.tick(m.at)
		scaled.scale(memory.New(), to)
		plain.publish(m, -1)
		scaled.publish(m, -1)
		scaled.publish(m, -1)
		plain.tick(m.at + 60_000)
		scaled.tick(m.at + 60_000)
		compare(t, scaled.results, plain.results)
	})
}
