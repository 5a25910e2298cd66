package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// task runs one partition of one app.
type task struct {
	service   *Service
	nc        *nats.Conn
	plan      *siddhiql.Plan // the plan that the task was made with; live is the one in force
	made      app            // the version that the task was made with
	partition uint32
	owner     string // name of this incarnation in fences, for operators
	log       *slog.Logger
	status    status
	suspect   atomic.Uint64 // sequence of a frame that may have killed a process; 0: none

	// Of one run.
	generation checkpoint.Generation
	core       *engine.Task
	live       *siddhiql.Plan // of the version in force
	streams    *resultStreams // the streams with results, of all versions
	created    time.Time      // of the log's JetStream stream
	decoder    frame.Decoder
	reader     *wal.Reader
	ticks      *wal.Writer
	ticked     int64     // stamp of the newest tick that was appended
	idled      int64     // input clock of the newest idle tick that was appended, with idleTick
	idleTick   bool      // one was appended
	quiet      time.Time // when the last event arrived, with idle.time; zero: not known
	renderer   *renderer
	box        *outbox
	late       *outbox          // for dead letters
	last       []position       // by slot: the newest result of the generation at the takeover
	mute       position         // results before it are suppressed; zero: none are
	newest     uint64           // log sequence of the newest result of any generation
	start      checkpoint.Start // of the generation: it has no results up to there; zero: none
	ahead      bool             // the start is after the barrier of the checkpoint
	out        outEnd           // at the takeover; zero for a standby
	recorded   uint64           // last sequence of the output stream in the record at the takeover
	held       bool             // the task stops at the start
	end        *uint64          // the log's last sequence when the drain started
	saver      *saver           // nil without checkpoints
	standby    *standby         // nil for the owner of the partition
	progress   *progress
	measured   time.Time // when the memory of the state was estimated last
}

func newTask(s *Service, a app, partition uint32) *task {
	t := &task{
		service: s, nc: s.cfg.Conn, plan: a.plan, made: a, partition: partition, owner: nuid.Next(),
		log: s.cfg.Log.With("app", a.plan.Name, "partition", partition),
	}
	t.streams = &resultStreams{}
	t.status.changed = s.wake
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
	case errors.Is(err, errFenced):
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
	t.core, t.live, t.renderer, t.box, t.late, t.saver, t.reader, t.ticks = nil, nil, nil, nil, nil, nil, nil, nil
	t.decoder = frame.Decoder{}
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

// try opens what the task needs and runs its parts; it returns why it ended.
func (t *task) try(ctx context.Context) (err error) {
	t.progress = t.newProgress(ctx, "restore")
	defer func() { t.progress.end(err) }()
	if t.standby != nil {
		if err := t.standBy(ctx); err != nil {
			if t.reader != nil {
				t.reader.Close()
			}
			return err
		}
		t.log.Info("task is promoted")
		t.status.promoted.Store(true)
		defer t.standby.reports.Wait()
		defer t.reader.Close()
		t.progress.end(nil)
		t.progress = t.newProgress(ctx, "promote")
	}
	if err := t.open(ctx); err != nil {
		return err
	}
	if err := t.checkMark(ctx); err != nil {
		return err
	}
	t.progress.Next("attach")
	attached, err := t.attach(ctx)
	if err != nil {
		return err
	}
	t.generation, t.held = max(attached.Generation, 1), attached.Held
	t.status.generation.Store(uint64(t.generation))
	t.progress.Next("fence")
	emit, err := t.takeOver(ctx)
	if err != nil {
		return err
	}
	t.box, t.late = newOutbox(), newOutbox()
	t.status.box.Store(t.box)
	defer t.status.box.Store(nil)
	if t.standby != nil {
		err = t.takePromotion(ctx, attached)
	} else if err = t.restore(ctx, attached); err == nil {
		defer t.reader.Close()
	}
	if err != nil {
		return err
	}
	if err := t.checkTail(ctx, t.reader.Tail(), emit.last); err != nil {
		return err
	}
	t.status.owner.Store(true)
	defer t.status.owner.Store(false)
	t.log.Info("task took over", "checkpoint", t.status.restored.Load(), "from", t.reader.Position(), "log_end", t.reader.Tail())
	t.progress.replay(t.reader)
	t.status.set(control.TaskReplaying, nil)

	letters, err := newLetters(t.nc, t.plan.Name, t.partition, t.generation, t.log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return emit.run(ctx, t.box) })
	group.Go(func() error { return letters.run(ctx, t.late) })
	group.Go(func() error { return t.ticks.Run(ctx) })
	group.Go(func() error { return t.checkResults(ctx) })
	if t.saver != nil {
		group.Go(func() error { return t.saver.run(ctx) })
	}
	group.Go(func() error {
		defer cancel() // ends the others
		if t.standby != nil {
			if err := t.putOut(ctx); err != nil {
				return err
			}
		}
		return t.consume(ctx)
	})
	return group.Wait()
}

