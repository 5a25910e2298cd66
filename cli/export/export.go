// Package export downloads a checkpoint and the log after it into a file. It only asks services
// over NATS, so it needs neither their disks nor their stores. Package shared/log/export defines
// the file.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Options are the options of Write.
type Options struct {
	App     string
	Epoch   state.Epoch // 0: the newest usable one
	Version string      // of this program
	// Progress is called with the number of frames so far and in total; nil for no call.
	Progress func(done, total uint64)
}

// Summary describes an export.
type Summary struct {
	App        string      `json:"app"`
	Checkpoint state.Epoch `json:"checkpoint"`
	Objects    int         `json:"objects"`
	Frames     uint64      `json:"frames"`
	Bytes      int64       `json:"bytes"`
}

// Write exports an app to out.
func Write(ctx context.Context, nc *nats.Conn, out io.Writer, opt Options) (*Summary, error) {
	counted := &counter{out: out}
	x := &exporter{nc: nc, opt: opt, sum: &Summary{App: opt.App}}
	err := x.write(ctx, counted)
	x.sum.Bytes = counted.n
	return x.sum, err
}

type counter struct {
	out io.Writer
	n   int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.out.Write(b)
	c.n += int64(n)
	return n, err
}

type exporter struct {
	nc    *nats.Conn
	opt   Options
	sum   *Summary
	plan  recovery.Plan
	out   *export.Writer
	total uint64
}

func (x *exporter) write(ctx context.Context, out io.Writer) error {
	ask := &control.Client{Conn: x.nc}
	app, err := ask.App(ctx, control.AppRequest{App: x.opt.App})
	if err != nil {
		return err
	}
	planner := &control.Client{Conn: x.nc, Service: recovery.ServiceName, Attempt: time.Minute}
	request := recovery.PlanRequest{App: x.opt.App, Target: recovery.Target{To: x.opt.Epoch}, Verify: recovery.VerifyNone, Look: true}
	if err := planner.Do(ctx, recovery.VerbPlan, request, &x.plan); err != nil {
		return err
	}
	if x.plan.Refused != "" {
		return fmt.Errorf("%s; next: %s", x.plan.Refused, x.plan.Next)
	}
	x.sum.Checkpoint = x.plan.Checkpoint
	var manifest *checkpoint.Manifest
	if x.plan.Checkpoint > 0 {
		m, err := ask.Checkpoint(ctx, control.CheckpointRequest{App: app.Name, Epoch: x.plan.Checkpoint})
		if err != nil {
			return err
		}
		manifest = &m
	}
	versions, err := x.versions(ctx, ask, &app, manifest)
	if err != nil {
		return err
	}
	info := &export.Info{
		App: app.Name, Plan: versions[0].Plan, Checkpoint: uint64(x.plan.Checkpoint), Settings: versions[0].Settings,
		Version: x.opt.Version, Made: time.Now().UTC().Format(time.RFC3339),
	}
	if manifest != nil {
		info.Plan = manifest.Plan
	}
	if len(versions) > 1 || versions[0].Number > 1 {
		for _, v := range versions {
			info.Versions = append(info.Versions, export.Version{Number: v.Number, Plan: v.Plan, Change: v.Change, Settings: v.Settings})
		}
	}
	for _, p := range x.plan.Partitions {
		info.Logs = append(info.Logs, export.Log{From: p.Barrier + 1, To: p.LogEnd})
		x.total += p.LogEnd - min(p.Barrier, p.LogEnd)
	}
	if x.out, err = export.NewWriter(out, info); err != nil {
		return err
	}
	for _, v := range versions {
		name := ""
		if len(info.Versions) > 0 {
			name = strconv.FormatUint(uint64(v.Number), 10)
		}
		if err := x.out.Add(export.KindApp, name, []byte(v.Text)); err != nil {
			return err
		}
	}
	if manifest != nil {
		if err := x.state(ctx, manifest); err != nil {
			return err
		}
	}
	for p := range info.Logs {
		if err := x.log(ctx, uint32(p), manifest, info.Logs[p]); err != nil {
			return err
		}
	}
	return x.out.Close()
}

