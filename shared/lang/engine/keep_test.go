package engine_test

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
)

const (
	keptText = `@app:name('A') define stream S (k string, v long);
		from S select k, sum(v) as total group by k insert into Out;`
	passedText = `@app:name('A') define stream S (w int, v long, k string); define stream T (x int);
		@info(name='query1') from S select v, sum(w) as total group by v insert into Out;
		from T select x insert into Other;`
)

var keptSettings = engine.Settings{DedupWindow: 1000}

// keptLog makes logs of app A.
type keptLog struct {
	t       *testing.T
	number  uint64
	crc     uint32
	records [][]byte
}

func (l *keptLog) add(f *frame.Frame) {
	l.t.Helper()
	l.addAt(f, int64(len(l.records)+1))
}

func (l *keptLog) addAt(f *frame.Frame, stamp int64) {
	l.t.Helper()
	f.App, f.Stamp = "A", stamp
	f.Writer, f.Number = 1000+uint64(f.Deploy.Number), 1
	if f.Kind != frame.Deploy {
		l.number++
		f.Writer, f.Number, f.Prev = 1, l.number, l.crc
	}
	data, err := new(frame.Encoder).Append(nil, f, compress.None)
	if err != nil {
		l.t.Fatal(err)
	}
	if f.Kind != frame.Deploy {
		l.crc = f.CRC
	}
	l.records = append(l.records, data)
}

func (l *keptLog) deploy(number uint32, text, change string) {
	l.add(&frame.Frame{Header: frame.Header{Kind: frame.Deploy}, Deploy: frame.Version{
		Number: number, Level: engine.Level, Build: "1.0.0", Settings: keptSettings.JSON(), Text: text, Change: change,
	}})
}

// event adds an event of S, in the form of a version.
func (l *keptLog) event(plan *siddhiql.Plan, k string, v int64) {
	b := event.NewBatch(plan.Stream("S").Schema)
	for i, a := range b.Schema.Attrs {
		if a.Name == "k" {
			b.Cols[i].AppendText(k)
		} else {
			b.Cols[i].AppendInt(v)
		}
	}
	b.TS = append(b.TS, int64(len(l.records)+1))
	l.add(&frame.Frame{Header: frame.Header{Kind: frame.Events}, Blocks: []frame.Block{{Batch: b}}, Runs: []frame.Run{{Rows: 1}}})
}

