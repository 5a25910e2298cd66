package faults

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// publisher publishes messages in order, and again what was not acknowledged when
// a process died. It is the one publisher of a test, so that the order of events
// is known.
type publisher struct {
	t        *testing.T
	rnd      *rand.Rand
	messages []message

	mu       sync.Mutex
	acked    []bool
	prefix   int // so many messages from the first on are acknowledged
	again    int // messages that were published more than once
	sent     int // so many messages were published at least once
	progress func(acked int)
}

func newPublisher(t *testing.T, rnd *rand.Rand, messages []message) *publisher {
	return &publisher{t: t, rnd: rnd, messages: messages, acked: make([]bool, len(messages))}
}

// onProgress sets what is called with the number of messages acknowledged.
func (p *publisher) onProgress(f func(int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.progress = f
}

// acknowledged returns n such that the first n messages are acknowledged.
func (p *publisher) acknowledged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.prefix
}

// published returns how many messages were published, and how often one was again.
func (p *publisher) published() (sent, again int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.again
}

// run publishes the first n messages to a server until all are acknowledged, or
// until it is gone or something is refused, which is the error. At most window
// messages are not answered.
func (p *publisher) run(url string, n, window int) error {
	nc, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	s := &session{publisher: p, nc: nc, inbox: nats.NewInbox() + ".", tokens: make(chan struct{}, window), failed: make(chan error, 1)}
	nc.SetClosedHandler(func(*nats.Conn) { s.fail(nats.ErrConnectionClosed) })
	if _, err := nc.Subscribe(s.inbox+"*", s.answered); err != nil {
		return err
	}
	return s.publishAll(n)
}

// session is a publisher's time with one process.
type session struct {
	*publisher
	nc     *nats.Conn
	inbox  string
	tokens chan struct{} // one for each message without an answer
	failed chan error
}

func (s *session) publishAll(n int) error {
	for i := s.acknowledged(); i < n; i++ {
		if s.isAcked(i) && s.rnd.IntN(2) == 0 {
			continue
		}
		if err := s.publish(i); err != nil {
			return err
		}
		// What is acknowledged must count once, too, if it comes again.
		if s.rnd.IntN(40) == 0 {
			if err := s.publish(max(0, i-s.rnd.IntN(300))); err != nil {
				return err
			}
		}
	}
	for range cap(s.tokens) { // all are back once all are answered
		if err := s.take(); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) publish(i int) error {
	if err := s.take(); err != nil {
		return err
	}
	s.mu.Lock()
	if i < s.sent {
		s.again++
	}
	s.sent = max(s.sent, i+1)
	s.mu.Unlock()
	return s.nc.PublishMsg(s.messages[i].msg(s.inbox + strconv.Itoa(i)))
}

func (s *session) take() error {
	select {
	case err := <-s.failed:
		return err
	case s.tokens <- struct{}{}:
		return nil
	}
}

func (s *session) isAcked(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked[i]
}

// answered takes an answer. After the first that is an error nothing more is
// published, since what follows must not overtake what was refused.
func (s *session) answered(m *nats.Msg) {
	i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, s.inbox))
	if err != nil {
		s.fail(err)
		return
	}
	if err := readAnswer(m); err != nil {
		s.fail(fmt.Errorf("message %d: %w", i, err))
		return
	}
	s.mu.Lock()
	s.acked[i] = true
	for s.prefix < len(s.acked) && s.acked[s.prefix] {
		s.prefix++
	}
	prefix, progress := s.prefix, s.progress
	s.mu.Unlock()
	if progress != nil {
		progress(prefix)
	}
	<-s.tokens
}

func (s *session) fail(err error) {
	select {
	case s.failed <- err:
	default: // the first one tells most
	}
}