// open makes what a run needs, and looks for the streams.
func (t *task) open(ctx context.Context) error {
	log, err := natsconn.FindWAL(ctx, t.service.js, t.plan.Name, t.partition)
	if err != nil {
		return err
	}
	t.created = log.CachedInfo().Created
	if _, err := natsconn.FindOut(ctx, t.service.js, t.plan.Name, t.partition); err != nil {
		return err
	}
	t.ticked, t.idleTick = 0, false // ticks of the former writer may be lost
	t.ticks, err = wal.NewWriter(wal.WriterConfig{Conn: t.nc, App: t.plan.Name, Partition: t.partition, Witness: t.service.cfg.Witness, Log: t.log})
	return err
}

// openLog starts reading the log.
func (t *task) openLog(ctx context.Context, from uint64) (err error) {
	cfg := t.logReader()
	cfg.From = from
	t.reader, err = wal.OpenReader(ctx, cfg)
	return err
}

func (t *task) logReader() wal.ReaderConfig {
	return wal.ReaderConfig{JS: t.service.js, Stream: natsconn.WALStream(t.plan.Name, t.partition), Log: t.log}
}

// consume applies frame after frame. It returns nil when the task has drained.
func (t *task) consume(ctx context.Context) error {
	defer context.AfterFunc(ctx, t.core.Interrupt)()
	t.measure()
	for {
		if t.reader.AtTail() {
			t.progress.end(nil)
			t.status.caughtUp()
		}
		if t.held && t.reader.Position() > t.start.Sequence {
			t.progress.end(nil)
			if err := t.thawAll(ctx); err != nil {
				return err
			}
			return t.hold(ctx)
		}
		since := time.Now()
		idle := t.reader.AtTail()
		record, more, err := t.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			t.box.flush(ctx)
			t.late.flush(ctx)
			return nil
		}
		if idle {
			since = time.Now()
		}
		t.status.pace.begin(since, t.reader.AtTail())
		made := t.box.mark()
		t.applyDecision()
		t.status.tail.Store(t.reader.Tail())
		t.status.atHand.Store(record.Time.UnixMilli())
		events, err := t.apply(ctx, record)
		if err != nil {
			return err
		}
		t.preEncode()
		t.measureSoon()
		if _, err := t.thaw(ctx); err != nil {
			return err
		}
		t.status.atHand.Store(0)
		t.status.pace.end(time.Now(), events, len(record.Data), t.box.mark()-made)
	}
}

// apply applies one frame and passes its results to the outbox. It returns how many events
// the frame had, including repeated ones. A panic halts this task, and no other: the state
// may be half changed, but nothing durable is.
func (t *task) apply(ctx context.Context, record wal.Record) (events int, err error) {
	defer caught(record.Seq, &err)
	if record.Skipped {
		t.core.Skip(record.Seq, &t.decoder, record.Data)
		t.status.count(record.Seq, engine.Applied{}, 0, t.core.Dropped())
		return 0, nil
	}
	f, done, err := t.applyFrame(ctx, record)
	if err != nil {
		return 0, err
	}
	events = f.Rows()
	results, open := t.render(ctx, record.Seq)
	open = t.bury(ctx, record.Seq) && open
	t.core.ResetOutputs()
	t.status.count(record.Seq, done, results, t.core.Dropped())
	t.status.setTimes(t.core.Times())
	if !open {
		return 0, context.Cause(ctx) // the emitter has ended with this reason
	}
	if f.Kind == frame.Events && t.live.Idle > 0 {
		t.quiet = faultpoint.Now()
	}
	if f.Kind == frame.Barrier && !done.Repeated {
		err = t.cut(ctx, record.Seq, f)
	}
	return events, err
}

