package checkpointer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const tickEvery = 20 * time.Millisecond

// coordinators is a loop that owns the coordinators of all apps, and goroutines that carry
// out their effects.
type coordinators struct {
	*leadership
	committer  *committer
	projection *projection
	barriers   *barrierWriters
	retention  *retention
	processors *processors
	tally      *tally
	beat       *obs.Heartbeat
	spans      spans
	messages   chan loopMessage

	// Only the loop uses these.
	apps    map[string]*coordinator
	answers map[answerID]chan control.Outcome
	last    answerID
}

// run ends with ctx.
func (cs *coordinators) run(ctx context.Context) {
	for _, a := range cs.cfg.FSM.apps() {
		if !a.Removing {
			cs.add(ctx, a)
		}
	}
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer cs.spans.close()
	defer cs.beat.Stop()
	for {
		cs.beat.Now()
		select {
		case <-ctx.Done():
			return
		case m := <-cs.messages:
			cs.handle(ctx, m)
		case <-tick.C:
			now := time.Now()
			cs.processors.stayAwake(now)
			for name, c := range cs.apps {
				if cs.cfg.FSM.gone(name) {
					cs.drop(name)
					continue
				}
				cs.do(ctx, name, c.step(message{kind: msgTick, now: now, lag: cs.processors.lag(name, now)}))
			}
		}
	}
}

// loopMessage is a message for an app's coordinator. Without a kind, it only makes the app
// known to the loop.
type loopMessage struct {
	app string
	message
	reply chan control.Outcome // of a request
}

// add makes the coordinator of an app, and fences former leaders in the store.
func (cs *coordinators) add(ctx context.Context, a *appState) {
	c, effects := newCoordinator(appInRaft{cs.cfg.FSM, a.Name}, a.Open, cs.termOf(a.Name), time.Now(), cs.cfg.Interval, cs.cfg.Timeout)
	cs.apps[a.Name] = c
	cs.work.Go(func() { cs.committer.fence(ctx, a.Name) })
	cs.do(ctx, a.Name, effects)
}

func (cs *coordinators) handle(ctx context.Context, m loopMessage) {
	c := cs.apps[m.app]
	if c == nil {
		a := cs.cfg.FSM.app(m.app)
		if a == nil || a.Removing {
			if m.reply != nil {
				m.reply <- control.Outcome{Epoch: m.epoch, Reason: "the app was removed"}
			}
			return
		}
		cs.add(ctx, a)
		c = cs.apps[m.app]
	}
	if m.kind == "" {
		return
	}
	if m.reply != nil {
		cs.last++
		m.answer = cs.last
		cs.answers[m.answer] = m.reply
	}
	m.now = time.Now()
	cs.do(ctx, m.app, c.step(m.message))
}

// send passes a message to the loop, unless the loop has ended.
func (cs *coordinators) send(m loopMessage) {
	select {
	case cs.messages <- m:
	case <-cs.done:
	}
}

// ask passes a request to the loop and waits for its answer.
func (cs *coordinators) ask(ctx context.Context, app string, m message) (o control.Outcome, err error) {
	reply := make(chan control.Outcome, 1)
	cs.send(loopMessage{app: app, message: m, reply: reply})
	select {
	case o = <-reply:
		return o, nil
	case <-cs.done:
		return o, failure(control.CodeUnavailable, "the leader changed; ask again")
	case <-ctx.Done():
		return o, ctx.Err()
	}
}

// goOn lets a paused coordinator work again.
func (cs *coordinators) goOn(app string) {
	cs.send(loopMessage{app: app, message: message{kind: msgGo}})
}

// drop removes the coordinator of an app that is gone, and answers the requests that wait
// for a checkpoint of it.
func (cs *coordinators) drop(app string) {
	c := cs.apps[app]
	delete(cs.apps, app)
	for _, waiting := range [][]answerID{c.waiting, c.triggers, c.later, c.pauses} {
		for _, id := range waiting {
			cs.answers[id] <- control.Outcome{Epoch: c.epoch, Reason: "the app was removed"}
			delete(cs.answers, id)
		}
	}
}

