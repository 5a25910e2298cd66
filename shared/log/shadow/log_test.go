package shadow_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// message is one event of stream S, or some that arrive together.
type message struct {
	rows []int64 // values of v
	seq  int64   // value of n in the first row; the next rows follow
	ts   int64
}

// writer makes the log of a partition.
type writer struct {
	t      testing.TB
	app    string
	number uint64
	crc    uint32
	seq    uint64
	log    []wal.Record
}

func (w *writer) add(f *frame.Frame) {
	f.App = w.app
	if f.Kind != frame.Deploy {
		w.number++
		f.Writer, f.Number, f.Prev = 1, w.number, w.crc
	} else {
		f.Writer, f.Number = 1000+uint64(f.Deploy.Number), 1
	}
	data, err := new(frame.Encoder).Append(nil, f, compress.None)
	if err != nil {
		w.t.Fatal(err)
	}
	if f.Kind != frame.Deploy {
		w.crc = f.CRC
	}
	w.seq++
	w.log = append(w.log, wal.Record{Seq: w.seq, Data: data})
}

var settings = engine.Settings{DedupWindow: 1000}

func (w *writer) deploy(number uint32, text, change string, stamp int64) {
	w.add(&frame.Frame{Header: frame.Header{Kind: frame.Deploy, Stamp: stamp}, Deploy: frame.Version{
		Number: number, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: text, Change: change,
	}})
}

// events writes messages in frames of about the given number of events.
func (w *writer) events(s *event.Schema, messages []message, size int) {
	for len(messages) > 0 {
		f := &frame.Frame{Header: frame.Header{Kind: frame.Events}, Blocks: []frame.Block{{Batch: event.NewBatch(s)}}}
		b := f.Blocks[0].Batch
		for len(messages) > 0 && b.Len() < size {
			m := messages[0]
			messages = messages[1:]
			for i, v := range m.rows {
				b.Cols[0].AppendInt(m.seq + int64(i))
				b.Cols[1].AppendInt(v)
				for c := 2; c < len(b.Cols); c++ {
					b.Cols[c].AppendInt(v)
				}
				b.TS = append(b.TS, m.ts)
			}
			f.Stamp = max(f.Stamp, m.ts)
			f.Runs = append(f.Runs, frame.Run{Rows: len(m.rows), Chunk: len(m.rows) > 1})
		}
		w.add(f)
	}
}

func compile(t testing.TB, text string) *siddhiql.Plan {
	t.Helper()
	p, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return p
}

// compare runs two versions over a log: it applies the first records to both, changes the new
// one, and compares the rest.
func compare(t testing.TB, old, next string, log []wal.Record, from int) shadow.Report {
	t.Helper()
	c := shadow.NewComparer("m")
	var tasks [2]*rebuild.Task
	for i := range tasks {
		task, err := rebuild.New(compile(t, old), 0, settings)
		for _, r := range log[:from] {
			if err == nil {
				err = task.Step(r, rebuild.Watch{})
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		tasks[i] = task
	}
	pair, _, err := shadow.NewPair(c, 0, tasks[0], tasks[1], next, engine.MigrateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range log[from:] {
		if err := pair.Step(r); err != nil {
			t.Fatal(err)
		}
	}
	pair.Close()
	return c.Report()
}
