package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// publishFunc sends n messages, cycling through messages, with at most window in flight. It returns
// when all are acknowledged.
type publishFunc func(ctx context.Context, subject string, messages [][]byte, n, window int) error

// publisher sends messages with a reply subject, as JetStream publishing does, keeps a bounded
// number in flight, and checks every answer. It is as cheap as a client can be: all answers arrive
// on one subject and are counted.
type publisher struct {
	nc      *nats.Conn
	inbox   string
	expect  []byte // prefix of a good answer
	sent    uint64
	acked   atomic.Uint64
	wanted  atomic.Uint64 // acked that the sender waits for
	wake    chan struct{}
	refused atomic.Pointer[string] // the first bad answer
}

func newPublisher(nc *nats.Conn, stream string) (*publisher, error) {
	p := &publisher{
		nc: nc, inbox: nc.NewInbox(), wake: make(chan struct{}, 1),
		expect: fmt.Appendf(nil, `{"stream":%q,`, stream),
	}
	p.wanted.Store(math.MaxUint64)
	sub, err := nc.Subscribe(p.inbox, p.answer) // ends with the connection
	if err != nil {
		return nil, err
	}
	return p, sub.SetPendingLimits(-1, -1)
}

func (p *publisher) answer(m *nats.Msg) {
	if !bytes.HasPrefix(m.Data, p.expect) || bytes.Contains(m.Data, []byte(`"error"`)) {
		text := string(m.Data)
		p.refused.CompareAndSwap(nil, &text)
	}
	if p.acked.Add(1) >= p.wanted.Load() {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// publish is a publishFunc.
func (p *publisher) publish(ctx context.Context, subject string, messages [][]byte, n, window int) error {
	for i := range n {
		if p.sent-p.acked.Load() >= uint64(window) {
			if err := p.await(ctx, p.sent-uint64(window)/2); err != nil {
				return err
			}
		}
		if err := p.nc.PublishRequest(subject, p.inbox, messages[i%len(messages)]); err != nil {
			return err
		}
		p.sent++
	}
	return p.await(ctx, p.sent)
}

// await returns once acked answers have come.
func (p *publisher) await(ctx context.Context, acked uint64) error {
	p.wanted.Store(acked)
	defer p.wanted.Store(math.MaxUint64)
	for p.acked.Load() < acked {
		select {
		case <-p.wake:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d messages answered: %w", p.acked.Load(), p.sent, ctx.Err())
		}
	}
	if text := p.refused.Load(); text != nil {
		return fmt.Errorf("answer %s", *text)
	}
	return nil
}

// byJetStream returns a publishFunc that uses the nats.go client as most programs do: with a reply
// subject and a future for each message.
func byJetStream(nc *nats.Conn, window int) (publishFunc, error) {
	var failed atomic.Pointer[error]
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(window),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, _ *nats.Msg, err error) {
			failed.CompareAndSwap(nil, &err)
		}))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, subject string, messages [][]byte, n, _ int) error {
		for i := range n {
			_, err := js.PublishAsync(subject, messages[i%len(messages)])
			for errors.Is(err, jetstream.ErrTooManyStalledMsgs) && ctx.Err() == nil {
				_, err = js.PublishAsync(subject, messages[i%len(messages)])
			}
			if err != nil {
				return err
			}
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	}, nil
}
