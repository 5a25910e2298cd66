package ingest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	watchEvery = time.Second
	readyAfter = time.Minute      // Ready does not wait longer for an app to start
	logEvery   = 10 * time.Second // for each kind of trouble
)

// counters are the counters of the service since it was made. A source has the counters of
// its stream.
type counters struct {
	waiting atomic.Int64 // accepted bytes that are not known to be durable

	refused     tally // events, and messages that were refused as a whole
	unknown     tally // messages for streams that do not exist
	overload    tally // messages refused because too much waits
	slow        tally // messages refused because a task is too far behind, or over a limit
	unavailable tally // messages refused because an app accepts none at the moment
	dropped     tally // messages lost without an answer: none was asked for, or ingest was too slow
	failed      tally // messages whose events are not known to be durable
	unanswered  tally // answers that could not be sent
	deadLost    tally // dead letters that were not stored

	reasons [diskFull - unknownStream + 1]atomic.Uint64 // refused messages and events, by errCode
}

// refusedFor counts a message or an event that was refused.
func (c *counters) refusedFor(code errCode) { c.reasons[code-unknownStream].Add(1) }

// tally counts one kind of problem, and keeps the latest case. It is logged only from time to
// time, so that a publisher cannot fill the process log.
type tally struct {
	n    atomic.Uint64
	last atomic.Pointer[string]

	logged   uint64 // only watch uses it
	loggedAt time.Time
}

func (t *tally) record(text string) {
	t.last.Store(&text)
	t.n.Add(1)
}

func (t *tally) add(n uint64, text string) {
	t.last.Store(&text)
	t.n.Add(n)
}

// watch logs problems until ctx ends, and reports that the service is ready.
func (s *Service) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	defer s.beat.Stop()
	ready, started := false, time.Now()
	tellReady := func() {
		if !ready && (s.allStarted() || time.Since(started) > readyAfter) {
			ready = true
			close(s.ready)
		}
	}
	for {
		s.beat.Now()
		select {
		case <-ctx.Done():
			return nil
		case <-s.news:
			tellReady()
			if s.cfg.Changed != nil {
				s.cfg.Changed()
			}
		case <-ticker.C:
			tellReady()
			s.listener.look()
			s.forgetFlow(time.Now())
			s.logCounters(false)
			if s.cfg.Conn.IsClosed() || s.cfg.LogConn.IsClosed() {
				return fmt.Errorf("ingest: %w", nats.ErrConnectionClosed)
			}
		}
	}
}

// logCounters writes a line for each kind of problem that has occurred since its last line.
func (s *Service) logCounters(atOnce bool) {
	c, now := &s.counters, time.Now()
	for _, t := range []struct {
		text  string
		tally *tally
	}{
		{"events refused", &c.refused},
		{"messages for streams that do not exist", &c.unknown},
		{"messages refused because ingest is full", &c.overload},
		{"messages refused because a task cannot keep up", &c.slow},
		{"messages refused because an app accepts none at the moment", &c.unavailable},
		{"messages dropped", &c.dropped},
		{"messages not known to be durable", &c.failed},
		{"answers not sent", &c.unanswered},
		{"dead letters lost", &c.deadLost},
	} {
		n := t.tally.n.Load()
		if n == t.tally.logged || !atOnce && now.Sub(t.tally.loggedAt) < logEvery {
			continue
		}
		s.cfg.Log.Warn(t.text, "count", n-t.tally.logged, "total", n, "latest", *t.tally.last.Load())
		t.tally.logged, t.tally.loggedAt = n, now
	}
}
