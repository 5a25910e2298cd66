// Package export downloads a checkpoint and the log after it into a file. It only asks services
// over NATS, so it needs neither their disks nor their stores. Package shared/log/export defines
// the file.
package export

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
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
	nc     *nats.Conn
	source *Source
	opt    Options
	sum    *Summary
	out    *export.Writer
	total  uint64
}

func (x *exporter) write(ctx context.Context, out io.Writer) error {
	source, err := Open(ctx, x.nc, x.opt.App, x.opt.Epoch)
	if err != nil {
		return err
	}
	x.source, x.sum.Checkpoint = source, source.Plan.Checkpoint
	manifest, versions := source.Manifest, source.Versions
	info := &export.Info{
		App: source.App.Name, Plan: versions[0].Plan, Checkpoint: uint64(source.Plan.Checkpoint), Settings: versions[0].Settings,
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
	for i, p := range source.Plan.Partitions {
		l := export.Log{From: p.Barrier + 1, To: p.LogEnd}
		if l.First, err = source.first(ctx, uint32(i), l); err != nil {
			return err
		}
		info.Logs = append(info.Logs, l)
		x.total += l.To + 1 - min(l.Start(), l.To+1)
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
		if err := x.log(ctx, uint32(p), info.Logs[p]); err != nil {
			return err
		}
	}
	return x.out.Close()
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
	remote := &cached{remote{nc: x.nc}, map[string][]byte{}}
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

// cached keeps what was read. It is for one goroutine.
type cached struct {
	remote
	seen map[string][]byte
}

// Get implements store.Store.
func (c *cached) Get(ctx context.Context, name string) ([]byte, error) {
	if data, ok := c.seen[name]; ok {
		return data, nil
	}
	data, err := c.remote.Get(ctx, name)
	if err == nil {
		c.seen[name] = data
	}
	return data, err
}

// log writes the frames of a partition after the checkpoint.
func (x *exporter) log(ctx context.Context, p uint32, l export.Log) error {
	if l.To < l.From {
		return nil
	}
	if l.First > 0 {
		r, err := x.source.logFrom(ctx, p, l.First)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := x.frames(ctx, p, r, l.From-1); err != nil {
			return err
		}
	}
	r, err := x.source.Log(ctx, p)
	if err != nil {
		return err
	}
	defer r.Close()
	return x.frames(ctx, p, r, l.To)
}

// frames writes the frames that a reader has up to a sequence.
func (x *exporter) frames(ctx context.Context, p uint32, r *wal.Reader, to uint64) error {
	for r.Position() <= to {
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
