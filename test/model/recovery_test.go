package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"

	"pgregory.net/rapid"
)

// history is the log of a random app with checkpoints, as a processor leaves them.
type history struct {
	plan        *siddhiql.Plan
	app         string
	steps       []Step // the steps in the log
	places      []rebuild.Position
	log         []wal.Record
	store       store.Store
	checkpoints []checkpoint.Partition // in order
	digests     []map[string]state.Digest
}

// drawHistory makes a log from the steps: several steps per frame, with ticks and barriers in
// between.
func drawHistory(t *rapid.T, o Options) *history {
	h := &history{app: "@app:name('m')\n" + GenApp(t, o), store: memory.New()}
	var err error
	if h.plan, err = siddhiql.Compile(h.app); err != nil {
		t.Fatalf("a valid app is refused: %v\n%s", err, h.app)
	}
	w := &logWriter{t: t, h: h, stamp: 1}
	w.live, err = engine.NewTask(h.plan, 0, settings)
	if err != nil {
		t.Fatal(err)
	}
	components := w.live.Components()
	w.registry = engine.Registry(components)
	for _, c := range components {
		if source, ok := c.Source.(state.Freezer); ok {
			w.freezers = append(w.freezers, source)
		}
	}
	steps, deployed := GenInput(t, h.plan), int64(1)
	if len(steps) > 0 {
		deployed = steps[0].Now // triggers start then, as in an engine without a log
	}
	w.put(&frame.Frame{Header: frame.Header{Kind: frame.Deploy, Stamp: deployed}, Deploy: frame.Version{
		Number: 1, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: h.app,
	}})
	for _, s := range steps {
		switch {
		case s.Stream == "" && h.plan.Playback:
			if len(h.steps) == 0 {
				continue // no time passes before the first event
			}
			w.flush()
			w.put(&frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: w.stamp}, HasClock: true, Clock: s.Now})
		case s.Stream == "":
			w.flush()
			w.put(&frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: s.Now}})
		default:
			w.add(s)
		}
		h.steps = append(h.steps, s)
		h.places = append(h.places, w.place(s))
		if rapid.IntRange(0, 2).Draw(t, "flush") == 0 {
			w.flush()
		}
		if rapid.IntRange(0, 5).Draw(t, "barrier") == 0 {
			w.flush()
			w.barrier()
		}
	}
	w.flush()
	w.take()
	return h
}

var settings = engine.Settings{DedupWindow: 120_000}

type logWriter struct {
	t        *rapid.T
	h        *history
	live     *engine.Task
	registry *state.Registry
	frame    frame.Frame
	rows     uint64
	stamp    int64
	number   uint64
	crc      uint32
	epoch    state.Epoch
	chains   map[string][]checkpoint.Run
	freezers []state.Freezer
	captured []*state.Capture     // by the registry's holders at the last barrier; nil: stored
	part     checkpoint.Partition // the part of the checkpoint for them
}

func (w *logWriter) add(s Step) {
	schema := w.h.plan.Stream(s.Stream).Schema
	i := slices.IndexFunc(w.frame.Blocks, func(b frame.Block) bool { return b.Batch.Schema == schema })
	if i < 0 {
		i = len(w.frame.Blocks)
		w.frame.Blocks = append(w.frame.Blocks, frame.Block{Batch: event.NewBatch(schema)})
	}
	b := &w.frame.Blocks[i]
	for _, e := range s.Events {
		for c, v := range e.Values {
			appendValue(&b.Batch.Cols[c], v)
		}
		b.Batch.TS = append(b.Batch.TS, e.TS)
		b.Arrived = append(b.Arrived, s.Now)
	}
	w.frame.Runs = append(w.frame.Runs, frame.Run{Block: i, Rows: len(s.Events), Chunk: true})
	w.frame.Stamp = max(w.frame.Stamp, s.Now)
	w.rows += uint64(len(s.Events))
}

// place returns the position at the end of the newest step.
func (w *logWriter) place(s Step) rebuild.Position {
	if s.Stream == "" {
		return rebuild.Position{Sequence: uint64(len(w.h.log))}
	}
	return rebuild.Position{Sequence: uint64(len(w.h.log)) + 1, Event: w.rows}
}

func (w *logWriter) flush() {
	if len(w.frame.Runs) > 0 {
		w.frame.Kind = frame.Events
		w.put(&w.frame)
		w.frame, w.rows = frame.Frame{}, 0
	}
}

