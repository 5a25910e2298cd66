package checkpointer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/rescale"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// startScaled divides the state of a checkpoint and commits it as the start of the generation
// with the new number of partitions. again says that something follows the checkpoint in a log,
// so that another one is needed.
func (sc *scaler) startScaled(ctx context.Context, a *appState, m *checkpoint.Manifest, run *scalingRun) (again bool, err error) {
	if _, err := sc.coordinators.ask(ctx, a.Name, message{kind: msgPause}); err != nil {
		return false, err
	}
	defer sc.coordinators.goOn(a.Name)
	if ended, err := sc.endsThere(ctx, m); err != nil || !ended {
		return !ended && err == nil, err
	}
	if a = sc.cfg.FSM.app(a.Name); a == nil || a.Removing || a.Scaling == nil {
		return false, removed(m.App)
	}
	next := *m
	next.Generation, next.Epoch, next.Term, next.Time = a.Generation+1, a.Newest+1, sc.termOf(a.Name), sc.cfg.Now().UTC()
	open := &command{Kind: kindOpen, App: a.Name, Epoch: next.Epoch, Term: next.Term, Time: next.Time, Scale: true}
	_, _ = rand.Read(open.ID[:]) // never fails
	if _, err := sc.propose(ctx, open); err != nil {
		return false, fmt.Errorf("open epoch %d: %w", next.Epoch, err)
	}
	faultpoint.Reach(faultpoint.ScaleOpen)
	err = sc.writeScaled(ctx, a, m, &next, open.ID, run)
	if err != nil {
		sc.until(run.leading, a.Name, msgAborted, func() error {
			_, err := sc.propose(run.leading, &command{Kind: kindAbort, App: a.Name, Epoch: next.Epoch, Reason: "the app could not be scaled"})
			return err
		})
		return false, err
	}
	faultpoint.Reach(faultpoint.ScaleStored)
	// The manifest is in the store, so this leader or the next one commits it.
	sc.until(run.leading, a.Name, msgCommitted, func() error { return sc.committer.commit(run.leading, a.Name, next.Epoch) })
	if run.leading.Err() != nil {
		return false, run.leading.Err()
	}
	faultpoint.Reach(faultpoint.ScaleCommit)
	sc.log.Info("app has another number of partitions", "app", a.Name, "partitions", len(next.Partitions), "generation", next.Generation, "epoch", next.Epoch)
	sc.nudge()
	return false, nil
}

// endsThere reports whether all logs are closed, and end with the barriers of a checkpoint.
func (sc *scaler) endsThere(ctx context.Context, m *checkpoint.Manifest) (bool, error) {
	for p := range m.Partitions {
		name := natsconn.WALStream(m.App, uint32(p))
		stream, err := sc.js.Stream(ctx, name)
		if err != nil {
			return false, fmt.Errorf("end of log %s: %w", name, err)
		}
		info := stream.CachedInfo()
		if !natsconn.WALClosed(info.Config, m.App, uint32(p)) {
			return false, fmt.Errorf("log %s is open again: another checkpointer leads, or someone has changed the stream", name)
		}
		if info.State.LastSeq != m.Partitions[p].Log.Sequence {
			return false, nil
		}
	}
	return true, nil
}

// writeScaled writes the state and the manifest of the new generation, and makes the streams of
// new partitions.
func (sc *scaler) writeScaled(ctx context.Context, a *appState, from, to *checkpoint.Manifest, id checkpoint.ID, run *scalingRun) error {
	plan, err := engine.Compile(&frame.Version{Text: a.Scaled.Text, Change: a.Scaled.Change})
	if err != nil {
		return err
	}
	r, err := engine.NewRescaling(plan, uint32(len(from.Partitions)), a.Scaled.Number)
	if err != nil {
		return err
	}
	run.total.Store(rescale.Entries(from.Partitions))
	run.step.Store(control.StepDivide)
	opt := checkpoint.WriterOptions{Epoch: to.Epoch, Choice: compress.Choice{Codec: compress.LZ4}, Parallel: scaleParallel}
	components, err := rescale.State(ctx, sc.cfg.Store, opt, from.Partitions, r, func(n int64) { run.read.Add(n) })
	if err != nil {
		return fmt.Errorf("divide the state of checkpoint %d: %w", from.Epoch, err)
	}
	faultpoint.Reach(faultpoint.ScaleSplit)
	run.step.Store("making the logs")
	logs, err := sc.streams.makeLogs(ctx, a, from, to, id)
	if err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ScaleLogs)
	run.step.Store("committing")
	to.Partitions = make([]checkpoint.Partition, len(components))
	for p := range components {
		to.Partitions[p] = checkpoint.Partition{
			Partition: uint32(p), Version: a.Scaled.Number, Plan: a.Scaled.Plan, Log: logs[p], Clock: from.Partitions[0].Clock,
			Output:     checkpoint.Output{Stream: natsconn.OutStream(a.Name, uint32(p)), Positions: map[string]string{}},
			Components: components[p],
		}
	}
	objects, err := sc.references.objects(ctx, to)
	if err != nil {
		return err
	}
	if err := sc.cfg.Raft.VerifyLeader(ctx); err != nil {
		return err
	}
	if ended, err := sc.endsThere(ctx, from); err != nil || !ended {
		return errors.Join(err, fmt.Errorf("a log has gone on while the state was divided"))
	}
	return sc.committer.putManifest(ctx, to, objects)
}

// makeLogs makes the streams of new partitions, and returns where the log of each partition
// starts. A log that was there goes on after the last barrier. A new one, and one that the app
// had before it was scaled down, gets a barrier.
func (sk *streamKeeper) makeLogs(ctx context.Context, a *appState, from, to *checkpoint.Manifest, id checkpoint.ID) ([]checkpoint.Lineage, error) {
	done, err := sk.turn(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := natsconn.EnsureApp(ctx, sk.js, a.Name, max(a.Partitions, a.Scaling.To), sk.cfg.Streams, sinkSubjects(a, a.Scaled.Text)...); err != nil {
		return nil, err
	}
	logs := make([]checkpoint.Lineage, a.Scaling.To)
	cut := frame.Cut{Epoch: uint64(to.Epoch), Term: uint64(to.Term), ID: id}
	d := deployment(&a.App, a.Scaled)
	return logs, eachPartition(a.Scaling.To, func(p uint32) error {
		if int(p) < len(from.Partitions) {
			logs[p] = from.Partitions[p].Log
			return nil
		}
		stream, err := sk.js.Stream(ctx, natsconn.WALStream(a.Name, p))
		if err != nil {
			return err
		}
		if stream.CachedInfo().State.LastSeq == 0 {
			if err := d.AppendClosed(ctx, sk.js, p); err != nil {
				return err
			}
		}
		seq, crc, err := wal.AppendBarrierClosed(ctx, sk.js, a.Name, p, to.Time.UnixMilli(), cut)
		logs[p] = checkpoint.Lineage{Stream: natsconn.WALStream(a.Name, p), Created: stream.CachedInfo().Created, Sequence: seq, ID: id, CRC: crc}
		return err
	})
}
