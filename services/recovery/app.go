package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// history is a snapshot of everything that an app can be rebuilt from.
type history struct {
	s     *Service
	app   control.App
	plan  *siddhiql.Plan          // of the version that ingest serves
	first string                  // digest of the text of version 1
	refs  []control.CheckpointRef // committed, newest first
	logs  []logState              // by partition
	newer []map[string]result.Position
}

// logState is the log of a partition.
type logState struct {
	stream      jetstream.Stream
	created     time.Time
	first, last uint64
	bytes       int64
	messages    uint64
}

// look collects what a plan depends on: the app, its checkpoints, logs and newest results.
func (s *Service) look(ctx context.Context, app string) (*history, error) {
	if app == "" {
		return nil, failure(control.CodeInvalid, "which app? eventflux app ls lists them")
	}
	known, err := s.cfg.Control.App(ctx, control.AppRequest{App: app})
	if err != nil {
		return nil, err
	}
	h := &history{s: s, app: known}
	if h.plan, err = siddhiql.CompileDeployed(known.Text); err != nil {
		return nil, fmt.Errorf("the text of app %s is refused by this version: %w", app, err)
	}
	if h.first = known.Plan; known.Version > 1 {
		all, err := s.cfg.Control.History(ctx, control.AppRequest{App: app})
		if err != nil {
			return nil, err
		}
		h.first = all.Versions[0].Plan
		v, err := s.cfg.Control.Version(ctx, control.VersionRequest{App: app, Number: known.Version})
		if err != nil {
			return nil, err
		}
		if h.plan, err = engine.Compile(&frame.Version{Text: v.Text, Change: v.Change}); err != nil { // this keeps the names that the state uses
			return nil, fmt.Errorf("the text of app %s is refused by this version: %w", app, err)
		}
	}
	list, err := s.cfg.Control.Checkpoints(ctx, control.AppRequest{App: app})
	if err != nil {
		return nil, err
	}
	for _, c := range list.Checkpoints {
		if c.State == control.CheckpointCommitted {
			h.refs = append(h.refs, c.CheckpointRef)
		}
	}
	for p := range known.Partitions {
		log, err := s.lookAtLog(ctx, app, p)
		if err != nil {
			return nil, err
		}
		h.logs = append(h.logs, log)
		newest, err := s.newestResults(ctx, h.plan, p)
		if err != nil {
			return nil, err
		}
		h.newer = append(h.newer, newest)
	}
	return h, nil
}

func (s *Service) lookAtLog(ctx context.Context, app string, p uint32) (logState, error) {
	name := natsconn.WALStream(app, p)
	stream, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return logState{}, nil // the log has no frame yet
	}
	if err != nil {
		return logState{}, fmt.Errorf("log %s: %w", name, err)
	}
	info := stream.CachedInfo()
	return logState{
		stream: stream, created: info.Created, first: info.State.FirstSeq, last: info.State.LastSeq,
		bytes: int64(info.State.Bytes), messages: info.State.Msgs,
	}, nil
}

// complete reports whether the log still has its first frame.
func (l *logState) complete() bool { return l.first <= 1 }

// newestResults returns the position of the newest result of each stream of a partition.
func (s *Service) newestResults(ctx context.Context, plan *siddhiql.Plan, p uint32) (map[string]result.Position, error) {
	name := natsconn.OutStream(plan.Name, p)
	stream, err := s.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("output stream %s: %w", name, err)
	}
	return output.Of(plan, p).Newest(ctx, s.cfg.Conn, s.js, stream.CachedInfo().State.LastSeq)
}

// basis is a checkpoint with its manifest. The zero value means no checkpoint: the replay
// starts at the start of the log.
type basis struct {
	ref      control.CheckpointRef
	manifest *checkpoint.Manifest
}

func (c *basis) epoch() state.Epoch { return c.ref.Epoch }

// part is a partition's part of the checkpoint; nil for none.
func (c *basis) part(p uint32) *checkpoint.Partition {
	if c.manifest == nil {
		return nil
	}
	return &c.manifest.Partitions[p]
}

// barrier is the sequence after which the replay of partition p starts.
func (c *basis) barrier(p uint32) uint64 {
	if part := c.part(p); part != nil {
		return part.Log.Sequence
	}
	return 0
}

