package rebuild_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/file"
)

const benchApp = `@app:name('bench') @app:playback
define stream Flights (time long, key string, origin string, destination string, delay int, distance int);
from Flights#window.length(200000) select time, key, origin, destination, delay, distance insert all events into A;
from Flights#window.length(200000) select time, origin, delay insert all events into B;
from Flights#window.sort(100000, delay) select time, key, delay insert all events into C;
from Flights#window.length(200000) select key, sum(delay) as total, avg(distance) as mean, max(delay) as worst group by key insert into D;
`

const benchRows = 250_000

// benchState is a state of windows and groups over real flights, stored as a checkpoint.
func benchState(b *testing.B) (*siddhiql.Plan, store.Store, *checkpoint.Partition) {
	plan, err := siddhiql.Compile(benchApp)
	if err != nil {
		b.Fatal(err)
	}
	task, err := engine.NewTask(plan, 0, engine.Settings{DedupWindow: 1000})
	if err != nil {
		b.Fatal(err)
	}
	stream := plan.Stream("Flights")
	flights := readFlights(b)
	batch := event.NewBatch(stream.Schema)
	for i := range benchRows {
		f := flights[i%len(flights)]
		ts := f.Time + int64(i/len(flights))*86_400_000
		batch.Cols[0].AppendInt(ts)
		batch.Cols[1].AppendText(fmt.Sprintf("key%d", i*7919%50_000))
		batch.Cols[2].AppendText(f.Origin)
		batch.Cols[3].AppendText(f.Destination)
		batch.Cols[4].AppendInt(f.Delay)
		batch.Cols[5].AppendInt(f.Distance)
		batch.TS = append(batch.TS, ts)
		if batch.Len() == 1000 {
			for row := range batch.TS {
				task.Send(stream, batch, row, row+1, batch.TS[row])
			}
			task.ResetOutputs()
			batch.Reset()
		}
	}
	s, err := file.Open(b.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	part := &checkpoint.Partition{}
	for _, h := range engine.Registry(task.Components()).List() {
		info := h.Info()
		c := checkpoint.Component{ID: info.ID, Type: info.Type, Version: info.Version.String(), Digest: h.Digest()}
		if changes := h.Snapshot().Changes(); len(changes) > 0 {
			run, err := checkpoint.WriteRun(b.Context(), s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 1, Choice: info.Access.Choice(), Parallel: 2}, changes)
			if err != nil {
				b.Fatal(err)
			}
			c.Runs = []checkpoint.Run{run}
		}
		part.Components = append(part.Components, c)
	}
	return plan, s, part
}

type flight struct {
	Time                int64
	Origin, Destination string
	Delay, Distance     int64
}

func readFlights(b *testing.B) (all []flight) {
	f, err := os.Open("../../../examples/data/flights.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var one flight
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			b.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// remote answers like a store on a network.
type remote struct{ store.Store }

const remoteWait = 5 * time.Millisecond

func (r remote) Get(ctx context.Context, name string) ([]byte, error) {
	select {
	case <-time.After(remoteWait):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return r.Store.Get(ctx, name)
}

// BenchmarkRecovery loads a checkpoint into a task. Its limits: the same objects, read
// and decompressed, and nothing else; the same, and decoded and merged.
func BenchmarkRecovery(b *testing.B) {
	plan, s, part := benchState(b)
	var raw int64
	var objects []string
	for _, c := range part.Components {
		for i := range c.Runs {
			raw += c.Runs[i].RawBytes
			names, err := checkpoint.Objects(b.Context(), s, &c.Runs[i])
			if err != nil {
				b.Fatal(err)
			}
			objects = append(objects, names...)
		}
	}
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("decompress/workers=%d", workers), func(b *testing.B) {
			b.SetBytes(raw)
			for b.Loop() {
				decompress(b, s, objects, workers)
			}
		})
		b.Run(fmt.Sprintf("decode/workers=%d", workers), func(b *testing.B) {
			b.SetBytes(raw)
			for b.Loop() {
				for _, c := range part.Components {
					if _, err := checkpoint.LoadChain(b.Context(), s, c.Runs, workers); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(fmt.Sprintf("load/workers=%d", workers), func(b *testing.B) {
			b.SetBytes(raw)
			for b.Loop() {
				load(b, plan, s, part, workers)
			}
		})
	}
	for _, workers := range []int{1, 4, 16} {
		b.Run(fmt.Sprintf("remote/workers=%d", workers), func(b *testing.B) {
			b.SetBytes(raw)
			b.ReportMetric(float64(len(objects)), "objects")
			for b.Loop() {
				load(b, plan, remote{s}, part, workers)
			}
		})
	}
}

func load(b *testing.B, plan *siddhiql.Plan, s store.Store, part *checkpoint.Partition, workers int) {
	t, err := rebuild.New(plan, 0, engine.Settings{DedupWindow: 1000})
	if err == nil {
		err = t.Load(b.Context(), s, part, state.Epoch(1), workers)
	}
	if err != nil {
		b.Fatal(err)
	}
}

func decompress(b *testing.B, s store.Store, objects []string, workers int) {
	var group errgroup.Group
	group.SetLimit(workers)
	for _, name := range objects {
		if strings.HasPrefix(name, "runs/") {
			continue // an index, or a block that is as small
		}
		group.Go(func() error {
			data, err := s.Get(b.Context(), name)
			if err == nil {
				_, err = compress.Open(nil, data, compress.RawBytesMax)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
}
