package ingest

import (
	"errors"
	"strconv"
	"sync/atomic"

	"eventflux/shared/wal"
)

// ack answers a message once all its appends are durable. It belongs to the pool
// of the service.
type ack struct {
	s       *Service
	to      answerTo
	cost    int64
	first   *log         // of the append whose sequence the answer tells
	seq     uint64       // set before left reaches zero
	left    atomic.Int32 // appends whose outcome is not known
	failure atomic.Pointer[error]
	buf     []byte
}

// answerTo is who waits for an answer, if anyone: a publisher, or the follower of a result
// of another app.
type answerTo struct {
	reply    string
	tail     []byte    // of the answer, behind the sequence; nil: nothing was refused
	progress *progress // of the follower
	round    int       // of the append
}

// laterAck is an ack as the second and further appends of a message see it.
type laterAck ack

func (s *Service) newAck(to answerTo, cost int64, first *log, appends int) *ack {
	a := s.acks.Get().(*ack)
	a.to, a.cost, a.first, a.seq = to, cost, first, 0
	a.left.Store(int32(appends))
	return a
}

// Committed takes the outcome of the first append.
func (a *ack) Committed(seq uint64, err error) {
	a.seq = seq
	a.settle(err)
}

// Committed takes the outcome of a further append.
func (a *laterAck) Committed(_ uint64, err error) { (*ack)(a).settle(err) }

func (a *ack) settle(err error) {
	if err != nil {
		a.note(err)
	}
	if a.left.Add(-1) > 0 {
		return
	}
	a.s.counters.waiting.Add(-a.cost)
	switch failure := a.failure.Load(); {
	case a.to.progress != nil:
		a.to.progress.settled(a.to.round, failure)
	case failure != nil:
		a.fail(*failure)
	case a.to.reply != "":
		a.answer()
	}
	a.failure.Store(nil)
	a.to, a.first = answerTo{}, nil
	a.s.acks.Put(a)
}

// note keeps the first failure. It is apart so that err costs no memory where all
// is well.
func (a *ack) note(err error) { a.failure.CompareAndSwap(nil, &err) }

func (a *ack) answer() {
	a.buf = append(a.buf[:0], a.first.prefix...)
	a.buf = strconv.AppendUint(a.buf, a.seq, 10)
	if a.to.tail == nil {
		a.buf = append(a.buf, '}')
	} else {
		a.buf = append(a.buf, a.to.tail...)
	}
	a.s.respond(a.to.reply, a.buf)
}

// fail answers that the events are not known to be durable everywhere.
func (a *ack) fail(err error) {
	p := &problem{logFailed, err.Error() + "; publish again once the log is repaired"}
	if errors.Is(err, wal.ErrUnknown) || errors.Is(err, wal.ErrClosed) {
		p = &problem{unknownOutcome, err.Error() + "; publish again, with the same " + headerID + " to have it counted once"}
	}
	a.s.counters.refusedFor(p.code)
	a.s.counters.failed.note(p.text)
	if a.to.reply == "" {
		a.s.counters.dropped.note(p.text)
		return
	}
	a.s.respond(a.to.reply, p.json())
}
