package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// feed publishes messages one at a time and repeats each until it is acknowledged, so their order
// is known even with several ingests. It connects to the servers directly, not through links.
type feed struct {
	url   string
	every time.Duration
	make  func(i int) *nats.Msg

	mu    sync.Mutex
	acked int       // number of acknowledged messages
	last  time.Time // time of the last acknowledgement
	gap   time.Duration
	again int // requests without a good answer,
	why   map[string]int
}

// run publishes until ctx ends, and then waits until everything published is acknowledged.
func (f *feed) run(ctx context.Context) error {
	nc, err := nats.Connect(f.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.PingInterval(time.Second), nats.ReconnectBufSize(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := f.publish(nc, f.make(i)); err != nil {
			return fmt.Errorf("message %d: %w", i, err)
		}
	}
}

// publish sends a message until it is acknowledged.
func (f *feed) publish(nc *nats.Conn, m *nats.Msg) error {
	const (
		wait    = 2 * time.Second
		refused = 20004 // code of the answer if the app refuses the events for good
		limit   = 3 * time.Minute
	)
	var err error
	for began := time.Now(); time.Since(began) < limit; <-time.After(20 * time.Millisecond) {
		var answer *nats.Msg
		if answer, err = nc.RequestMsg(m, wait); err == nil {
			err = readAnswer(answer)
		}
		var r *refusal
		switch {
		case err == nil:
			f.note()
			return nil
		case errors.As(err, &r) && r.code == refused:
			return err
		case errors.Is(err, nats.ErrTimeout):
			_ = nc.ForceReconnect() // another server may work
		}
		f.mu.Lock()
		f.again++
		if f.why == nil {
			f.why = map[string]int{}
		}
		f.why[err.Error()]++
		f.mu.Unlock()
	}
	return fmt.Errorf("not acknowledged within %s: %w", limit, err)
}

func (f *feed) note() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.acked++
	if now := time.Now(); !f.last.IsZero() {
		f.gap = max(f.gap, now.Sub(f.last))
		f.last = now
	} else {
		f.last = now
	}
}

// longest returns the longest time without an acknowledgement since the previous call.
func (f *feed) longest() (gap time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gap, f.gap = max(f.gap, time.Since(f.last)), 0
	return gap
}

// reasons lists why requests were repeated.
func (f *feed) reasons() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.why)
}

func (f *feed) count() (acked, again int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked, f.again
}
