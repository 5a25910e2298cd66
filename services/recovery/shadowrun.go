package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/log/wal"
)

const (
	// shadowRetry is how long a shadow waits after trouble that can pass, before it starts over.
	shadowRetry = 5 * time.Second
	// caughtUpMax is how long an answer waits for a shadow to come to the end of the log.
	caughtUpMax  = 30 * time.Second
	caughtUpLook = 10 * time.Millisecond
)

// shadowRun is the shadow of an app in this process.
type shadowRun struct {
	s      *Service
	app    string
	id     uint64
	cancel context.CancelFunc
	done   chan struct{} // closed when it has stopped

	mu    sync.Mutex // guards the rest
	of    control.Shadow
	state control.ShadowState
	err   error
	parts []*shadowPartition // nil until the checkpoint is loaded
}

// shadowPartition is a partition of it.
type shadowPartition struct {
	log     *wal.Reader
	guarded *guardedLog // over log
	run     *shadowRun

	mu   sync.Mutex // guards pair
	pair *shadow.Pair
}

// startShadow runs a shadow until ctx ends or it is canceled.
func (s *Service) startShadow(ctx context.Context, app string, of *control.Shadow) (*shadowRun, error) {
	r := &shadowRun{s: s, app: app, id: of.ID, of: *of, state: control.ShadowStarting, done: make(chan struct{})}
	ctx, r.cancel = context.WithCancel(ctx)
	var work sync.WaitGroup
	info, err := r.serve(ctx, &work)
	if err != nil {
		r.cancel()
		return nil, err
	}
	s.cfg.Log.Info("run a shadow", "app", app, "checkpoint", of.Checkpoint)
	work.Go(func() { r.yield(ctx) })
	work.Go(func() { r.keep(ctx) })
	go func() {
		<-ctx.Done()
		_ = info.Stop() // the connection may be gone already
		work.Wait()
		close(r.done)
	}()
	return r, nil
}

// over reports whether it was given up.
func (r *shadowRun) over() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// set takes over what Raft has of the shadow now.
func (r *shadowRun) set(of *control.Shadow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of = *of
}

func (r *shadowRun) enter(state control.ShadowState, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.err = state, err
}

// follows records that the shadow has caught up. It is a function of the log, so it does not kill
// its process before that any more.
func (r *shadowRun) follows(ctx context.Context) {
	r.mu.Lock()
	first := r.state == control.ShadowCatchingUp
	if first {
		r.state = control.ShadowFollowing
	}
	r.mu.Unlock()
	if first {
		r.s.forgetStarts(ctx, r.app)
	}
}

// keep runs the shadow again and again until ctx ends, or an error shows that it cannot go on.
func (r *shadowRun) keep(ctx context.Context) {
	for {
		err := r.s.countStart(ctx, r.app, r.id)
		if err == nil {
			err = r.follow(ctx)
			r.s.forgetStarts(context.WithoutCancel(ctx), r.app)
		}
		if ctx.Err() != nil {
			return
		}
		if lasting(err) {
			r.enter(control.ShadowFailed, err)
			r.s.cfg.Log.Warn("a shadow has failed", "app", r.app, "err", err)
			return
		}
		r.enter(control.ShadowStarting, err)
		r.s.cfg.Log.Warn("a shadow starts over", "app", r.app, "err", err)
		select {
		case <-time.After(shadowRetry):
		case <-ctx.Done():
		}
	}
}

// lasting reports whether an error of a shadow would come again.
func lasting(err error) bool {
	var ofNew *shadow.NewError
	var ofRecord *rebuild.RecordError
	var wrong *unusable
	code := control.Code(err)
	return errors.As(err, &ofNew) || errors.As(err, &ofRecord) || errors.As(err, &wrong) || errors.Is(err, engine.ErrRefused) ||
		code == control.CodeInvalid || code == control.CodeNotFound
}