// changeOf plans the change to a text, which gives up what cannot go on.
func changeOf(t *testing.T, from *siddhiql.Plan, text string) string {
	t.Helper()
	m, err := engine.Migrate(from, compiledText(t, text), engine.MigrateOptions{Drop: true})
	if err == nil {
		err = m.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return m.Change.JSON()
}

func compiledText(t *testing.T, text string) *siddhiql.Plan {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// entriesOfAll returns the entries of all components, sorted.
func entriesOfAll(task *engine.Task) map[string][]state.Entry {
	all := map[string][]state.Entry{}
	for _, c := range task.Components() {
		var entries []state.Entry
		c.Source.Keys(func(key []byte) {
			if value, ok := c.Source.Append(nil, key); ok {
				entries = append(entries, state.Entry{Key: bytes.Clone(key), Value: value})
			}
		})
		slices.SortFunc(entries, func(a, b state.Entry) int { return bytes.Compare(a.Key, b.Key) })
		all[c.ID] = slices.CompactFunc(entries, func(a, b state.Entry) bool { return bytes.Equal(a.Key, b.Key) })
	}
	return all
}

// startedFrom returns a task with the state, or the error of a component.
func startedFrom(plan *siddhiql.Plan, all map[string][]state.Entry) (*engine.Task, error) {
	task, err := engine.NewTask(plan, 0, keptSettings)
	if err != nil {
		return nil, err
	}
	for _, c := range task.Components() {
		c.Source.Reset()
		for _, e := range all[c.ID] {
			if err := c.Source.Put(e.Key, e.Value); err != nil {
				return nil, err
			}
		}
		if err := c.Source.Ready(); err != nil {
			return nil, err
		}
	}
	return task, nil
}

// applyRecords applies records, starting with sequence from, and returns the rows that
// follow. restarts loads the state again after each.
func applyRecords(t *testing.T, task *engine.Task, records [][]byte, from int, restarts bool) (rows []string, last *engine.Task) {
	t.Helper()
	decoder := &frame.Decoder{}
	for i, data := range records {
		f, err := decoder.Decode(data)
		if err == nil {
			_, err = task.Apply(uint64(from+i), f)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range task.Outputs() {
			b, _ := task.Rows(int(o.Query))
			for i := o.From; i < o.To; i++ {
				rows = append(rows, rowText(b, int(i)))
			}
		}
		task.ResetOutputs()
		if !restarts {
			continue
		}
		before := entriesOfAll(task)
		again, err := startedFrom(task.Plan(), before)
		if err != nil {
			t.Fatal(err)
		}
		if after := entriesOfAll(again); !reflect.DeepEqual(before, after) {
			t.Fatalf("stored %q, loaded %q", before, after)
		}
		task, decoder = again, &frame.Decoder{}
	}
	return rows, task
}

func rowText(b *event.Batch, row int) string {
	var values []string
	for c, a := range b.Schema.Attrs {
		if a.Type == event.String {
			values = append(values, b.Cols[c].Text(row))
		} else {
			values = append(values, strconv.FormatInt(b.Cols[c].Ints[row], 10))
		}
	}
	return strings.Join(values, " ")
}

// A task that starts from a checkpoint with a kept version gives the rows that the version gives of
// all events, those in the form of the versions passed over included. It ends with the version
// after them. Without the entry, the same log is applied with all its versions.
func TestKeptVersionPassesOverLaterOnes(t *testing.T) {
	kept := compiledText(t, keptText)
	log := &keptLog{t: t}
	log.deploy(1, keptText, "")
	for i := range 6 {
		log.event(kept, fmt.Sprint("k", i%2), int64(i))
	}
	const cut = 5 // the checkpoint follows this record
	change := changeOf(t, kept, passedText)
	log.deploy(2, passedText, change)
	passed, err := engine.Compile(&frame.Version{Text: passedText, Change: change})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		log.event(passed, fmt.Sprint("k", i%3), int64(10+i))
	}
	again := compiledText(t, keptText)
	m, err := engine.Keep(kept, passed, again, 1)
	if err != nil || m.Count(engine.OutcomeKept) != len(m.Steps) {
		t.Fatalf("%v\n%v", err, m)
	}
	log.deploy(3, keptText, m.Change.JSON())
	for i := range 4 {
		log.event(kept, fmt.Sprint("k", i%2), int64(20+i))
	}

	start, err := startedFrom(kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, start = applyRecords(t, start, log.records[:cut], 1, false)
	saved := entriesOfAll(start)
	rest := log.records[cut:]

	alone := &keptLog{t: t}
	alone.deploy(1, keptText, "")
	for _, e := range []struct{ n, keys, from int }{{6, 2, 0}, {6, 3, 10}, {4, 2, 20}} {
		for i := range e.n {
			alone.event(kept, fmt.Sprint("k", i%e.keys), int64(e.from+i))
		}
	}
	undisturbed, err := startedFrom(kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := applyRecords(t, undisturbed, alone.records, 1, false)
	want = want[cut-1:]

	plain, err := startedFrom(kept, saved)
	if err != nil {
		t.Fatal(err)
	}
	rows, plain := applyRecords(t, plain, rest, cut+1, true)
	if number, _ := plain.Deployed(); number != 3 || slices.Equal(rows, want) {
		t.Errorf("without the entry: version %d, rows %q", number, rows)
	}

	saved[engine.VersionComponent], err = engine.KeepVersion(saved[engine.VersionComponent], 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	for _, restarts := range []bool{false, true} {
		task, err := startedFrom(kept, saved)
		if err != nil {
			t.Fatal(err)
		}
		rows, task = applyRecords(t, task, rest, cut+1, restarts)
		if !slices.Equal(rows, want) {
			t.Errorf("restarts %t:\n%q, want\n%q", restarts, rows, want)
		}
		if number, _ := task.Deployed(); number != 3 {
			t.Errorf("restarts %t: version %d", restarts, number)
		}
		entries := entriesOfAll(task)[engine.VersionComponent]
		if slices.ContainsFunc(entries, func(e state.Entry) bool { return string(e.Key) == "kept" }) {
			t.Errorf("restarts %t: %q", restarts, entries)
		}
	}
}

// Several restores may keep versions. Those that contradict each other are an error.
func TestKeptVersionsFollowEachOther(t *testing.T) {
	keep := func(entries []state.Entry, version, last uint32) []state.Entry {
		t.Helper()
		entries, err := engine.KeepVersion(entries, version, last)
		if err != nil {
			t.Fatal(err)
		}
		return entries
	}
	entries := keep(keep(nil, 1, 3), 4, 6)
	for _, c := range []struct {
		frames []uint32
		want   uint32
	}{{nil, 1}, {[]uint32{2, 3}, 1}, {[]uint32{2, 3, 4}, 4}, {[]uint32{4, 2, 5, 6}, 4}, {[]uint32{4, 5, 7}, 7}} {
		if got, err := engine.InForce(1, entries, c.frames); err != nil || got != c.want {
			t.Errorf("after %v: version %d, %v, want %d", c.frames, got, err, c.want)
		}
	}
	if got, _ := engine.InForce(1, keep(entries, 1, 8), []uint32{4, 7, 9}); got != 9 {
		t.Errorf("version %d, want 9", got)
	}
	if _, err := engine.KeepVersion(entries, 5, 8); err == nil {
		t.Error("version 5 was passed over, and is kept")
	}
	plan := compiledText(t, keptText)
	task, err := startedFrom(plan, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &keptLog{t: t}
	log.deploy(1, keptText, "")
	_, task = applyRecords(t, task, log.records, 1, false)
	for _, bad := range []string{"", "\x00\x02", "\x02\x02", "\x01\x03\x03\x04", "\x01", "\x01\x03\x04", "\x01\x83\x00"} {
		all := entriesOfAll(task)
		all[engine.VersionComponent] = append(all[engine.VersionComponent], state.Entry{Key: []byte("kept"), Value: []byte(bad)})
		if _, err := startedFrom(plan, all); err == nil {
			t.Errorf("entry %q is accepted", bad)
		}
	}
}
