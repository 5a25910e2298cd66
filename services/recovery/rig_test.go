package recovery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// rig is a recovery service whose app, logs and checkpoints a script writes. The logs are in
// a real server, and nothing processes them.
type rig struct {
	t        *testing.T
	service  *Service
	js       jetstream.JetStream
	store    *memory.Store
	plan     *siddhiql.Plan
	app      control.App
	list     []control.CheckpointInfo // newest first
	written  []written                // by partition
	barriers map[state.Epoch][]checkpoint.Partition
}

// written is the writer of a log.
type written struct {
	encoder frame.Encoder
	number  uint64
	prev    uint32
	seq     uint64
}

// rigNow is the service's clock, in ms.
const rigNow = 1_000_000

func newRig(t *testing.T) *rig {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	server, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	nc, err := natsconn.Connect(t.Context(), natsconn.ConnectConfig{URL: server.URL(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	r := &rig{t: t, store: memory.New()}
	r.service, err = New(Config{
		Conn: nc, Control: r, Store: r.store, Restorer: r, Version: "1.0.0", Log: quiet, Workers: 1,
		Now: func() time.Time { return time.UnixMilli(rigNow) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.js = r.service.js
	return r
}

func (r *rig) App(_ context.Context, q control.AppRequest) (control.App, error) {
	if q.App != r.app.Name {
		return control.App{}, failure(control.CodeNotFound, "app %s is not deployed", q.App)
	}
	return r.app, nil
}

func (r *rig) Checkpoints(context.Context, control.AppRequest) (control.CheckpointList, error) {
	return control.CheckpointList{App: r.app.Name, Generation: r.app.Generation, Checkpoints: r.list}, nil
}

func (r *rig) Apps(context.Context) (control.AppList, error) {
	return control.AppList{}, nil
}

func (*rig) History(context.Context, control.AppRequest) (control.History, error) {
	return control.History{}, fmt.Errorf("the app has one version")
}

func (*rig) Version(context.Context, control.VersionRequest) (control.Version, error) {
	return control.Version{}, fmt.Errorf("the app has one version")
}

func (*rig) Restore(context.Context, control.RestoreRequest) (control.Restored, error) {
	return control.Restored{}, fmt.Errorf("a plan restores nothing")
}

// deploy starts over with an app and empty logs.
func (r *rig) deploy(text string, partitions uint32) {
	r.t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		r.t.Fatal(err)
	}
	for p := range r.app.Partitions {
		_ = r.js.DeleteStream(r.t.Context(), natsconn.WALStream(r.app.Name, p)) // it may be gone already
	}
	r.plan, r.list, r.barriers = plan, nil, map[state.Epoch][]checkpoint.Partition{}
	r.app = control.App{Name: plan.Name, Plan: plan.Digest, Partitions: partitions, Generation: 1, Text: text, Settings: engine.Settings{DedupWindow: 1000}}
	r.written = make([]written, partitions)
	for p := range partitions {
		if _, err := natsconn.EnsureWAL(r.t.Context(), r.js, plan.Name, p, natsconn.StreamLimits{Replicas: 1}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// write appends the frames of a script to the log of partition p: "events STAMP…", "tick STAMP"
// and "barrier EPOCH CLOCK".
func (r *rig) write(p uint32, lines string) {
	r.t.Helper()
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		var f frame.Frame
		var epoch state.Epoch
		switch words[0] {
		case "events":
			batch := event.NewBatch(r.plan.Streams[0].Schema)
			for _, word := range words[1:] {
				f.Stamp = r.number(word)
				for c := range batch.Cols {
					batch.Cols[c].AppendNull()
				}
				batch.TS = append(batch.TS, f.Stamp)
			}
			f.Kind, f.Blocks, f.Runs = frame.Events, []frame.Block{{Batch: batch}}, []frame.Run{{Rows: batch.Len()}}
		case "tick":
			f.Kind, f.Stamp = frame.Tick, r.number(words[1])
		case "barrier":
			epoch = state.Epoch(r.number(words[1]))
			f.Kind, f.Stamp = frame.Barrier, r.number(words[2])
			f.Cut = frame.Cut{Epoch: uint64(epoch), Term: 1, ID: [16]byte{1, byte(epoch)}}
		default:
			r.t.Fatalf("unknown frame %q", line)
		}
		r.append(p, &f)
		if f.Kind == frame.Barrier {
			r.note(p, epoch, &f)
		}
	}
}

func (r *rig) number(word string) (n int64) {
	r.t.Helper()
	if _, err := fmt.Sscan(word, &n); err != nil {
		r.t.Fatalf("%q is not a number", word)
	}
	return n
}

// append puts a frame at the end of a log.
func (r *rig) append(p uint32, f *frame.Frame) {
	r.t.Helper()
	w := &r.written[p]
	w.number++
	f.App, f.Partition, f.Writer, f.Number, f.Prev = r.app.Name, p, 7, w.number, w.prev
	data, err := w.encoder.Append(nil, f, compress.None)
	if err != nil {
		r.t.Fatal(err)
	}
	ack, err := r.js.Publish(r.t.Context(), natsconn.WALSubject(r.app.Name, p), data)
	if err != nil {
		r.t.Fatal(err)
	}
	w.prev, w.seq = f.CRC, ack.Sequence
}

// note keeps what the manifest of a checkpoint says about a barrier.
func (r *rig) note(p uint32, epoch state.Epoch, f *frame.Frame) {
	stream, err := r.js.Stream(r.t.Context(), natsconn.WALStream(r.app.Name, p))
	if err != nil {
		r.t.Fatal(err)
	}
	r.barriers[epoch] = append(r.barriers[epoch], checkpoint.Partition{
		Partition: p, Clock: f.Stamp,
		Log:    checkpoint.Lineage{Stream: natsconn.WALStream(r.app.Name, p), Created: stream.CachedInfo().Created, Sequence: r.written[p].seq, ID: f.Cut.ID, CRC: f.CRC},
		Output: checkpoint.Output{Stream: natsconn.OutStream(r.app.Name, p), Positions: map[string]string{}},
	})
}

// commit writes the manifest of a checkpoint whose barriers are in the logs.
func (r *rig) commit(epoch state.Epoch) {
	r.t.Helper()
	m := &checkpoint.Manifest{
		App: r.app.Name, Plan: r.app.Plan, Generation: r.app.Generation, Epoch: epoch, Term: 1,
		Time: time.UnixMilli(1_000 * int64(epoch)).UTC(), Partitions: r.barriers[epoch],
	}
	data, err := m.Encode()
	if err != nil {
		r.t.Fatal(err)
	}
	name := checkpoint.ManifestName(m.App, epoch)
	if err := r.store.Put(r.t.Context(), name, data); err != nil {
		r.t.Fatal(err)
	}
	ref := control.CheckpointRef{Generation: m.Generation, Epoch: epoch, Term: 1, Time: m.Time, Manifest: name, Digest: checkpoint.SHA256(data)}
	r.list = slices.Insert(r.list, 0, control.CheckpointInfo{CheckpointRef: ref, State: control.CheckpointCommitted})
}

// damage flips a bit of a manifest.
func (r *rig) damage(epoch state.Epoch) {
	r.t.Helper()
	err := r.store.Alter(checkpoint.ManifestName(r.app.Name, epoch), func(data []byte) []byte {
		return bytes.Replace(data, []byte(`"term": 1`), []byte(`"term": 2`), 1)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// trim removes the frames of a log before a sequence.
func (r *rig) trim(p uint32, before uint64) {
	r.t.Helper()
	stream, err := r.js.Stream(r.t.Context(), natsconn.WALStream(r.app.Name, p))
	if err == nil {
		err = stream.Purge(r.t.Context(), jetstream.WithPurgeSequence(before))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func scan[T any](t *testing.T, d *datadriven.TestData, key string) (v T) {
	t.Helper()
	if d.HasArg(key) {
		var text string
		d.ScanArgs(t, key, &text)
		if _, err := fmt.Sscan(text, &v); err != nil {
			d.Fatalf(t, "%s=%s: %v", key, text, err)
		}
	}
	return v
}