func (w *logWriter) put(f *frame.Frame) {
	f.App, f.Writer, f.Number, f.Prev = "m", 1, w.number+1, w.crc
	if f.Kind == frame.Deploy { // the only frame of another writer
		f.Writer = 2
	} else {
		w.number++
	}
	w.stamp = max(w.stamp, f.Stamp)
	data, err := new(frame.Encoder).Append(nil, f, compress.LZ4)
	if err != nil {
		w.t.Fatal(err)
	}
	if f.Kind != frame.Deploy {
		w.crc = f.CRC
	}
	w.h.log = append(w.h.log, wal.Record{Seq: uint64(len(w.h.log)) + 1, Data: data})
	read, err := new(frame.Decoder).Decode(data)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.live.Apply(uint64(len(w.h.log)), read); err != nil {
		w.t.Fatal(err)
	}
	w.live.ResetOutputs()
	if w.captured != nil {
		for _, f := range w.freezers {
			for range rapid.IntRange(0, 2).Draw(w.t, "thaw") {
				f.Thaw(1) // few entries, so that most thaw when they change
			}
		}
	}
}

// barrier starts a checkpoint as a task does: it captures the current state, which is stored while
// the log goes on.
func (w *logWriter) barrier() {
	w.take()
	w.epoch++
	f := &frame.Frame{Header: frame.Header{Kind: frame.Barrier, Stamp: w.stamp}, Cut: frame.Cut{Epoch: uint64(w.epoch), Term: 1, ID: [16]byte{byte(w.epoch)}}}
	w.put(f)
	w.part = checkpoint.Partition{
		Log:   checkpoint.Lineage{Stream: "EFW_m_0", Sequence: uint64(len(w.h.log)), ID: f.Cut.ID, CRC: f.CRC},
		Clock: w.live.Clock(),
	}
	for _, h := range w.registry.List() {
		h.Freeze(w.epoch)
		delta, err := h.Delta(w.epoch - 1)
		if err != nil {
			w.t.Fatal(err)
		}
		w.captured = append(w.captured, delta)
	}
}

// take stores the captured state as a task does: first a base, then deltas.
func (w *logWriter) take() {
	if w.captured == nil {
		return
	}
	chains := map[string][]checkpoint.Run{}
	digests := map[string]state.Digest{}
	for i, h := range w.registry.List() {
		for h.Thaw() {
		}
		changes := w.captured[i].Changes()
		c := checkpoint.Component{ID: h.Info().ID, Type: h.Info().Type, Version: h.Info().Version.String(), Digest: w.captured[i].Digest(), Runs: w.chains[h.Info().ID]}
		kind := checkpoint.Delta
		if len(c.Runs) == 0 {
			kind = checkpoint.Base
			changes = slices.DeleteFunc(slices.Clone(changes), func(c state.Change) bool { return c.Deleted })
		}
		if len(changes) > 0 {
			run, err := checkpoint.WriteRun(context.Background(), w.h.store, checkpoint.WriterOptions{Kind: kind, Epoch: w.epoch}, changes)
			if err != nil {
				w.t.Fatal(err)
			}
			c.Runs = append(slices.Clip(c.Runs), run)
		}
		chains[c.ID], digests[c.ID] = c.Runs, c.Digest
		w.part.Components = append(w.part.Components, c)
		h.Committed(w.epoch)
	}
	w.chains, w.captured = chains, nil
	w.h.checkpoints, w.h.digests = append(w.h.checkpoints, w.part), append(w.h.digests, digests)
}

// records is a log from some sequence on.
type records struct{ rest []wal.Record }

func (r *records) Next(context.Context) (wal.Record, error) {
	if len(r.rest) == 0 {
		return wal.Record{}, io.EOF
	}
	first := r.rest[0]
	r.rest = r.rest[1:]
	return first, nil
}

// rebuild returns a task rebuilt from checkpoint from (-1: from the start of the log), and the rest
// of the log.
func (h *history) rebuild(t *rapid.T, from int) (*rebuild.Task, rebuild.Log) {
	task, err := rebuild.New(h.plan, 0, settings)
	if err != nil {
		t.Fatal(err)
	}
	if from < 0 {
		return task, &records{h.log}
	}
	part := &h.checkpoints[from]
	if err := task.Load(context.Background(), h.store, part, state.Epoch(from+1), 2); err != nil {
		t.Fatalf("%s: load checkpoint %d: %v", h.app, from+1, err)
	}
	return task, &records{h.log[part.Log.Sequence:]}
}

// operators returns the entries of the engine's components.
func (h *history) operators(t *rapid.T, task *rebuild.Task) snapshots {
	all := snapshots{}
	for _, info := range task.Infos() {
		if strings.HasPrefix(info.Type, "log/") {
			continue
		}
		entries, err := task.Entries(info.ID)
		if err != nil {
			t.Fatal(err)
		}
		all[info.ID] = map[string][]byte{}
		for _, e := range entries {
			all[info.ID][string(e.Key)] = e.Value
		}
	}
	return all
}