// do carries out the effects of a coordinator. Slow effects run in their own goroutines and
// send the outcome to the loop as a message.
func (cs *coordinators) do(ctx context.Context, app string, effects []effect) {
	for _, e := range effects {
		switch e.do {
		case doAnswer:
			cs.answer(e)
			cs.logOutcome(app, e)
		case doPaused:
			cs.answer(e)
		case doTidy:
			cs.projection.checkpointsSoon()
			cs.work.Go(func() { cs.retention.tidy(ctx, app) })
		default:
			cs.work.Go(func() {
				cs.spans.before(ctx, cs.leadership, app, e)
				m := cs.act(ctx, app, e)
				m.epoch = e.epoch
				if ctx.Err() == nil {
					cs.spans.after(app, e, m)
					cs.tally.count(app, e, m)
					cs.send(loopMessage{app: app, message: m})
				}
			})
		}
	}
}

func (cs *coordinators) answer(e effect) {
	faultpoint.Reach(faultpoint.AnswerBefore)
	for _, id := range e.answers {
		cs.answers[id] <- e.outcome // the channel has room for one
		delete(cs.answers, id)
	}
}

func (cs *coordinators) logOutcome(app string, e effect) {
	if e.outcome.Committed {
		cs.log.Debug("checkpoint committed", "app", app, "epoch", e.epoch, "ms", e.outcome.Milliseconds)
	} else {
		cs.log.Warn("checkpoint aborted", "app", app, "epoch", e.epoch, "reason", e.outcome.Reason)
	}
}

// act carries out one effect and returns the outcome.
func (cs *coordinators) act(ctx context.Context, app string, e effect) message {
	switch e.do {
	case doOpen:
		return cs.openEpoch(ctx, app, e.epoch)
	case doBarrier:
		return message{kind: msgBarrier, reason: text(cs.appendBarriers(ctx, app))}
	case doStore:
		err := cs.committer.storeManifest(ctx, app, e)
		if err != nil {
			cs.log.Warn("manifest not stored", "app", app, "epoch", e.epoch, "err", err)
		}
		return message{kind: msgStored, reason: text(err), gone: errors.Is(err, errGone) || errors.Is(err, checkpoint.ErrCorrupt)}
	case doCommit:
		return cs.until(ctx, app, msgCommitted, func() error { return cs.committer.commit(ctx, app, e.epoch) })
	case doAbort:
		return cs.until(ctx, app, msgAborted, func() error {
			faultpoint.Reach(faultpoint.AbortBefore)
			_, err := cs.propose(ctx, &command{Kind: kindAbort, App: app, Epoch: e.epoch, Reason: e.reason})
			faultpoint.Reach(faultpoint.AbortDone)
			return err
		})
	case doLook:
		return cs.committer.look(ctx, app, e.epoch)
	}
	panic(fmt.Sprintf("checkpointer: unknown effect %q", e.do))
}

func (cs *coordinators) openEpoch(ctx context.Context, app string, epoch state.Epoch) message {
	c := &command{Kind: kindOpen, App: app, Epoch: epoch, Term: cs.termOf(app), Time: cs.cfg.Now()}
	_, _ = rand.Read(c.ID[:]) // never fails
	cs.spans.open(ctx, cs.cfg.Tracer, c)
	started := time.Now()
	faultpoint.Reach(faultpoint.OpenBefore)
	for {
		_, err := cs.propose(ctx, c)
		var no *control.Error
		if err == nil || errors.As(err, &no) {
			cs.committer.opened.Store(app, opened{epoch, started})
			faultpoint.Reach(faultpoint.OpenDone)
			return message{kind: msgOpened, reason: text(err)}
		}
		if !pauseFor(ctx, effectRetry) {
			return message{kind: msgOpened, reason: text(err)}
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// appendBarriers appends the barrier of the open epoch to every partition.
func (cs *coordinators) appendBarriers(ctx context.Context, app string) error {
	a := cs.cfg.FSM.app(app)
	if a == nil || a.Open == nil {
		return errors.New("no epoch is open")
	}
	return cs.barriers.appendAll(ctx, a, cs.cfg.Now().UnixMilli())
}
