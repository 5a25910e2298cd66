package ingest

import (
	"errors"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/eventflux/eventflux/shared/log/wal"
)

// ack answers a message once all its appends are durable. It comes from the pool of the
// service.
type ack struct {
	s       *Service
	to      answerTo
	cost    int64
	first   *log         // log of the append whose sequence is in the answer
	seq     uint64       // set before left reaches zero
	left    atomic.Int32 // appends whose outcome is not known yet
	failure atomic.Pointer[error]
	// parts has one for each append if several apps read the subject or the message has an
	// id; otherwise it is empty.
	parts   []part
	several bool // apps read the subject
	buf     []byte
}

// answerTo says where the answer goes, if anywhere: to a publisher, or to the follower that
// has read a result of another app.
type answerTo struct {
	reply    string
	tail     []byte    // of the answer, after the sequence; nil: nothing was refused
	first    uint64    // sequence of the first frame with the message; 0: it is not known to be repeated
	outcome  *outcome  // the tail as a value, if several apps read the subject
	id       string    // the id that makes a repetition count once; "" if the logs have none
	progress *progress // of the follower
	round    int       // of the append
}

// laterAck is an ack for the second and later appends of a message.
type laterAck ack

// part is an ack for one append, if the answer has to say which apps have the message, or
// the id of the message is remembered.
type part struct {
	of     *ack
	log    *log
	stream string // of the app
	at     int64  // when the message arrived
	failed bool   // set before the ack settles
}

func (s *Service) newAck(to answerTo, cost int64, first *log, appends int) *ack {
	a := s.acks.Get().(*ack)
	a.to, a.cost, a.first, a.seq = to, cost, first, 0
	a.parts, a.several = a.parts[:0], false
	a.left.Store(int32(appends))
	return a
}

// trackParts makes the ack record the outcome of each append separately.
func (a *ack) trackParts(sends []send, several bool, at int64) {
	a.several = several
	for i := range sends {
		a.parts = append(a.parts, part{of: a, log: sends[i].log, stream: sends[i].msg.Batch.Schema.Name, at: at})
	}
}

// Committed records the outcome of the append.
func (p *part) Committed(seq uint64, err error) {
	if p.failed = err != nil; !p.failed && p.of.to.id != "" {
		p.log.recent.add(p.stream, p.of.to.id, p.at, seq)
	}
	if p == &p.of.parts[0] {
		p.of.seq = seq
	}
	p.of.finish(err)
}

// Committed records the outcome of the first append.
func (a *ack) Committed(seq uint64, err error) {
	a.seq = seq
	a.finish(err)
}

// Committed records the outcome of a later append.
func (a *laterAck) Committed(_ uint64, err error) { (*ack)(a).finish(err) }

func (a *ack) finish(err error) {
	if err != nil {
		a.keepFirst(err)
	}
	if a.left.Add(-1) > 0 {
		return
	}
	a.s.counters.waiting.Add(-a.cost)
	switch failure := a.failure.Load(); {
	case a.to.progress != nil:
		a.to.progress.recordOutcome(a.to.round, failure)
	case failure != nil:
		a.fail(*failure)
	case a.to.reply != "":
		a.answer()
	}
	a.failure.Store(nil)
	a.to, a.first = answerTo{}, nil
	clear(a.parts)
	a.s.acks.Put(a)
}

// keepFirst keeps the first failure. It is a separate function so that err is only allocated
// after a failure.
func (a *ack) keepFirst(err error) { a.failure.CompareAndSwap(nil, &err) }

func (a *ack) answer() {
	a.buf = append(a.buf[:0], a.first.prefix...)
	if a.to.first > 0 {
		a.buf = append(strconv.AppendUint(a.buf, a.to.first, 10), `,"duplicate":true`...)
	} else {
		a.buf = strconv.AppendUint(a.buf, a.seq, 10)
	}
	if a.to.tail == nil {
		a.buf = append(a.buf, '}')
	} else {
		a.buf = append(a.buf, a.to.tail...)
	}
	a.s.respond(a.to.reply, a.buf)
}

// fail answers that some events may not be durable.
func (a *ack) fail(err error) {
	p := &problem{logFailed, err.Error() + "; publish again once the log is repaired"}
	if errors.Is(err, wal.ErrUnknown) || errors.Is(err, wal.ErrClosed) {
		p = &problem{unknownOutcome, err.Error() + "; publish again, with the same " + headerID + " to have it counted once"}
	}
	if a.several {
		p.text = err.Error() + "; " + a.repeat()
	}
	a.s.counters.refusedFor(p.code)
	a.s.counters.failed.record(p.text)
	if a.to.reply == "" {
		a.s.counters.dropped.record(p.text)
		return
	}
	if !a.several {
		a.s.respond(a.to.reply, p.json())
		return
	}
	answer := partial{Error: p.error(), Accepted: a.accepted(), ID: a.to.id}
	if o := a.to.outcome; o != nil {
		answer.Count, answer.Rejected = o.Count, o.Rejected
	}
	a.s.respond(a.to.reply, mustJSON(&answer))
}

// repeat returns how the publisher must repeat a message that some apps may already have.
func (a *ack) repeat() string {
	if a.to.id == "" {
		return "publish again; the apps that have it will count it twice, since a message of this size has an id only if the publisher sets " + headerID
	}
	return "publish again with the id of this answer as " + headerID + ", and each app counts it once"
}

// accepted returns the apps for which all events of the message are durable, in the order of
// the appends.
func (a *ack) accepted() []string {
	var failed []string
	for i := range a.parts {
		if a.parts[i].failed {
			failed = append(failed, a.parts[i].log.app)
		}
	}
	apps := []string{}
	for i := range a.parts {
		if app := a.parts[i].log.app; !slices.Contains(failed, app) && !slices.Contains(apps, app) {
			apps = append(apps, app)
		}
	}
	return apps
}