// stoppedAt returns the state of an engine that gets the steps up to an instant directly, without a
// log.
func (h *history) stoppedAt(t *rapid.T, instant int64) snapshots {
	e := newEngine(t, h.plan)
	for _, s := range h.steps {
		at := s.Now
		if h.plan.Playback {
			if len(s.Events) > 0 {
				at = s.Events[0].TS
			}
			for _, ev := range s.Events {
				at = max(at, ev.TS)
			}
			at -= max(h.plan.Lateness, 0) // the clock lags by the lateness
		}
		if at > instant {
			break
		}
		applyEngine(e, h.plan, s)
	}
	if !h.plan.Playback {
		e.Advance(instant)
	}
	return snapshot(e)
}

// after returns the state of an engine after the first n steps.
func (h *history) after(t *rapid.T, n int) snapshots {
	e := newEngine(t, h.plan)
	for _, s := range h.steps[:n] {
		applyEngine(e, h.plan, s)
	}
	return snapshot(e)
}

func sameSnapshots(a, b snapshots) string {
	for _, id := range slices.Sorted(maps.Keys(a)) {
		if !maps.EqualFunc(a[id], b[id], bytes.Equal) {
			return fmt.Sprintf("%s is %q, want %q", id, b[id], a[id])
		}
	}
	return ""
}

// The state as of an instant, or after an event, equals the state of an uninterrupted run that
// stops there, whichever checkpoint it is rebuilt from.
func TestStateAsOfAnyInstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		if len(h.steps) == 0 {
			return
		}
		from := rapid.IntRange(-1, len(h.checkpoints)-1).Draw(t, "checkpoint")
		task, log := h.rebuild(t, from)
		least, first := int64(0), rebuild.Position{}
		if from >= 0 {
			least, first = h.checkpoints[from].Clock, rebuild.Position{Sequence: h.checkpoints[from].Log.Sequence}
		}
		watch := rebuild.Watch{}
		if rapid.Bool().Draw(t, "watched") {
			watch.Step = func(uint64, *frame.Frame, engine.Step) {}
		}
		if rapid.Bool().Draw(t, "by time") {
			instant := rapid.Int64Range(least, max(least, h.steps[len(h.steps)-1].Now+50)).Draw(t, "instant")
			done, err := task.Replay(context.Background(), log, rebuild.Target{Timed: true, Time: instant}, watch)
			if err != nil {
				t.Fatalf("%s%s%v", h.app, printSteps(h.steps), err)
			}
			if done.At.Event == 0 { // log/ components describe a position
				other, log := h.rebuild(t, -1)
				if _, err := other.Replay(context.Background(), log, rebuild.Target{Position: done.At}, rebuild.Watch{}); err != nil {
					t.Fatal(err)
				}
				for id, want := range other.Digests() {
					if strings.HasPrefix(id, "log/") && task.Digests()[id] != want {
						t.Fatalf("%s%sfrom checkpoint %d, at %d, after %s: %s", h.app, printSteps(h.steps), from+1, instant, done.At, id)
					}
				}
			}
			if what := sameSnapshots(h.stoppedAt(t, instant), h.operators(t, task)); what != "" {
				t.Fatalf("%s%sfrom checkpoint %d, at %d: %s", h.app, printSteps(h.steps), from+1, instant, what)
			}
			return
		}
		n := rapid.IntRange(0, len(h.steps)-1).Draw(t, "step")
		if h.places[n].Compare(first) <= 0 {
			return
		}
		done, err := task.Replay(context.Background(), log, rebuild.Target{Position: h.places[n]}, watch)
		if err != nil || !done.Reached {
			t.Fatalf("%s%s%+v, %v", h.app, printSteps(h.steps), done, err)
		}
		if what := sameSnapshots(h.after(t, n+1), h.operators(t, task)); what != "" {
			t.Fatalf("%s%sfrom checkpoint %d, at %s: %s", h.app, printSteps(h.steps), from+1, h.places[n], what)
		}
	})
}

// A correct checkpoint equals a replay from any earlier one.
func TestHonestCheckpointsAreProved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		if len(h.checkpoints) == 0 {
			return
		}
		to := rapid.IntRange(0, len(h.checkpoints)-1).Draw(t, "to")
		from := rapid.IntRange(-1, to-1).Draw(t, "from")
		if found := h.prove(t, from, &h.checkpoints[to]); len(found) > 0 {
			t.Fatalf("%s%sfrom %d to %d: %+v", h.app, printSteps(h.steps), from+1, to+1, found)
		}
	})
}

