package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// RunExport replays an export: it loads the checkpoint in the file, applies the log after it,
// and writes each row as Run does. It writes nothing for a damaged file. It uses only the
// options Until, Digests and MemoryMax.
func RunExport(ctx context.Context, file string, out io.Writer, opt Options) error {
	x, err := openExport(ctx, file)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	w := bufio.NewWriterSize(out, 64<<10)
	if err := x.replay(ctx, w, opt); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", file, err), w.Flush())
	}
	return w.Flush()
}

// exported is an export that was read once, and is whole.
type exported struct {
	file     string
	info     export.Info
	plans    map[uint32]*siddhiql.Plan // of versions, by number
	manifest *checkpoint.Manifest
	store    *memory.Store
}

// openExport reads all of a file, and keeps what is not the log.
func openExport(ctx context.Context, file string) (*exported, error) {
	x := &exported{file: file, store: memory.New(), plans: map[uint32]*siddhiql.Plan{}}
	next := map[int]uint64{}
	err := x.each(func(r export.Record) error { return x.take(ctx, r, next) })
	if err != nil {
		return nil, err
	}
	switch {
	case len(x.plans) != len(x.versions()):
		return nil, corruptExport("it has %d texts of the app, and its head says %d", len(x.plans), len(x.versions()))
	case (x.manifest == nil) != (x.info.Checkpoint == 0):
		return nil, corruptExport("it is of checkpoint %d, and the manifest is not there", x.info.Checkpoint)
	}
	for p, l := range x.info.Logs {
		if at := max(next[p], l.Start()); l.To >= l.Start() && at != l.To+1 {
			return nil, corruptExport("the log of partition %d ends at %d, and not at %d", p, at-1, l.To)
		}
	}
	return x, nil
}

func corruptExport(format string, args ...any) error {
	return fmt.Errorf("%w: %s; export it again", export.ErrCorrupt, fmt.Sprintf(format, args...))
}

// each calls visit with each record.
func (x *exported) each(visit func(export.Record) error) error {
	f, err := os.Open(x.file)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := export.NewReader(bufio.NewReaderSize(f, 1<<20))
	if err != nil {
		return err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = visit(rec)
		}
		if err != nil {
			return err
		}
	}
}

func (x *exported) take(ctx context.Context, r export.Record, next map[int]uint64) (err error) {
	switch r.Kind {
	case export.KindInfo:
		if err := json.Unmarshal(r.Data, &x.info); err != nil {
			return corruptExport("its head is not JSON: %v", err)
		}
	case export.KindApp:
		return x.takeApp(r)
	case export.KindManifest:
		x.manifest, err = checkpoint.DecodeManifest(r.Name, r.Data)
		if err == nil && (x.manifest.App != x.info.App || uint64(x.manifest.Epoch) != x.info.Checkpoint || len(x.manifest.Partitions) != len(x.info.Logs)) {
			err = corruptExport("its manifest is of checkpoint %d of app %q", x.manifest.Epoch, x.manifest.App)
		}
		return err
	case export.KindObject:
		return x.store.Put(ctx, r.Name, bytes.Clone(r.Data))
	case export.KindFrame:
		p, seq, err := frameName(r.Name)
		if err != nil {
			return err
		}
		if p >= len(x.info.Logs) {
			return corruptExport("a frame of partition %d, and there are %d", p, len(x.info.Logs))
		}
		if want := max(next[p], x.info.Logs[p].Start()); seq != want {
			return corruptExport("frame %d of partition %d stands where %d should", seq, p, want)
		}
		next[p] = seq + 1
	case export.KindEnd:
	}
	return nil
}

// versions returns the versions of the app that partitions have at the checkpoint.
func (x *exported) versions() []export.Version {
	if len(x.info.Versions) > 0 {
		return x.info.Versions
	}
	return []export.Version{{Number: 1, Plan: x.info.Plan, Settings: x.info.Settings}}
}

func (x *exported) version(number uint32) *export.Version {
	all := x.versions()
	if i := slices.IndexFunc(all, func(v export.Version) bool { return v.Number == number }); i >= 0 {
		return &all[i]
	}
	return nil
}

// takeApp takes the text of a version of the app.
func (x *exported) takeApp(r export.Record) error {
	number := uint64(1)
	if r.Name != "" {
		var err error
		if number, err = strconv.ParseUint(r.Name, 10, 32); err != nil {
			return corruptExport("a text of the app is called %.40q, and not by its version", r.Name)
		}
	}
	v := x.version(uint32(number))
	if v == nil {
		return corruptExport("it has the text of version %d of the app, which its head does not list", number)
	}
	plan, err := engine.Compile(&frame.Version{Text: string(r.Data), Change: v.Change})
	if err != nil {
		return fmt.Errorf("version %d of the app in it is refused by this version: %w", number, err)
	}
	if plan.Digest != v.Plan || plan.Name != x.info.App || len(x.info.Logs) != plan.Partitions {
		return corruptExport("its app is %q with plan %s and %d partitions, and its head says %q, %s and %d",
			plan.Name, plan.Digest, plan.Partitions, x.info.App, v.Plan, len(x.info.Logs))
	}
	x.plans[v.Number] = plan
	return nil
}