// unusable says why a checkpoint or a target cannot be used, and which command to run
// instead: "" means a restore to the nearest usable checkpoint.
type unusable struct{ why, next string }

func (u *unusable) Error() string { return u.why }

func unusablef(format string, args ...any) error {
	return &unusable{why: fmt.Sprintf(format, args...)}
}

// open reads the manifest of a checkpoint. The error is an *unusable if the checkpoint is
// the reason, and not the store.
func (h *history) open(ctx context.Context, ref control.CheckpointRef) (*basis, error) {
	m, err := checkpoint.ReadManifest(ctx, h.s.cfg.Store, ref.Manifest, ref.Digest)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		now, changed, asked := h.current(ctx, ref)
		if asked != nil {
			return nil, asked
		}
		if changed {
			ref = now
			m, err = checkpoint.ReadManifest(ctx, h.s.cfg.Store, ref.Manifest, ref.Digest)
		}
	}
	if errors.Is(err, checkpoint.ErrCorrupt) || errors.Is(err, checkpoint.ErrVersion) {
		return nil, unusablef("%v", err)
	}
	if err != nil {
		return nil, failure(control.CodeUnavailable, "read the manifest of checkpoint %d: %v", ref.Epoch, err)
	}
	if ref.Generation < h.app.Rescaled {
		return nil, unusablef("it is from before the app was scaled from %d partitions; eventflux app scale %s --partitions %[1]d goes back to that number, with the state as it is now", len(m.Partitions), h.plan.Name)
	}
	if m.App != h.plan.Name || m.Plan != h.first || len(m.Partitions) != int(h.app.Partitions) {
		return nil, unusablef("it belongs to app %q with plan %s and %d partitions, but this is app %q, deployed with plan %s and %d partitions",
			m.App, m.Plan, len(m.Partitions), h.plan.Name, h.first, h.app.Partitions)
	}
	return &basis{ref, m}, nil
}

// version returns the plan and the settings of the version of the app that is in force where
// a replay of partition p starts.
func (h *history) version(ctx context.Context, from *basis, p uint32) (*siddhiql.Plan, engine.Settings, error) {
	number, digest := uint32(1), h.first
	if from.manifest != nil {
		number, digest = from.manifest.VersionOf(p)
	}
	if number == 1 && h.app.Version <= 1 {
		return h.plan, h.app.Settings, nil
	}
	v, err := h.s.cfg.Control.Version(ctx, control.VersionRequest{App: h.app.Name, Number: number})
	if err != nil {
		return nil, engine.Settings{}, err
	}
	if v.Plan != digest || v.Text == "" {
		return nil, engine.Settings{}, unusablef("it needs the text of version %d of the app, with plan %s, which is no longer kept", number, digest)
	}
	plan, err := engine.Compile(&frame.Version{Text: v.Text, Change: v.Change})
	if err != nil {
		return nil, engine.Settings{}, fmt.Errorf("the text of version %d of app %s is refused by this version: %w", number, h.app.Name, err)
	}
	return plan, v.Settings, nil
}

// current looks a checkpoint up again, because a merger may have replaced its manifest.
func (h *history) current(ctx context.Context, ref control.CheckpointRef) (now control.CheckpointRef, changed bool, err error) {
	list, err := h.s.cfg.Control.Checkpoints(ctx, control.AppRequest{App: h.plan.Name})
	if err != nil {
		return ref, false, err
	}
	for _, c := range list.Checkpoints {
		if c.Epoch == ref.Epoch && c.State == control.CheckpointCommitted {
			return c.CheckpointRef, c.Digest != ref.Digest, nil
		}
	}
	return ref, false, unusablef("it has just been retired")
}

// checkBehind refuses a checkpoint if the log after it or its results are missing.
func (h *history) checkBehind(ctx context.Context, c *basis) error {
	for p := range h.app.Partitions {
		if h.app.After != nil && c.part(p).Log.Sequence < h.app.After[p] {
			return unusablef("partition %d: version 0.x wrote the log after it, up to %d, and only version 0.x can replay that", p, h.app.After[p])
		}
		if err := h.checkResults(c, p); err != nil {
			return err
		}
		if err := h.checkLog(ctx, c.part(p)); err != nil {
			return err
		}
	}
	return nil
}