func (h *history) prove(t *rapid.T, from int, part *checkpoint.Partition) []rebuild.Difference {
	task, log := h.rebuild(t, from)
	_, err := task.Replay(context.Background(), log, rebuild.Target{Position: rebuild.Position{Sequence: part.Log.Sequence}}, rebuild.Watch{})
	if err != nil {
		t.Fatalf("%s%s%v", h.app, printSteps(h.steps), err)
	}
	found, err := task.Compare(context.Background(), h.store, part, 2)
	var wrong *checkpoint.CorruptError
	if errors.As(err, &wrong) {
		return []rebuild.Difference{{What: err.Error()}}
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Verification finds a checkpoint that is consistent in itself but differs from the log, and names
// the component.
func TestDishonestCheckpointsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		if len(h.checkpoints) < 2 {
			return
		}
		to := len(h.checkpoints) - 1
		part := h.checkpoints[to]
		part.Components = slices.Clone(part.Components)
		i := rapid.IntRange(0, len(part.Components)-1).Draw(t, "component")
		c := &part.Components[i]
		if len(c.Runs) == 0 {
			return
		}
		entries, err := checkpoint.LoadChain(context.Background(), h.store, c.Runs, 1)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return
		}
		switch rapid.SampledFrom([]string{"run dropped", "older chain", "entry changed", "entry gone", "digest"}).Draw(t, "lie") {
		case "run dropped":
			c.Runs = c.Runs[:len(c.Runs)-1]
			if entries, err = checkpoint.LoadChain(context.Background(), h.store, c.Runs, 1); err != nil {
				t.Fatal(err)
			}
		case "older chain":
			c.Runs = h.checkpoints[to-1].Components[i].Runs
			if entries, err = checkpoint.LoadChain(context.Background(), h.store, c.Runs, 1); err != nil {
				t.Fatal(err)
			}
		case "entry changed":
			k := rapid.IntRange(0, len(entries)-1).Draw(t, "entry")
			entries[k].Value = append(bytes.Clone(entries[k].Value), 1)
			c.Runs = h.write(t, entries)
		case "entry gone":
			k := rapid.IntRange(0, len(entries)-1).Draw(t, "entry")
			entries = slices.Delete(entries, k, k+1)
			c.Runs = h.write(t, entries)
		case "digest":
			entries = nil
		}
		c.Digest = state.DigestOf(entries) // the forged digest is consistent
		if c.Digest == h.digests[to][c.ID] {
			return // nothing changed
		}
		found := h.prove(t, rapid.IntRange(-1, to-1).Draw(t, "from"), &part)
		if len(found) != 1 || found[0].Component != c.ID {
			t.Fatalf("%s%s%s: %+v", h.app, printSteps(h.steps), c.ID, found)
		}
	})
}

func (h *history) write(t *rapid.T, entries []state.Entry) []checkpoint.Run {
	if len(entries) == 0 {
		return nil
	}
	var changes []state.Change
	for _, e := range entries {
		changes = append(changes, state.Change{Key: e.Key, Value: e.Value})
	}
	run, err := checkpoint.WriteRun(context.Background(), h.store, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 9}, changes)
	if err != nil {
		t.Fatal(err)
	}
	return []checkpoint.Run{run}
}

// The description of a component has names and is derived from its entries. It is the same for all
// items at once and for each item alone.
func TestItemsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := drawHistory(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		task, log := h.rebuild(t, rapid.IntRange(-1, len(h.checkpoints)-1).Draw(t, "checkpoint"))
		if _, err := task.Replay(context.Background(), log, rebuild.Target{Position: rebuild.Position{Sequence: uint64(len(h.log))}}, rebuild.Watch{}); err != nil {
			t.Fatal(err)
		}
		for _, info := range task.Infos() {
			entries, err := task.Entries(info.ID)
			if err != nil {
				t.Fatal(err)
			}
			names := map[string]bool{}
			told, err := task.Items(info.ID, func(i state.Item) {
				if names[i.Key] {
					t.Fatalf("%s%s%s: two items are called %q", h.app, printSteps(h.steps), info.ID, i.Key)
				}
				names[i.Key] = true
				if !json.Valid(i.Value) {
					t.Fatalf("%s: %s is %s", info.ID, i.Key, i.Value)
				}
				if !slices.ContainsFunc(entries, func(e state.Entry) bool { return bytes.Equal(e.Key, i.Entry) }) {
					t.Fatalf("%s%s%s: item %q claims to be in entry %q, which is not there", h.app, printSteps(h.steps), info.ID, i.Key, i.Entry)
				}
				if again, ok := task.Item(info.ID, i.Key, i.Entry); !ok || !bytes.Equal(again, i.Value) {
					t.Fatalf("%s%s%s: item %q is %s, and asked for alone %s", h.app, printSteps(h.steps), info.ID, i.Key, i.Value, again)
				}
			})
			// Entries of an output rate are shown in hexadecimal.
			if err != nil || !told && !strings.HasSuffix(info.ID, "/output") {
				t.Fatalf("%s tells nothing: %v", info.ID, err)
			}
		}
	})
}
