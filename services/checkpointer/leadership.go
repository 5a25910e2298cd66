package checkpointer

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const (
	effectRetry  = 100 * time.Millisecond
	projectRetry = time.Second
)

// leadership is what all parts of a leader share: the term, the way to Raft, and the
// goroutines that end with it.
type leadership struct {
	cfg     *Config
	js      jetstream.JetStream
	log     *slog.Logger
	term    checkpoint.Term
	done    chan struct{}  // closed when no more requests are answered
	work    sync.WaitGroup // of the goroutines
	wake    chan struct{}  // wakes leader.keepChanging
	foreign chan<- error   // ends the service: the store belongs to another cluster
}

// termOf returns the term of this leadership for the barriers and manifests of an app. It
// is above all terms that the store had for the app when it was deployed: those may come
// from another group, whose terms were higher.
func (ls *leadership) termOf(app string) checkpoint.Term {
	if a := ls.cfg.FSM.app(app); a != nil {
		return a.TermBase + ls.term
	}
	return ls.term
}

// propose applies a command in Raft. A refusal is a *control.Error.
func (ls *leadership) propose(ctx context.Context, c *command) (any, error) {
	c.Version = ls.cfg.Self.Version
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	answer, _, err := ls.cfg.Raft.Apply(ctx, data)
	if err != nil {
		return nil, err
	}
	if no, refused := answer.(refusal); refused {
		return nil, no.err
	}
	return answer, nil
}

// decide proposes a command until it is known whether Raft has applied it, and returns nil if it
// has. An error is a refusal, or says that this process no longer leads.
func (ls *leadership) decide(ctx context.Context, c *command) error {
	for {
		_, err := ls.propose(ctx, c)
		var no *control.Error
		if err == nil || errors.As(err, &no) || errors.Is(err, consensus.ErrNotLeader) || !ls.pause(ctx) {
			return err
		}
	}
}

// pause waits a moment, and returns false if the leadership has ended.
func (ls *leadership) pause(ctx context.Context) bool {
	select {
	case <-ls.done:
		return false
	default:
		return pauseFor(ctx, effectRetry)
	}
}

// until repeats do until it succeeds, this process stops leading, or the app is gone (then
// the message has no kind). Raft's refusals are final.
func (ls *leadership) until(ctx context.Context, app, kind string, do func() error) message {
	for {
		err := do()
		if err == nil {
			return message{kind: kind}
		}
		if ls.cfg.FSM.gone(app) {
			return message{}
		}
		var no *control.Error
		if errors.As(err, &no) || errors.Is(err, consensus.ErrNotLeader) {
			ls.log.Warn("this leader no longer owns the epoch", "step", kind, "err", err)
			<-ctx.Done() // another member leads, and Raft will report that
			return message{kind: kind}
		}
		ls.log.Warn("trying again", "step", kind, "err", err)
		if !pauseFor(ctx, effectRetry) {
			return message{kind: kind}
		}
	}
}

// untilDone repeats do until it succeeds, this process stops leading, or the app is gone.
func (ls *leadership) untilDone(ctx context.Context, app, what string, do func(context.Context, string) error) {
	for {
		err := do(ctx, app)
		if err == nil || ctx.Err() != nil || ls.cfg.FSM.gone(app) {
			return
		}
		ls.log.Warn(what+"; trying again", "app", app, "err", err)
		if !pauseFor(ctx, projectRetry) {
			return
		}
	}
}

// nudge makes processors send a heartbeat at once. If one misses the message, it sends its
// next regular heartbeat a little later.
func (ls *leadership) nudge() { _ = ls.cfg.Conn.Publish(control.NudgeSubject, nil) }

// lookSoon makes the leader look at all apps now.
func (ls *leadership) lookSoon() {
	select {
	case ls.wake <- struct{}{}:
	default: // a wake-up is already pending
	}
}