// render passes the results of frame seq to the outbox. If the frame has put a new version in
// force, it passes the results of the former version first, and then switches. It returns
// false if the outbox has closed.
func (t *task) render(ctx context.Context, seq uint64) (results int, open bool) {
	at := position{seq: seq}
	if before := t.core.Earlier(); before != nil {
		if results, open = t.renderer.render(ctx, t.box, before, &at, t.last); !open {
			return results, false
		}
	}
	if m := t.core.Upgraded(); m != nil {
		t.change(m)
	}
	more, open := t.renderer.render(ctx, t.box, t.core.Engine, &at, t.last)
	if t.status.version.Load() == 0 {
		t.noteVersion()
	}
	return results + more, open
}

// caught turns a panic into an error.
func caught(seq uint64, err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("log sequence %d: panic: %v; please report it with this stack:\n%s", seq, cause, debug.Stack())
	}
}

// applyFrame applies one frame; its results are the engine's.
func (t *task) applyFrame(ctx context.Context, record wal.Record) (f *frame.Frame, done engine.Applied, err error) {
	defer t.service.working(t, record.Seq)()
	faultpoint.ReachFrame(t.plan.Name, t.partition, record.Seq)
	if f, err = t.decoder.Decode(record.Data); err == nil {
		switch {
		case f.Kind == frame.Deploy:
			done, err = t.applyVersion(ctx, record.Seq, f)
		case record.Seq == t.start.Sequence && t.start.Event > 0:
			done, err = t.applyStart(record.Seq, f)
		default:
			done, err = t.core.Apply(record.Seq, f)
		}
	}
	if err != nil {
		err = fmt.Errorf("log sequence %d: %w", record.Seq, err)
	}
	var limit *engine.LimitError
	if errors.As(err, &limit) {
		err = fmt.Errorf("%w; nothing of this frame was published; %s", err, pastLimit(t.plan.Name))
	}
	return f, done, err
}

// pastLimit returns what an operator can do about an app that exceeds one of its limits.
func pastLimit(app string) string {
	return fmt.Sprintf("eventflux recover %[1]s --skip SEQ goes on without the frame; else change the app or raise the limit, and deploy it again: eventflux app rm %[1]s, then eventflux app deploy", app)
}

// applyStart applies the frame where the generation starts. Only events after the start have
// results, and none of the frame if the task is held.
func (t *task) applyStart(seq uint64, f *frame.Frame) (engine.Applied, error) {
	until := engine.Until{Step: func(s engine.Step) {
		if s.Event > 0 && s.Event <= t.start.Event {
			t.muteTo(position{seq, rowsOf(t.core.Outputs())})
		}
	}}
	if t.held {
		until.Event = t.start.Event
	}
	done, err := t.core.ApplyUntil(seq, f, &until)
	return done.Applied, err
}

func rowsOf(outputs []engine.Output) (n uint64) {
	for _, o := range outputs {
		n += uint64(o.To - o.From)
	}
	return n
}

// muteTo suppresses results before a position, as far as they are already published: the
// former generation may not have reached that position.
func (t *task) muteTo(all position) {
	t.mute = all
	for s := range t.last {
		t.muteSlot(s)
	}
}

func (t *task) muteSlot(s int) {
	end := t.out.before(s, t.mute)
	// A result is at end or later if it is later than the position just before end.
	before := position{seq: end.seq - 1, ordinal: math.MaxUint64}
	if end.ordinal > 0 {
		before = position{end.seq, end.ordinal - 1}
	}
	if before.after(t.last[s]) {
		t.last[s] = before
	}
}

// hold waits until the task has to end: a release starts it again.
func (t *task) hold(ctx context.Context) error {
	t.status.set(control.TaskHeld, nil)
	select {
	case <-ctx.Done():
	case <-t.service.running.Done():
	}
	return ctx.Err()
}