// follow loads the checkpoint and compares the versions over the log after it.
func (r *shadowRun) follow(ctx context.Context) (err error) {
	parts, err := r.open(ctx)
	defer func() {
		for _, part := range parts {
			part.log.Close()
		}
	}()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.parts, r.state, r.err = parts, control.ShadowCatchingUp, nil
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.parts = nil
		r.mu.Unlock()
	}()
	group, within := errgroup.WithContext(ctx)
	pace := newPace(r.s.cfg.ShadowRate)
	for _, part := range parts {
		group.Go(func() error { return part.follow(within, pace) })
	}
	return group.Wait()
}

// open loads each partition twice, changes one of the two, and opens the logs.
func (r *shadowRun) open(ctx context.Context) (parts []*shadowPartition, err error) {
	h, err := r.s.look(ctx, r.app)
	if err != nil {
		return nil, err
	}
	of := h.app.Shadow
	if of == nil || of.ID != r.id {
		return nil, unusablef("it was stopped")
	}
	i := slices.IndexFunc(h.refs, func(c control.CheckpointRef) bool { return c.Epoch == of.Checkpoint })
	if i < 0 {
		return nil, unusablef("checkpoint %d is not retained any more", of.Checkpoint)
	}
	from, err := h.open(ctx, h.refs[i])
	if err != nil {
		return nil, err
	}
	release, err := r.s.rebuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	for p := range h.app.Partitions {
		part, err := r.openPartition(ctx, h, from, p, of)
		if err != nil {
			return parts, fmt.Errorf("partition %d: %w", p, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

func (r *shadowRun) openPartition(ctx context.Context, h *history, from *basis, p uint32, of *control.Shadow) (*shadowPartition, error) {
	load := &rebuildRun{workers: r.s.cfg.Workers}
	old, err := h.load(ctx, from, p, load)
	if err != nil {
		return nil, err
	}
	copied, err := h.load(ctx, from, p, load)
	if err != nil {
		return nil, err
	}
	pair, _, err := shadow.NewPair(shadow.NewComparer(r.app), int(p), old, copied, of.Text, engine.MigrateOptions{Drop: of.Drop})
	if err != nil {
		return nil, err
	}
	log, err := h.openReader(ctx, from, p)
	if err != nil {
		return nil, err
	}
	return &shadowPartition{log: log, guarded: &guardedLog{log, h, p}, run: r, pair: pair}, nil
}

// follow applies the log of the partition until ctx ends.
func (p *shadowPartition) follow(ctx context.Context, pace *pace) error {
	defer context.AfterFunc(ctx, p.interrupt)()
	behind := true
	for {
		if behind && p.run.behind() == 0 {
			behind = false
			p.run.follows(ctx)
		}
		record, err := p.guarded.Next(ctx)
		if err != nil {
			return err
		}
		if err := pace.step(ctx, behind, func() (uint64, error) { return p.step(record) }); err != nil {
			return err
		}
	}
}

// interrupt ends the application of a frame.
func (p *shadowPartition) interrupt() {
	p.pair.Old.Core.Interrupt()
	p.pair.New.Core.Interrupt()
}

// step applies a record in both versions, and returns how many events it has. A panic is an error
// of the new version: the old one has applied the record elsewhere.
func (p *shadowPartition) step(record wal.Record) (events uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if cause := recover(); cause != nil {
			err = &shadow.NewError{Err: fmt.Errorf("panic at log sequence %d: %v", record.Seq, cause)}
		}
	}()
	before := p.pair.Events()
	err = p.pair.Step(record)
	return p.pair.Events() - before, err
}

// position returns the sequence of the newest record that was compared.
func (p *shadowPartition) position() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pair.Old.Position().Sequence
}

// behind returns how many frames of the logs are known that were not compared yet.
func (r *shadowRun) behind() (frames uint64) {
	r.mu.Lock()
	parts := r.parts
	r.mu.Unlock()
	for _, p := range parts {
		if at, tail := p.position(), p.log.Tail(); tail > at {
			frames += tail - at
		}
	}
	return frames
}

// different returns how many rows differ so far.
func (r *shadowRun) different() (rows uint64) {
	r.mu.Lock()
	parts := r.parts
	r.mu.Unlock()
	for _, p := range parts {
		p.mu.Lock()
		rows += p.pair.Different()
		p.mu.Unlock()
	}
	return rows
}

func (r *shadowRun) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state == control.ShadowFailed
}

// report answers control.ShadowVerb.
func (r *shadowRun) report(ctx context.Context, q *control.ShadowReportRequest) (any, error) {
	if q.ID > 0 && q.ID != r.id {
		return nil, failure(control.CodeUnavailable, "shadow %d of app %s runs here, and not %d; try again", r.id, r.app, q.ID)
	}
	if q.CaughtUp {
		if err := r.awaitEnd(ctx); err != nil {
			return nil, err
		}
	}
	behind := r.behind()
	r.mu.Lock()
	answer := control.ShadowReport{Shadow: r.of, State: r.state, Behind: behind, Process: r.s.id}
	if r.err != nil {
		answer.Error = r.err.Error()
	}
	parts := r.parts
	r.mu.Unlock()
	var all []shadow.Report
	for _, p := range parts {
		p.mu.Lock()
		all = append(all, p.pair.Report())
		p.mu.Unlock()
	}
	answer.Report = shadow.Merge(all...)
	answer.App, answer.Shadow.Text = r.app, ""
	return answer, r.fit(&answer)
}

// fit leaves samples out until the answer is no larger than a message may be.
func (r *shadowRun) fit(answer *control.ShadowReport) error {
	for {
		data, err := json.Marshal(answer)
		if err != nil || int64(len(data)) <= r.s.cfg.Conn.MaxPayload() {
			return err
		}
		left := 0
		for i := range answer.Streams {
			s := &answer.Streams[i]
			s.Samples = s.Samples[:len(s.Samples)/2]
			left += len(s.Samples)
		}
		if left == 0 {
			return nil
		}
	}
}

// awaitEnd waits until all was compared that is in the logs now, or the shadow has failed.
func (r *shadowRun) awaitEnd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, caughtUpMax)
	defer cancel()
	app, err := r.s.cfg.Control.App(ctx, control.AppRequest{App: r.app})
	if err != nil {
		return err
	}
	ends := make([]uint64, app.Partitions)
	for p := range ends {
		stream, err := r.s.js.Stream(ctx, natsconn.WALStream(r.app, uint32(p)))
		if err != nil {
			return fmt.Errorf("log %s: %w", natsconn.WALStream(r.app, uint32(p)), err)
		}
		ends[p] = stream.CachedInfo().State.LastSeq
	}
	tick := time.NewTicker(caughtUpLook)
	defer tick.Stop()
	for !r.reached(ends) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// reached reports whether all up to these sequences was compared, or the shadow has failed.
