package processor

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// owner runs a partition: it publishes results, takes part in checkpoints and appends ticks.
type owner struct {
	*replica
	fencer  fencer
	gauge   gauge
	box     *outbox
	late    *outbox // for dead letters
	viewing bool    // the views were started
}

func newOwner(r *replica) *owner {
	return &owner{replica: r, fencer: fencer{task: r.task}, gauge: gauge{task: r.task}, box: newOutbox(), late: newOutbox()}
}

// open makes what a run needs, and looks for the streams.
func (o *owner) open(ctx context.Context) error {
	log, err := natsconn.FindWAL(ctx, o.service.js, o.plan.Name, o.partition)
	if err != nil {
		return err
	}
	o.created = log.CachedInfo().Created
	if _, err := natsconn.FindOut(ctx, o.service.js, o.plan.Name, o.partition); err != nil {
		return err
	}
	subject := natsconn.RoutedSubject(o.plan.Name, o.partition, o.made.scalings)
	ticks, err := wal.NewWriter(wal.WriterConfig{Conn: o.nc, App: o.plan.Name, Partition: o.partition, Subject: subject, Witness: o.service.cfg.Witness, Log: o.log})
	o.ticker.start(ticks)
	return err
}

// takeOver takes the partition over: at the checkpointer, and in the output stream.
func (o *owner) takeOver(ctx context.Context) (emit *emitter, attached control.Attached, err error) {
	if err := o.fencer.checkLoss(ctx); err != nil {
		return nil, attached, err
	}
	o.progress.Next("attach")
	if attached, err = o.attach(ctx); err != nil {
		return nil, attached, err
	}
	o.fencer.generation, o.held = max(attached.Generation, 1), attached.Held
	o.status.generation.Store(uint64(o.fencer.generation))
	o.progress.Next("fence")
	emit, o.published, err = o.fencer.takeOver(ctx)
	return emit, attached, err
}

// load restores the state of a task that did not stand by.
func (o *owner) load(ctx context.Context, attached control.Attached) error {
	o.generation = o.fencer.generation
	return o.restore(ctx, attached)
}

// run runs the parts of an owner that has its state until the task has drained.
func (o *owner) run(ctx context.Context, emit *emitter) error {
	if err := o.fencer.checkTail(ctx, o.reader.Tail(), o.published.newest, emit.last); err != nil {
		return err
	}
	o.status.owner.Store(true)
	defer o.status.owner.Store(false)
	o.log.Info("task took over", "checkpoint", o.status.restored.Load(), "from", o.reader.Position(), "log_end", o.reader.Tail())
	o.progress.replay(o.reader)
	o.status.set(control.TaskReplaying, nil)

	letters, err := newLetters(o.nc, o.plan.Name, o.partition, o.generation, o.log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return emit.run(ctx, o.box) })
	group.Go(func() error { return letters.run(ctx, o.late) })
	group.Go(func() error { return o.ticker.writer.Run(ctx) })
	group.Go(func() error { return o.fencer.checkResults(ctx) })
	group.Go(func() error { o.views.run(ctx); return nil })
	if o.saver != nil {
		o.saver.box, o.saver.late = o.box, o.late
		group.Go(func() error { return o.saver.run(ctx) })
	}
	group.Go(func() error {
		defer cancel() // ends the others
		if o.standby != nil {
			if err := o.publishKept(ctx, o.standby); err != nil {
				return err
			}
		}
		return o.consume(ctx)
	})
	return group.Wait()
}

// consume applies frame after frame. It returns nil when the task has drained.
func (o *owner) consume(ctx context.Context) error {
	defer context.AfterFunc(ctx, o.core.Interrupt)()
	o.gauge.measure(o.replica)
	o.viewing = false
	tail := o.reader.Tail()
	for {
		if o.reader.AtTail() {
			o.progress.end(nil)
			o.status.caughtUp()
		}
		o.keepViews(tail)
		if o.held && o.reader.Position() > o.start.Sequence {
			o.progress.end(nil)
			if err := o.saver.thawAll(ctx); err != nil {
				return err
			}
			return o.pause(ctx)
		}
		since := time.Now()
		idle := o.reader.AtTail()
		record, more, err := o.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			o.box.flush(ctx)
			o.late.flush(ctx)
			return nil
		}
		if idle {
			since = time.Now()
		}
		o.status.pace.begin(since, o.reader.AtTail())
		made := o.box.count()
		o.saver.applyDecision()
		o.status.tail.Store(o.reader.Tail())
		o.status.atHand.Store(record.Time.UnixMilli())
		events, err := o.apply(ctx, record)
		if err != nil {
			return err
		}
		o.saver.preEncode()
		o.gauge.measureSoon(o.replica)
		if _, err := o.saver.thaw(ctx); err != nil {
			return err
		}
		o.status.atHand.Store(0)
		o.status.pace.end(time.Now(), events, len(record.Data), o.box.count()-made)
	}
}

// apply applies one frame and passes its results to the outbox. It returns how many events
// the frame had, including repeated ones. A panic halts this task, and no other: the state
// may be half changed, but nothing durable is.
func (o *owner) apply(ctx context.Context, record wal.Record) (events int, err error) {
	defer caught(record.Seq, &err)
	if record.Skipped {
		o.core.Skip(record.Seq, &o.decoder, record.Data)
		o.status.count(record.Seq, engine.Applied{}, 0, o.core)
		return 0, nil
	}
	f, done, err := o.applyFrame(ctx, record)
	if err != nil {
		return 0, err
	}
	events = f.Rows()
	results, open := o.render(ctx, record.Seq)
	open = o.bury(ctx, record.Seq) && open
	o.core.ResetOutputs()
	o.status.count(record.Seq, done, results, o.core)
	o.logRefused(time.Now())
	o.status.setTimes(o.core.Times())
	if !open {
		return 0, context.Cause(ctx) // the emitter has ended with this reason
	}
	if o.live.Idle > 0 && engine.HasEvents(f) {
		o.ticker.quiet = faultpoint.Now()
	}
	if f.Kind == frame.Barrier && !done.Repeated {
		err = o.cut(ctx, record.Seq, f)
	}
	return events, err
}

// render passes the results of frame seq to the outbox. If the frame has put a new version in
// force, it passes the results of the former version first, and then switches. It returns
// false if the outbox has closed.
func (o *owner) render(ctx context.Context, seq uint64) (results int, open bool) {
	at := position{seq: seq}
	if before := o.core.Earlier(); before != nil {
		if results, open = o.renderer.render(ctx, o.box, before, &at, &o.published); !open {
			return results, false
		}
	}
	if m := o.core.Upgraded(); m != nil {
		o.change(o.saver, m)
		o.serveViews()
	}
	more, open := o.renderer.render(ctx, o.box, o.core.Engine, &at, &o.published)
	if o.status.version.Load() == 0 {
		o.noteVersion()
	}
	return results + more, open
}

// bury puts the dead letters of frame seq into the outbox; it returns false if that is closed.
func (o *owner) bury(ctx context.Context, seq uint64) bool {
	late := o.core.Late()
	if len(late) == 0 {
		return true
	}
	return o.late.fill(ctx, func(p *messageBatch) {
		before := len(p.messages)
		o.appendLate(p, seq, late)
		o.status.deadLetters.Add(uint64(len(p.messages) - before))
	})
}
