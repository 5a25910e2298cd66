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
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
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
	plan     *siddhiql.Plan
	manifest *checkpoint.Manifest
	store    *memory.Store
}

// openExport reads all of a file, and keeps what is not the log.
func openExport(ctx context.Context, file string) (*exported, error) {
	x := &exported{file: file, store: memory.New()}
	next := map[int]uint64{}
	err := x.each(func(r export.Record) error { return x.take(ctx, r, next) })
	if err != nil {
		return nil, err
	}
	switch {
	case x.plan == nil:
		return nil, corruptExport("it has no app")
	case (x.manifest == nil) != (x.info.Checkpoint == 0):
		return nil, corruptExport("it is of checkpoint %d, and the manifest is not there", x.info.Checkpoint)
	}
	for p, l := range x.info.Logs {
		if at := max(next[p], l.From); l.To >= l.From && at != l.To+1 {
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
		if x.plan, err = siddhiql.CompileDeployed(string(r.Data)); err != nil {
			return fmt.Errorf("the app in it is refused by this version: %w", err)
		}
		if x.plan.Digest != x.info.Plan || x.plan.Name != x.info.App || len(x.info.Logs) != x.plan.Partitions {
			return corruptExport("its app is %q with plan %s and %d partitions, and its head says %q, %s and %d",
				x.plan.Name, x.plan.Digest, x.plan.Partitions, x.info.App, x.info.Plan, len(x.info.Logs))
		}
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
		if want := max(next[p], x.info.Logs[p].From); seq != want {
			return corruptExport("frame %d of partition %d stands where %d should", seq, p, want)
		}
		next[p] = seq + 1
	case export.KindEnd:
	}
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
	w := &rowWriter{out: out}
	for _, q := range x.plan.Queries {
		w.heads = append(w.heads, newHead(q))
	}
	frames, stop := x.frames(ctx)
	defer stop()
	for p := range x.info.Logs {
		t, err := rebuild.New(x.plan, uint32(p), x.info.Settings)
		if err != nil {
			return err
		}
		from := uint64(0)
		var skip wal.Skip
		if x.manifest != nil {
			part := &x.manifest.Partitions[p]
			if err := t.Load(ctx, objects, part, x.manifest.Epoch, 2); err != nil {
				return err
			}
			from, skip = part.Log.Sequence, lineage.SkipOf(part)
		}
		if from+1 != x.info.Logs[p].From {
			return corruptExport("the log of partition %d begins at %d, and the checkpoint was cut at %d", p, x.info.Logs[p].From, from)
		}
		to := rebuild.Target{Position: rebuild.Position{Sequence: max(x.info.Logs[p].To, from)}}
		watch := rebuild.Watch{Step: func(_ uint64, _ *frame.Frame, s engine.Step) { w.step(t, s) }}
		if _, err := t.Replay(ctx, &partitionLog{frames, p, limit, skip}, to, watch); err != nil {
			return err
		}
		if opt.Until != nil {
			if err := t.Advance(*opt.Until); err != nil {
				return err
			}
			w.write(t)
		}
		if opt.Digests {
			if err := writeTaskDigests(out, x.plan, p, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// rowWriter writes the rows that a task emits.
type rowWriter struct {
	out   *bufio.Writer
	heads []head
	input int // chunks of events applied so far
	row   []byte
}

func (w *rowWriter) step(t *rebuild.Task, s engine.Step) {
	if s.Event > 0 && !s.Duplicate {
		w.input++
	}
	w.write(t)
}

func (w *rowWriter) write(t *rebuild.Task) {
	for _, o := range t.Core.Outputs() {
		b, kinds := t.Core.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			w.row = w.heads[o.Query].appendRow(w.row[:0], b, i, kinds[i] == window.Expired)
			w.row = appendTail(w.row, o.Chunk, w.input, o.Clock)
			_, _ = w.out.Write(w.row) // bufio keeps the first error for Flush
		}
	}
	t.Core.ResetOutputs()
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

// frameStream reads the frames of a file a few ahead.
type frameStream struct {
	records chan placed
	failed  error   // set before records is closed
	first   *placed // was read, and is of a partition that comes later
}

// placed is a frame of a partition's log.
type placed struct {
	partition int
	record    wal.Record
}

// frames starts to read the frames of a file that was read before.
func (x *exported) frames(ctx context.Context) (*frameStream, func()) {
	ctx, cancel := context.WithCancel(ctx)
	s := &frameStream{records: make(chan placed, 16)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.records)
		s.failed = x.each(func(r export.Record) error {
			if r.Kind != export.KindFrame {
				return nil
			}
			p, seq, err := frameName(r.Name)
			if err != nil {
				return err
			}
			select {
			case s.records <- placed{p, wal.Record{Seq: seq, Data: bytes.Clone(r.Data)}}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return s, func() { cancel(); <-ended }
}

// partitionLog is the frames of one partition; all of them stand together in the file.
type partitionLog struct {
	*frameStream
	p     int
	limit *heapLimit
	skip  wal.Skip
}

// Next implements rebuild.Log.
func (l *partitionLog) Next(context.Context) (wal.Record, error) {
	s := l.frameStream
	if s.first == nil {
		r, open := <-s.records
		if !open {
			if s.failed != nil {
				return wal.Record{}, s.failed
			}
			return wal.Record{}, io.EOF
		}
		s.first = &r
	}
	if s.first.partition != l.p {
		return wal.Record{}, io.EOF
	}
	if err := l.limit.check(); err != nil {
		return wal.Record{}, err
	}
	r := s.first.record
	s.first = nil
	err := l.skip.Mark(&r)
	return r, err
}