func (r *shadowRun) reached(ends []uint64) bool {
	r.mu.Lock()
	parts, failed := r.parts, r.state == control.ShadowFailed
	r.mu.Unlock()
	if failed || parts == nil {
		return failed
	}
	for p, at := range parts {
		if p < len(ends) && at.position() < ends[p] {
			return false
		}
	}
	return true
}

// pace keeps shadows from taking what tasks need: while one catches up, it applies no more than so
// many events per second, and one frame at a time.
type pace struct {
	limit *rate.Limiter // nil: none
	turn  sync.Mutex
}

func newPace(eventsPerSecond int) *pace {
	if eventsPerSecond <= 0 {
		return &pace{}
	}
	return &pace{limit: rate.NewLimiter(rate.Limit(eventsPerSecond), eventsPerSecond)}
}

// step applies a frame with apply, which returns its number of events. If the shadow catches up, it
// waits afterwards.
func (c *pace) step(ctx context.Context, catchingUp bool, apply func() (uint64, error)) error {
	if !catchingUp {
		_, err := apply()
		return err
	}
	events, err := func() (uint64, error) {
		c.turn.Lock()
		defer c.turn.Unlock()
		return apply()
	}()
	for err == nil && c.limit != nil && events > 0 {
		n := min(events, uint64(c.limit.Burst()))
		err = c.limit.WaitN(ctx, int(n))
		events -= n
	}
	return err
}