func frameName(name string) (p int, seq uint64, err error) {
	first, rest, _ := strings.Cut(name, "/")
	p, err = strconv.Atoi(first)
	if err == nil {
		seq, err = strconv.ParseUint(rest, 10, 64)
	}
	if err != nil || p < 0 || seq == 0 {
		return 0, 0, corruptExport("a frame is called %.40q, and not as 0/17", name)
	}
	return p, seq, nil
}

// replay replays one partition after the other.
func (x *exported) replay(ctx context.Context, out *bufio.Writer, opt Options) error {
	limit := newHeapLimit(opt.MemoryMax)
	objects := bounded{x.store, limit}
	w := &rowWriter{out: out, heads: map[*siddhiql.Plan][]head{}}
	frames, stop := x.frames(ctx)
	defer stop()
	for p := range x.info.Logs {
		t, skip, err := x.task(ctx, p, objects)
		if err != nil {
			return err
		}
		to := rebuild.Target{Position: rebuild.Position{Sequence: max(x.info.Logs[p].To, t.Position().Sequence)}}
		watch := rebuild.Watch{
			Step:  func(_ uint64, _ *frame.Frame, s engine.Step) { w.step(t, s) },
			Frame: func(uint64, *frame.Frame, engine.Reached, int) { w.write(t) }, // what a change causes
		}
		if _, err := t.Replay(ctx, &partitionLog{frames, p, x.info.Logs[p].From, limit, skip}, to, watch); err != nil {
			return err
		}
		if opt.Until != nil {
			if err := t.Advance(*opt.Until); err != nil {
				return err
			}
			w.write(t)
		}
		if opt.Digests {
			if err := writeTaskDigests(out, t.Plan(), p, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// task returns the task of a partition as the checkpoint has it, and the frames of its log that
// are skipped.
func (x *exported) task(ctx context.Context, p int, objects store.Store) (*rebuild.Task, wal.Skip, error) {
	number := uint32(1)
	if x.manifest != nil {
		number, _ = x.manifest.VersionOf(uint32(p))
	}
	v := x.version(number)
	if v == nil {
		return nil, nil, corruptExport("its manifest has version %d of the app in partition %d, and its head does not list it", number, p)
	}
	t, err := rebuild.New(x.plans[number], uint32(p), v.Settings)
	if err != nil {
		return nil, nil, err
	}
	from := uint64(0)
	var skip wal.Skip
	if x.manifest != nil {
		part := &x.manifest.Partitions[p]
		if err := t.Load(ctx, objects, part, x.manifest.Epoch, 2); err != nil {
			return nil, nil, err
		}
		from, skip = part.Log.Sequence, lineage.SkipOf(part)
	}
	if from+1 != x.info.Logs[p].From {
		return nil, nil, corruptExport("the log of partition %d starts at %d, and the checkpoint has its barrier at %d", p, x.info.Logs[p].From, from)
	}
	t.Core.ReadAgain(x.history(ctx, p, skip))
	return t, skip, nil
}

// rowWriter writes the rows that a task emits.
type rowWriter struct {
	out   *bufio.Writer
	heads map[*siddhiql.Plan][]head // of versions of the app
	input int                       // chunks of events applied so far
	row   []byte
}

func (w *rowWriter) step(t *rebuild.Task, s engine.Step) {
	if s.Event > 0 && !s.Duplicate {
		w.input++
	}
	w.write(t)
}

// rows are results of one version of the app.
type rows interface {
	Outputs() []engine.Output
	Rows(query int) (*event.Batch, []window.Kind)
}

func (w *rowWriter) write(t *rebuild.Task) {
	if before := t.Core.Earlier(); before != nil {
		w.writeOf(before.Plan, before)
	}
	w.writeOf(t.Plan(), t.Core)
	t.Core.ResetOutputs()
}

func (w *rowWriter) writeOf(plan *siddhiql.Plan, r rows) {
	heads, known := w.heads[plan]
	if !known {
		for _, q := range plan.Queries {
			heads = append(heads, newHead(q))
		}
		w.heads[plan] = heads
	}
	for _, o := range r.Outputs() {
		b, kinds := r.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			w.row = heads[o.Query].appendRow(w.row[:0], b, i, kinds[i] == window.Expired)
			w.row = appendTail(w.row, o.Chunk, w.input, o.Clock)
			_, _ = w.out.Write(w.row) // bufio keeps the first error for Flush
		}
	}
}

func writeTaskDigests(out io.Writer, plan *siddhiql.Plan, p int, t *rebuild.Task) error {
	enc := json.NewEncoder(out)
	digests := t.Digests()
	for _, info := range t.Infos() {
		id := info.ID
		if plan.Partitions > 1 {
			id = fmt.Sprintf("%d/%s", p, id)
		}
		if err := enc.Encode(digestLine{plan.Name, id, info.Type, info.Version.String(), digests[info.ID]}); err != nil {
			return err
		}
	}
	return nil
}

// digestLine is what is written of a component's state at the end.
type digestLine struct {
	App       string       `json:"app"`
	Component string       `json:"component"`
	Type      string       `json:"type"`
	Version   string       `json:"version"`
	Digest    state.Digest `json:"digest"`
}