// next returns the next frame of the log. While the log is idle, it appends a tick when a
// timer is due. more is false once the task has drained.
func (t *task) next(ctx context.Context) (record wal.Record, more bool, err error) {
	for {
		if !t.reader.AtTail() {
			record, err = t.read(ctx)
			return record, true, err
		}
		if more, err := t.thaw(ctx); err != nil {
			return record, true, err
		} else if more {
			continue
		}
		drained, err := t.drained(ctx)
		if err != nil || drained {
			return wal.Record{}, false, err
		}
		t.preEncode()
		record, err := t.await(ctx)
		if !errors.Is(err, errIdle) {
			return record, true, err
		}
	}
}

// read returns the next record of the log. If the log was trimmed for a newer checkpoint, the
// task restarts from that one: it may be a standby that lagged. A standby that reaches a hole
// restarts too.
func (t *task) read(ctx context.Context) (wal.Record, error) {
	record, err := t.reader.Next(ctx)
	var trimmed *wal.TrimmedError
	var gap *wal.GapError
	if errors.As(err, &trimmed) || errors.As(err, &gap) && t.follows() {
		err = fmt.Errorf("%w: %w", errOvertaken, err)
	}
	return record, err
}

// follows reports whether the task is a standby. A standby can skip a hole in the log: the
// owner has passed it, and the owner's next checkpoint covers it.
func (t *task) follows() bool { return t.standby != nil && !t.status.promoted.Load() }

var errIdle = errors.New("nothing came")

// await waits for a frame. When a tick is due or the task has to drain, it returns errIdle.
func (t *task) await(ctx context.Context) (wal.Record, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	if left, err := t.idle(); err != nil {
		return wal.Record{}, err
	} else if left > 0 {
		timer := time.AfterFunc(left, cancel)
		defer timer.Stop()
	}
	if due, ok := t.core.NextTick(); ok && due > t.ticked {
		now := faultpoint.Now().UnixMilli()
		if due <= now {
			if err := t.ticks.AppendTick(now, nil); err != nil {
				return wal.Record{}, fmt.Errorf("append tick: %w", err)
			}
			t.ticked = now
		} else {
			timer := time.AfterFunc(time.Duration(due-now)*time.Millisecond, cancel)
			defer timer.Stop()
		}
	}
	if t.end == nil {
		stop := context.AfterFunc(t.service.running, cancel)
		defer stop()
	}
	record, err := t.read(wait)
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return wal.Record{}, errIdle
	}
	return record, err
}

// idle appends a tick that advances the input clock of a playback app if no event has arrived
// for its idle.time. It returns how long to wait before the next call, or 0 to wait for the
// next frame. While a tick is pending, it appends no other: NATS may be unavailable for long.
func (t *task) idle() (time.Duration, error) {
	if t.live.Idle == 0 {
		return 0, nil
	}
	input, began := t.core.Input()
	if !began || input > math.MaxInt64-t.live.Increment {
		return 0, nil
	}
	next := input + t.live.Increment
	if t.idleTick && next <= t.idled {
		return 0, nil
	}
	now, span := faultpoint.Now(), time.Duration(min(t.live.Idle, idleMax))*time.Millisecond
	if t.quiet.IsZero() {
		t.quiet = now
	}
	if now.Sub(t.quiet) >= span {
		if err := t.ticks.AppendClock(now.UnixMilli(), next, nil); err != nil {
			return 0, fmt.Errorf("append tick: %w", err)
		}
		t.quiet, t.idled, t.idleTick = now, next, true
		return 0, nil
	}
	return span - now.Sub(t.quiet), nil
}

// idleMax is the longest idle.time that can be waited for, ms.
const idleMax = math.MaxInt64 / int64(time.Millisecond)

// drained reports whether the task has to drain and has applied the frames that its log held
// when the drain started.
func (t *task) drained(ctx context.Context) (bool, error) {
	if t.service.running.Err() == nil {
		return false, nil
	}
	if t.end == nil {
		end, err := lastSequence(ctx, t.nc, natsconn.WALStream(t.plan.Name, t.partition))
		if err != nil {
			return false, fmt.Errorf("end of the log: %w", err)
		}
		t.end = &end
	}
	return t.reader.Position() > *t.end, nil
}