// versions returns the versions of the app at the checkpoint, with their texts. Later ones are in
// the log.
func (x *exporter) versions(ctx context.Context, ask *control.Client, app *control.App, m *checkpoint.Manifest) ([]control.Version, error) {
	numbers := []uint32{1}
	if m != nil {
		numbers = nil
		for p := range m.Partitions {
			number, _ := m.VersionOf(uint32(p))
			numbers = append(numbers, number)
		}
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
	}
	if app.Version <= 1 {
		return []control.Version{{Number: 1, Plan: app.Plan, Text: app.Text, Settings: x.plan.Settings}}, nil
	}
	var all []control.Version
	for _, number := range numbers {
		v, err := ask.Version(ctx, control.VersionRequest{App: app.Name, Number: number})
		if err != nil {
			return nil, err
		}
		if v.Text == "" {
			return nil, fmt.Errorf("checkpoint %d needs the text of version %d of app %s, which is not kept any more; export a newer checkpoint", x.plan.Checkpoint, number, app.Name)
		}
		all = append(all, v)
	}
	return all, nil
}

// state writes the manifest and each object that it refers to, once.
func (x *exporter) state(ctx context.Context, m *checkpoint.Manifest) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := x.out.Add(export.KindManifest, checkpoint.ManifestName(m.App, m.Epoch), data); err != nil {
		return err
	}
	remote := &remote{x: x, seen: map[string][]byte{}}
	written := map[string]bool{}
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				names, err := checkpoint.Objects(ctx, remote, &c.Runs[i])
				if err != nil {
					return fmt.Errorf("component %s: %w; next: eventflux checkpoint verify %s %d", c.ID, err, m.App, m.Epoch)
				}
				for _, name := range names {
					if written[name] {
						continue
					}
					written[name] = true
					object, err := remote.Get(ctx, name)
					if err == nil {
						err = x.out.Add(export.KindObject, name, object)
					}
					if err != nil {
						return err
					}
					x.sum.Objects++
				}
				clear(remote.seen)
			}
		}
	}
	return nil
}

// remote is a read-only view of the store through the recovery service.
type remote struct {
	store.Store
	x    *exporter
	seen map[string][]byte
}

// Get implements store.Store.
func (r *remote) Get(ctx context.Context, name string) ([]byte, error) {
	if data, ok := r.seen[name]; ok {
		return data, nil
	}
	var data []byte
	for {
		piece, total, err := r.piece(ctx, name, int64(len(data)))
		if err != nil {
			return nil, err
		}
		data = append(data, piece...)
		if int64(len(data)) >= total {
			r.seen[name] = data
			return data, nil
		}
		if len(piece) == 0 {
			return nil, fmt.Errorf("read %s: it ends at %d of %d bytes", name, len(data), total)
		}
	}
}

func (r *remote) piece(ctx context.Context, name string, offset int64) ([]byte, int64, error) {
	request, err := json.Marshal(recovery.ObjectRequest{Name: name, Offset: offset})
	if err != nil {
		return nil, 0, err
	}
	msg, err := r.x.nc.RequestWithContext(ctx, natsconn.ServiceSubject(recovery.ServiceName, recovery.VerbObject), request)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", name, err)
	}
	if text := msg.Header.Get("Nats-Service-Error"); text != "" {
		return nil, 0, errors.New(text)
	}
	total, err := strconv.ParseInt(msg.Header.Get(recovery.HeaderBytes), 10, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: the answer has no size: %w", name, err)
	}
	return msg.Data, total, nil
}

// log writes the frames of a partition after the checkpoint.
func (x *exporter) log(ctx context.Context, p uint32, m *checkpoint.Manifest, l export.Log) error {
	if l.To < l.From {
		return nil
	}
	js, err := jetstream.New(x.nc)
	if err != nil {
		return err
	}
	cfg := wal.ReaderConfig{JS: js, Stream: natsconn.WALStream(x.opt.App, p), From: l.From}
	r, err := openLog(ctx, cfg, m, p)
	if err != nil {
		return err
	}
	defer r.Close()
	for r.Position() <= l.To {
		record, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if err := x.out.Add(export.KindFrame, fmt.Sprintf("%d/%d", p, record.Seq), record.Data); err != nil {
			return err
		}
		if x.sum.Frames++; x.opt.Progress != nil {
			x.opt.Progress(x.sum.Frames, x.total)
		}
	}
	return nil
}

func openLog(ctx context.Context, cfg wal.ReaderConfig, m *checkpoint.Manifest, p uint32) (*wal.Reader, error) {
	if m == nil {
		return wal.OpenReader(ctx, cfg)
	}
	stream, err := cfg.JS.Stream(ctx, cfg.Stream)
	if err != nil {
		return nil, fmt.Errorf("log %s: %w", cfg.Stream, err)
	}
	return lineage.OpenBehind(ctx, cfg, stream.CachedInfo().Created, &m.Partitions[p])
}
