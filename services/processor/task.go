package processor

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// task runs one partition of one app: as a standby until it is promoted, then as the owner of
// the partition. It has what lasts longer than one attempt.
type task struct {
	service   *Service
	nc        *nats.Conn
	plan      *siddhiql.Plan // the plan that the task was made with; live is the one in force
	made      app            // the version that the task was made with
	partition uint32
	name      string // name of this incarnation in fences, for operators
	log       *slog.Logger
	status    status
	suspect   atomic.Uint64 // sequence of a frame that may have killed a process; 0: none

	streams  *resultStreams // the streams with results, of all versions
	views    *views
	standby  *standby // nil once the task owns the partition
	ticker   ticker   // of the owner
	end      *uint64  // the log's last sequence when the drain started
	refusals refusals // that were logged
}

func newTask(s *Service, a app, partition uint32) *task {
	t := &task{
		service: s, nc: s.cfg.Conn, plan: a.plan, made: a, partition: partition, name: nuid.Next(),
		log: s.cfg.Log.With("app", a.plan.Name, "partition", partition),
	}
	t.streams = &resultStreams{}
	t.status.changed = s.wake
	t.views = newViews(t)
	t.status.set(control.TaskStarting, nil)
	return t
}

// run runs the task until ctx ends, until it has drained, or until it halts.
func (t *task) run(ctx context.Context) {
	defer t.release()
	err := t.try(ctx)
	for wait := retryWait; unavailable(err) && ctx.Err() == nil; wait = min(2*wait, retryWaitMax) {
		t.log.Warn("the task starts again", "err", err, "in", wait)
		t.status.set(control.TaskStarting, err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
			err = t.try(ctx)
		}
	}
	switch {
	case ctx.Err() != nil:
		t.status.set(control.TaskStopped, nil)
	case errors.Is(err, errFenced), errors.Is(err, engine.ErrScaled):
		t.status.set(control.TaskFenced, err)
		t.log.Warn("task stopped: its partition was taken over", "err", err)
	case err != nil:
		t.status.set(control.TaskHalted, err)
		t.log.Error("task halted; the other tasks go on", "sequence", t.status.applied.Load()+1, "err", err)
	default:
		t.status.set(control.TaskDrained, nil)
	}
}

// release frees the memory of a task that has ended. A halted task stays listed.
func (t *task) release() {
	if t.standby != nil {
		t.standby.forget()
	}
	t.ticker.writer = nil
}

// unavailable reports whether err only says that NATS or the store does not answer at the
// moment, that the task was too slow, or that a stream does not exist yet, and nothing about
// their content. The task can start again: its state is a function of its log.
func unavailable(err error) bool {
	for _, passing := range []error{errStoreAway, errOvertaken, natsconn.ErrNoStream} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return natsconn.Transient(err)
}

// try makes one attempt; it returns why it ended.
func (t *task) try(ctx context.Context) (err error) {
	r := &replica{program: program{task: t}}
	r.progress = t.newProgress(ctx, "restore")
	defer func() { r.progress.end(err) }()
	if s := t.standby; s != nil {
		if err := s.run(ctx, r); err != nil {
			if r.reader != nil {
				r.reader.Close()
			}
			return err
		}
		t.log.Info("task is promoted")
		t.status.promoted.Store(true)
		defer s.reports.Wait()
		defer r.reader.Close()
		r.progress.end(nil)
		r.progress = t.newProgress(ctx, "promote")
	}
	o := newOwner(r)
	if err := o.open(ctx); err != nil {
		return err
	}
	emit, attached, err := o.takeOver(ctx)
	if err != nil {
		return err
	}
	t.status.box.Store(o.box)
	defer t.status.box.Store(nil)
	if t.standby != nil {
		err = o.takePromotion(ctx, t.standby, attached)
	} else if err = o.load(ctx, attached); err == nil {
		defer o.reader.Close()
	}
	if err != nil {
		return err
	}
	return o.run(ctx, emit)
}

func (t *task) logReader() wal.ReaderConfig {
	return wal.ReaderConfig{JS: t.service.js, Stream: natsconn.WALStream(t.plan.Name, t.partition), Log: t.log}
}