// checkResults refuses a checkpoint that covers results that the output stream has lost.
func (h *history) checkResults(c *basis, p uint32) error {
	part := c.part(p)
	for stream, text := range part.Output.Positions {
		covered, err := result.Parse(fmt.Sprintf("%d:%s", generationOf(c.manifest), text))
		if err != nil {
			return unusablef("partition %d: %v", p, err)
		}
		if last := h.newer[p][stream]; covered.After(last) && last.Generation <= covered.Generation {
			return unusablef("partition %d: it covers results of %s up to %s, and output stream %s ends at %s: it lost its tail",
				p, stream, covered, part.Output.Stream, last)
		}
	}
	return nil
}

func (h *history) checkLog(ctx context.Context, part *checkpoint.Partition) error {
	log := &h.logs[part.Partition]
	l := &part.Log
	switch {
	case log.stream == nil:
		return unusablef("log %s is gone", l.Stream)
	case l.Sequence < log.first:
		return unusablef("log %s was trimmed: it starts at %d, but the barrier was at %d", l.Stream, log.first, l.Sequence)
	}
	if !log.created.Equal(l.Created) || log.last < l.Sequence {
		r, err := lineage.OpenBehind(ctx, h.s.reader(h.plan.Name, part.Partition), log.created, part)
		if err == nil {
			r.Close() // the log has grown since
			return nil
		}
		return asUnusable(err)
	}
	m, err := log.stream.GetMsg(ctx, l.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return unusablef("log %s has no frame at its barrier, sequence %d", l.Stream, l.Sequence)
	}
	if err != nil {
		return fmt.Errorf("read the barrier at %d of log %s: %w", l.Sequence, l.Stream, err)
	}
	return asUnusable(lineage.Check(m.Data, l))
}

func asUnusable(err error) error {
	var foreign *lineage.Error
	var trimmed *wal.TrimmedError
	if errors.As(err, &foreign) || errors.As(err, &trimmed) {
		return unusablef("%v", err)
	}
	return err
}

func (s *Service) reader(app string, p uint32) wal.ReaderConfig {
	return wal.ReaderConfig{JS: s.js, Stream: natsconn.WALStream(app, p), From: 1, Log: s.cfg.Log}
}

// openLog opens the log of a partition after a checkpoint, up to a sequence.
func (h *history) openLog(ctx context.Context, c *basis, p uint32, end uint64) (rebuild.Log, func(), error) {
	if h.logs[p].stream == nil {
		return nothing{}, func() {}, nil
	}
	r, err := h.openReader(ctx, c, p)
	if err != nil {
		return nil, nil, err
	}
	return &guardedLog{rebuild.Bounded(r, end), h, p}, r.Close, nil
}

// openReader opens the log of a partition after a checkpoint. The log must be there.
func (h *history) openReader(ctx context.Context, c *basis, p uint32) (r *wal.Reader, err error) {
	cfg := h.s.reader(h.plan.Name, p)
	if part := c.part(p); part != nil {
		r, err = lineage.OpenBehind(ctx, cfg, h.logs[p].created, part)
	} else {
		r, err = wal.OpenReader(ctx, cfg)
	}
	return r, asUnusable(err)
}

// death returns the frame of a partition that killed processes; nil for none.
func (h *history) death(p uint32) *control.Death {
	for i := range h.app.Deaths {
		if h.app.Deaths[i].Partition == p {
			return &h.app.Deaths[i]
		}
	}
	return nil
}

// deadly returns the sequence of that frame, or 0.
func (h *history) deadly(p uint32) uint64 {
	if d := h.death(p); d != nil {
		return d.Sequence
	}
	return 0
}

// guardedLog is a log that returns an error for a frame that killed processes: applying it would
// kill this process too.
type guardedLog struct {
	rebuild.Log
	h         *history
	partition uint32
}

// Next implements rebuild.Log.
func (w *guardedLog) Next(ctx context.Context) (wal.Record, error) {
	r, err := w.Log.Next(ctx)
	if err == nil && !r.Skipped && r.Seq == w.h.deadly(w.partition) {
		err = &rebuild.RecordError{Sequence: r.Seq, Err: fmt.Errorf("it was applied when %d processes died; eventflux recover %s --skip %d/%d goes on without it",
			w.h.death(w.partition).Count, w.h.plan.Name, w.partition, r.Seq)}
	}
	return r, err
}
