package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"

	"pgregory.net/rapid"
)

// arrival is a message in the log: a chunk of events with an id that may repeat, and the stamps of
// their arrival, which go back if another ingest wrote the message.
type arrival struct {
	stream *siddhiql.Stream
	events []Event
	stamps []int64
	id     string
	chunk  bool
}

// TestFramesDoNotShow divides the same messages into frames in two ways. Results, late events and
// state must be the same, even if message ids are forgotten.
func TestFramesDoNotShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := "@app:name('m')\n" + GenApp(t, Options{Windows: known(Windows...), Tables: rapid.Bool().Draw(t, "tables")})
		plan, err := siddhiql.Compile(app)
		if err != nil {
			t.Fatalf("a valid app is refused: %v\n%s", err, app)
		}
		var all []arrival
		for _, s := range GenInput(t, plan) {
			if s.Stream == "" {
				continue
			}
			a := arrival{stream: plan.Stream(s.Stream), events: s.Events, chunk: rapid.Bool().Draw(t, "chunk")}
			for range s.Events {
				a.stamps = append(a.stamps, s.Now-rapid.Int64Range(0, 40).Draw(t, "back"))
			}
			if n := rapid.IntRange(-4, 4).Draw(t, "id"); n >= 0 {
				a.id = fmt.Sprint(n)
			}
			all = append(all, a)
		}
		once, again := divided(t, plan, app, all), divided(t, plan, app, all)
		if once != again {
			for i, line := range strings.Split(once, "\n") {
				if other := strings.Split(again, "\n"); i >= len(other) || other[i] != line {
					t.Fatalf("%s%+v\ngives\n%s\nline %d differs where it is divided otherwise:\n%s", app, all, once, i+1, again)
				}
			}
		}
	})
}

// divided applies messages in frames of random size, and describes the result.
func divided(t *rapid.T, plan *siddhiql.Plan, app string, all []arrival) string {
	settings := engine.Settings{DedupWindow: 25}
	task, err := engine.NewTask(plan, 0, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.Apply(0, &frame.Frame{Header: frame.Header{App: plan.Name, Kind: frame.Deploy}, Deploy: frame.Version{
		Number: 1, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: app,
	}}); err != nil {
		t.Fatal(err)
	}
	holders := engine.Registry(task.Components())
	var out, late strings.Builder
	w := framer{app: plan.Name}
	for len(all) > 0 {
		n := rapid.IntRange(1, len(all)).Draw(t, "messages in a frame")
		if _, err := task.Apply(w.number+1, w.frame(t, all[:n])); err != nil {
			t.Fatal(err)
		}
		all = all[n:]
		for _, o := range task.Outputs() {
			b, kinds := task.Rows(int(o.Query))
			for i := o.From; i < o.To; i++ {
				fmt.Fprintf(&out, "%d %d %d %d %d", o.Query, o.Chunk, o.Clock, kinds[i], b.TS[i])
				for c := range b.Cols {
					fmt.Fprintf(&out, " %v", valueAt(&b.Cols[c], int(i)))
				}
				out.WriteByte('\n')
			}
		}
		for _, l := range task.Late() {
			fmt.Fprintf(&late, "late %s %d at %d\n", l.Stream.Name, l.Rows.TS[l.Row], l.Clock)
		}
		task.ResetOutputs()
	}
	out.WriteString(late.String())
	digests := map[string]state.Digest{}
	for _, h := range holders.List() {
		if h.Info().ID != "log/writers" { // those records are about frames
			digests[h.Info().ID] = h.Digest()
		}
	}
	for _, id := range slices.Sorted(maps.Keys(digests)) {
		fmt.Fprintf(&out, "%s %s\n", id, digests[id])
	}
	return out.String()
}

// framer makes the frames of one writer.
type framer struct {
	app    string
	number uint64
	crc    uint32
}

func (w *framer) frame(t *rapid.T, messages []arrival) *frame.Frame {
	f := &frame.Frame{Header: frame.Header{App: w.app, Writer: 1, Number: w.number + 1, Prev: w.crc, Kind: frame.Events}}
	for _, m := range messages {
		i := slices.IndexFunc(f.Blocks, func(b frame.Block) bool { return b.Batch.Schema == m.stream.Schema })
		if i < 0 {
			i = len(f.Blocks)
			f.Blocks = append(f.Blocks, frame.Block{Batch: event.NewBatch(m.stream.Schema)})
		}
		b := &f.Blocks[i]
		for n, e := range m.events {
			for c, v := range e.Values {
				appendValue(&b.Batch.Cols[c], v)
			}
			b.Batch.TS = append(b.Batch.TS, e.TS)
			b.Arrived = append(b.Arrived, m.stamps[n])
			f.Stamp = max(f.Stamp, m.stamps[n])
		}
		f.Runs = append(f.Runs, frame.Run{Block: i, Rows: len(m.events), Chunk: m.chunk, ID: m.id})
	}
	data, err := new(frame.Encoder).Append(nil, f, compress.LZ4)
	if err != nil {
		t.Fatal(err)
	}
	w.number, w.crc = w.number+1, f.CRC
	read, err := new(frame.Decoder).Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return read
}
