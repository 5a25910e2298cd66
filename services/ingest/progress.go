package ingest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// position says how far the results of one partition are durable in all logs of a source.
// The zero value stands for the beginning.
type position struct {
	Created  time.Time `json:"created"`  // when the JetStream stream of the results was created
	Sequence uint64    `json:"sequence"` // of the last result, in that stream
	// Place tells that message from another one at its sequence: the place of a result as its
	// headers have it, or when a message of an origin was stored.
	Place string `json:"place"`
	// Handled is when the message was appended. What comes after it is in no frame that is
	// older. Zero: it is not known.
	Handled time.Time `json:"handled,omitzero"`
}

// progress finds out up to where results are durable, although appends to several logs end
// in any order. It divides time into rounds: a mark is durable once all results that were
// appended before it was set have settled. Two rounds are counted: the current one, and
// all before it.
type progress struct {
	mu      sync.Mutex
	flying  [2]int // results that have not settled, by round
	round   int
	handled position // the last result that was appended or refused
	mark    position // handled, when the round started
	durable position
	failure error         // of the first append that failed
	landed  chan struct{} // receives when nothing is flying
}

func newProgress(from position) *progress {
	return &progress{handled: from, mark: from, durable: from, landed: make(chan struct{}, 1)}
}

// started notes that a result is being appended, and returns its round.
func (p *progress) started() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flying[p.round]++
	return p.round
}

// settled takes the outcome of a result's appends. Once one failed, the position stays
// before it, and the follower reads again from there.
func (p *progress) settled(round int, failure *error) {
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

// failed returns why a result is not known to be durable; nil if none is.
func (p *progress) failed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// handle notes that everything up to the position was appended or refused.
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
		p.mark, p.durable = p.handled, p.handled
	case p.flying[1-p.round] == 0:
		p.durable, p.mark, p.round = p.mark, p.handled, 1-p.round
	}
	return p.durable
}

// await returns once nothing is flying.
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
