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

// publisher publishes messages in order, and repeats those that were not acknowledged when a
// process died. A test has only one publisher, so that the order of events is known.
type publisher struct {
	t        *testing.T
	rnd      *rand.Rand
	messages []message

	mu       sync.Mutex
	acked    []bool
	prefix   int // this many messages, from the first on, are acknowledged
	again    int // messages that were published more than once
	sent     int // this many messages were published at least once
	progress func(acked int)
}

func newPublisher(t *testing.T, rnd *rand.Rand, messages []message) *publisher {
	return &publisher{t: t, rnd: rnd, messages: messages, acked: make([]bool, len(messages))}
}

// onProgress sets a function that is called with the number of acknowledged messages.
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

// published returns how many messages were published, and how many more times.
func (p *publisher) published() (sent, again int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent, p.again
}

// run publishes the first n messages until all are acknowledged. It returns an error if the server
// goes away or refuses a message. At most window messages wait for an answer.
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

// session publishes to one process.
type session struct {
	*publisher
	nc     *nats.Conn
	inbox  string
	tokens chan struct{} // one per message without an answer
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
		// A repeat of an acknowledged message must not count again.
		if s.rnd.IntN(40) == 0 {
			if err := s.publish(max(0, i-s.rnd.IntN(300))); err != nil {
				return err
			}
		}
	}
	for range cap(s.tokens) { // all tokens are back once all messages are answered
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

// answered handles an answer. After the first error nothing more is published, so that later
// messages do not overtake the refused one.
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
	default: // the first error is the most useful
	}
}
