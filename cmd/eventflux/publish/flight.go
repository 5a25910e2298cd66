package publish

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"
)

const (
	flightBytesMax    = 32 << 20               // of all messages in flight
	answerTimeDefault = 2 * time.Second        // after which a message is repeated
	pauseTime         = 250 * time.Millisecond // before a message is repeated that was turned away
	nobodyTime        = 5 * time.Second        // that a subject may be without a listener
	lookEvery         = 50 * time.Millisecond
)

// flight holds the messages that are not answered yet.
type flight struct {
	nc       *nats.Conn
	inbox    string // answers come to inbox + number of the message
	opt      Options
	observer Observer
	room     *semaphore.Weighted // flightBytesMax; each message takes its cost

	mu      sync.Mutex
	pending map[uint64]*entry
	last    uint64 // number of the newest message
	result  Result
	bytes   int64
}

// entry is a message in flight.
type entry struct {
	*message
	first time.Time // sent
	next  time.Time // when it is repeated
	why   string    // it was turned away; "" while there is no answer
	alone bool      // nobody listened when it was sent last
}

func newFlight(nc *nats.Conn, opt Options, observer Observer) *flight {
	if opt.answerTime == 0 {
		opt.answerTime = answerTimeDefault
	}
	return &flight{
		nc: nc, inbox: nc.NewInbox() + ".", opt: opt, observer: observer,
		room:    semaphore.NewWeighted(flightBytesMax),
		pending: map[uint64]*entry{},
	}
}

// cost shares the room out so that neither the messages' number nor their bytes
// exceed what is allowed.
func (f *flight) cost(m *message) int64 {
	return min(max(int64(len(m.msg.Data)), flightBytesMax/int64(f.opt.InFlight)), flightBytesMax)
}

// send sends a message for the first time, once there is room for it.
func (f *flight) send(ctx context.Context, m *message) error {
	if err := f.room.Acquire(ctx, f.cost(m)); err != nil {
		return err
	}
	now := time.Now()
	f.mu.Lock()
	f.last++
	m.msg.Reply = f.inbox + strconv.FormatUint(f.last, 10)
	f.pending[f.last] = &entry{message: m, first: now, next: now.Add(f.opt.answerTime)}
	f.mu.Unlock()
	f.publish(m)
	return nil
}

// publish hands a message to the client. It fails while there is no connection,
// and then the message is repeated like one without an answer.
func (f *flight) publish(m *message) { _ = f.nc.PublishMsg(m.msg) }

// landed waits until no message is in flight.
func (f *flight) landed(ctx context.Context) error { return f.room.Acquire(ctx, flightBytesMax) }

// repeat sends messages again that are due for it, until done is closed. It fails
// when one has been tried for too long.
func (f *flight) repeat(ctx context.Context, done <-chan struct{}) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-tick.C:
			due, err := f.due(now)
			if err != nil {
				return err
			}
			for _, m := range due {
				f.publish(m)
			}
		}
	}
}

// due returns what is to be repeated at now, in the order in which it was sent.
func (f *flight) due(now time.Time) ([]*message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var numbers []uint64
	for n, e := range f.pending {
		if now.After(e.next) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var due []*message
	for _, n := range numbers {
		e := f.pending[n]
		if err := f.gaveUp(e, now); err != nil {
			return nil, err
		}
		e.next = now.Add(f.opt.answerTime)
		due = append(due, e.message)
	}
	return due, nil
}

func (f *flight) gaveUp(e *entry, now time.Time) error {
	waited := now.Sub(e.first)
	switch {
	case e.alone && waited > min(nobodyTime, f.opt.Timeout):
		return fmt.Errorf("line %d: nobody takes events on %s; start an app that reads it with 'eventflux run APP.siddhi'", e.lines[0], f.opt.Subject)
	case waited <= f.opt.Timeout:
		return nil
	case e.why != "":
		return fmt.Errorf("line %d: turned away for %s: %s", e.lines[0], f.opt.Timeout, e.why)
	default:
		return fmt.Errorf("line %d: no answer for %s; whether it arrived is not known, and publishing it again with the same --id-prefix is safe", e.lines[0], f.opt.Timeout)
	}
}

// answer takes the answer to one message. Those to earlier sendings of it change
// nothing.
func (f *flight) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, f.inbox), 10, 64)
	if err != nil {
		return
	}
	what, r, why := judge(m)
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.pending[n]
	if e == nil {
		return
	}
	if what == again || what == nobody {
		e.why, e.alone = why, what == nobody
		e.next = time.Now().Add(min(pauseTime, f.opt.answerTime))
		return
	}
	delete(f.pending, n)
	if what == taken {
		f.accept(e, r)
	} else {
		for _, line := range e.lines {
			f.refuse(line, why)
		}
	}
	f.bytes += e.bytes
	f.observer.Answered(f.result, f.bytes)
	f.room.Release(f.cost(e.message))
}

// accept counts a message of which all events are accepted but those that the
// answer names.
func (f *flight) accept(e *entry, r reply) {
	for _, item := range r.Refused {
		if item.Index >= 0 && item.Index < len(e.lines) {
			f.refuse(e.lines[item.Index], item.Error)
		}
	}
	accepted := max(e.events()-len(r.Refused), 0)
	f.result.Accepted += accepted
	if r.Duplicate {
		f.result.Duplicate += accepted
	}
}

func (f *flight) refuse(line int, why string) {
	f.result.Refused++
	f.observer.Refused(line, why)
}

// refuseUnsent counts a line that could not be sent.
func (f *flight) refuseUnsent(e *lineError) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse(e.line, e.err.Error())
	f.bytes += e.bytes
	f.observer.Answered(f.result, f.bytes)
}

func (f *flight) total() Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.result
}
