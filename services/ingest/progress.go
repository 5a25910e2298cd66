package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// position says how far the results of one partition are durable in all logs of a source.
// The zero value is the start.
type position struct {
	Created  time.Time `json:"created"`  // when the JetStream stream of the results was created
	Sequence uint64    `json:"sequence"` // of the last result, in that stream
	// Place distinguishes that message from another one with the same sequence: the position of
	// a result in its headers, or the time when a message of an origin was stored.
	Place string `json:"place"`
	// Handled is when the message was appended. Frames that are older have no later message.
	// Zero: not known.
	Handled time.Time `json:"handled,omitzero"`
}

// progress finds out up to which position results are durable, although appends to several
// logs end in any order. It divides time into rounds: the position where a round started is
// durable once all appends that started before the round have ended. Two rounds are counted:
// the current one, and all before it.
type progress struct {
	mu         sync.Mutex
	flying     [2]int // results with pending appends, by round
	round      int
	handled    position // the last result that was appended or refused
	roundStart position // handled, when the round started
	durable    position
	failure    error         // of the first append that failed
	landed     chan struct{} // receives when nothing is flying
}

func newProgress(from position) *progress {
	return &progress{handled: from, roundStart: from, durable: from, landed: make(chan struct{}, 1)}
}

// started counts a result whose appends start, and returns its round.
func (p *progress) started() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying[p.round]++
	return p.round
}

// recordOutcome records the outcome of a result's appends. After a failure, the position stays
// before that result, and the follower reads again from there.
func (p *progress) recordOutcome(round int, failure *error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if failure != nil && p.failure == nil {
		p.failure = *failure
	}
	p.flying[round]--
	if p.flying[0]+p.flying[1] == 0 {
		select {
		case p.landed <- struct{}{}:
		default:
		}
	}
}

// failed returns why a result may not be durable; nil if no append has failed.
func (p *progress) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// handle records that everything up to the position was appended or refused.
func (p *progress) handle(at position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.handled = at
}

// position returns the newest position that is known to be durable.
func (p *progress) position() position {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.failure != nil:
	case p.flying[0]+p.flying[1] == 0:
		p.roundStart, p.durable = p.handled, p.handled
	case p.flying[1-p.round] == 0:
		p.durable, p.roundStart, p.round = p.roundStart, p.handled, 1-p.round
	}
	return p.durable
}

// await returns once no append is pending.
func (p *progress) await(ctx context.Context) error {
	for {
		p.mu.Lock()
		flying := p.flying[0] + p.flying[1]
		p.mu.Unlock()
		if flying == 0 {
			return nil
		}
		select {
		case <-p.landed:
		case <-ctx.Done():
			return fmt.Errorf("%d results are not durable yet: %w", flying, context.Cause(ctx))
		}
	}
}
