package publish

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"github.com/eventflux/eventflux/shared/control"
)

const (
	flightBytesMax    = 32 << 20               // of all messages in flight
	answerTimeDefault = 2 * time.Second        // time after which a message without an answer is repeated
	pauseTime         = 250 * time.Millisecond // pause before a refused message is repeated
	nobodyTime        = 5 * time.Second        // how long a subject may have no listener
	lookEvery         = 50 * time.Millisecond
)

// flight holds the messages that are not answered yet.
type flight struct {
	nc       *nats.Conn
	inbox    string // answers arrive on inbox + number of the message
	opt      Options
	observer Observer
	room     *semaphore.Weighted // flightBytesMax; each message takes its cost

	mu      sync.Mutex
	pending map[uint64]*entry
	last    uint64 // number of the newest message
	result  Result
	bytes   int64
	fatal   error // makes further work pointless
}

// entry is a message in flight.
type entry struct {
	*message
	first time.Time // time of the first attempt
	next  time.Time // time of the next repeat
	why   string    // reason of a refusal; "" while there is no answer
	alone bool      // no service listened at the last attempt
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

// cost is a message's share of the room. It bounds the number of messages in flight as well as
// their bytes.
func (f *flight) cost(m *message) int64 {
	return min(max(int64(len(m.msg.Data)), flightBytesMax/int64(f.opt.InFlight)), flightBytesMax)
}

// send sends a message for the first time, once there is room.
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

// publish passes a message to the client. This fails without a connection; the message is then
// repeated like one without an answer.
func (f *flight) publish(m *message) { _ = f.nc.PublishMsg(m.msg) }

// landed waits until no message is in flight.
func (f *flight) landed(ctx context.Context) error { return f.room.Acquire(ctx, flightBytesMax) }

// repeat resends the messages that are due until done is closed. It fails once a message was tried
// for too long.
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

// due returns the messages to repeat at now, in their original order.
func (f *flight) due(now time.Time) ([]*message, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fatal != nil {
		return nil, f.fatal
	}
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
		return fmt.Errorf("line %d: no service accepts events on %s; start an app that reads it with 'eventflux run APP.siddhi'", e.lines[0], f.opt.Subject)
	case waited <= f.opt.Timeout:
		return nil
	case e.why != "":
		return fmt.Errorf("line %d: turned away for %s: %s", e.lines[0], f.opt.Timeout, e.why)
	default:
		return fmt.Errorf("line %d: no answer for %s; whether it arrived is not known, and publishing it again with the same --id-prefix is safe", e.lines[0], f.opt.Timeout)
	}
}

// answer handles the answer to a message. Answers to earlier attempts have no effect.
func (f *flight) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, f.inbox), 10, 64)
	if err != nil {
		return
	}
	what, r, why := control.ReadAnswer(m)
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.pending[n]
	if e == nil {
		return
	}
	switch what {
	case control.NoApp:
		f.fatal = fmt.Errorf("line %d: %s", e.lines[0], why)
		return
	case control.TryAgain, control.NoListener:
		e.why, e.alone = why, what == control.NoListener
		e.next = time.Now().Add(min(pauseTime, f.opt.answerTime))
		return
	}
	delete(f.pending, n)
	f.finish(e, r, why)
	f.bytes += e.bytes
	f.observer.Answered(f.result, f.bytes)
	f.room.Release(f.cost(e.message))
}

// finish counts the events of an answered message.
func (f *flight) finish(e *entry, r control.Answer, why string) {
	switch {
	case r.Error == nil && len(r.Rejected) > 0: // at least one app took each event
		for _, one := range r.Rejected {
			f.observer.Refused(e.line(one.Index), one.Why())
		}
		f.result.Accepted += e.events()
		f.result.Partly += r.RejectedCount
		return
	case r.Error == nil:
		f.result.Accepted += e.events()
		if r.Duplicate {
			f.result.Duplicate += e.events()
		}
		return
	case len(r.Rejected) == 0: // the whole message was refused
		for _, line := range e.lines {
			f.refuse(line, why)
		}
		return
	}
	listed := map[int]bool{}
	for _, one := range r.Rejected {
		if !listed[one.Index] {
			listed[one.Index] = true
			f.refuse(e.line(one.Index), one.Why())
		}
	}
	if more := r.RejectedCount - len(listed); more > 0 {
		f.result.Refused += more
		f.observer.Refused(e.lines[0], fmt.Sprintf("%d more events of the message from this line on", more))
	}
	var accepted int
	if json.Unmarshal(r.Accepted, &accepted) == nil {
		f.result.Accepted += accepted
	}
}

// line returns the line of the event at an index of the message. A line with several events has the
// same number for all of them.
func (e *entry) line(index int) int { return e.lines[min(max(index, 0), e.events()-1)] }

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
