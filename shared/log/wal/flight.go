package wal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	backOffMin      = 10 * time.Millisecond
	backOffMax      = 250 * time.Millisecond // so much longer an election is for publishers
	attemptGrowsMax = 4
	answersMax      = 256 // late answers to repeated attempts; more are not worth keeping
)

// attempts sends one frame after the other, each until it is acknowledged. A
// frame whose outcome is unknown must be repeated with the same bytes: its number
// may be in the log already, and another content under that number would be
// dropped by the task as a duplicate. A refused one is repeated as well, because a
// full log, a server without leader or a stopping server are states that pass.
type attempts struct {
	w       *Writer
	sub     *nats.Subscription
	answers chan *nats.Msg
	status  chan nats.Status
	inbox   string

	msg     nats.Msg // of the frame in flight
	tries   int
	down    bool // the connection was lost since the frame was sent
	refused bool // the last attempt was answered by an error
	sendErr error
}

func openAttempts(w *Writer) (*attempts, error) {
	nc := w.cfg.Conn
	a := &attempts{w: w, answers: make(chan *nats.Msg, answersMax), inbox: nc.NewInbox() + "."}
	var err error
	if a.sub, err = nc.ChanSubscribe(a.inbox+"*", a.answers); err != nil {
		return nil, fmt.Errorf("log writer of %s/%d: subscribe to answers: %w", w.cfg.App, w.cfg.Partition, err)
	}
	a.status = nc.StatusChanged(nats.CONNECTED, nats.RECONNECTING)
	return a, nil
}

func (a *attempts) close() {
	a.w.cfg.Conn.RemoveStatusListener(a.status)
	_ = a.sub.Unsubscribe() // fails only where the connection is closed
}

// begin sends the frame of g once.
func (a *attempts) begin(g *group) {
	for len(a.status) > 0 {
		<-a.status // what happened between frames concerns none of them
	}
	a.msg = nats.Msg{
		Subject: a.w.subject,
		Reply:   a.inbox + strconv.FormatUint(g.frame.Number, 36),
		Data:    g.encoded,
	}
	a.tries, a.down = 0, false
	a.send()
}

func (a *attempts) send() {
	a.tries++
	a.refused = false
	a.sendErr = a.w.cfg.Conn.PublishMsg(&a.msg)
	if a.sendErr != nil {
		a.down = true
	}
}

// await returns the sequence of the frame that begin sent. An answer to any of its attempts
// counts. It returns an error if ctx ends, or if no attempt can ever succeed.
func (a *attempts) await(ctx context.Context) (uint64, error) {
	timer := time.NewTimer(a.timeout())
	defer timer.Stop()
	for {
		if errors.Is(a.sendErr, nats.ErrConnectionClosed) || errors.Is(a.sendErr, nats.ErrMaxPayload) {
			return 0, a.sendErr
		}
		if a.sendErr != nil {
			a.w.trouble(a.sendErr)
			timer.Reset(a.backOff())
			a.sendErr = nil
		}
		select {
		case m := <-a.answers:
			seq, err := a.read(m)
			switch {
			case errors.Is(err, errForeign):
				return 0, err
			case err != nil:
				a.refused = true
				a.w.trouble(err)
				timer.Reset(a.backOff())
			case seq > 0:
				a.w.passed()
				return seq, nil
			}
		case s := <-a.status:
			if s == nats.RECONNECTING {
				a.down = true
				a.w.trouble(nats.ErrDisconnected)
			} else if s == nats.CONNECTED && a.down {
				a.repeat(timer)
			}
		case <-timer.C:
			if !a.down && !a.refused {
				a.w.trouble(fmt.Errorf("no answer to attempt %d: %w", a.tries, nats.ErrTimeout))
			}
			a.repeat(timer)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (a *attempts) repeat(timer *time.Timer) {
	a.down = false
	a.send()
	timer.Reset(a.timeout())
	if a.sendErr != nil {
		return
	}
	a.w.mu.Lock()
	a.w.stats.Repeats++
	a.w.mu.Unlock()
}

func (a *attempts) timeout() time.Duration {
	return a.w.cfg.AttemptTimeout * time.Duration(min(1<<min(a.tries-1, 8), attemptGrowsMax))
}

func (a *attempts) backOff() time.Duration {
	return min(backOffMin<<min(a.tries-1, 10), backOffMax)
}

// errForeign is an acknowledgement by another stream. To continue would write the log where no
// task reads it.
var errForeign = errors.New("another JetStream stream has the log's subject")

// read returns the sequence in the answer, or 0 if the answer is not about the frame in
// flight.
func (a *attempts) read(m *nats.Msg) (uint64, error) {
	if m.Subject != a.msg.Reply {
		return 0, nil
	}
	if status := m.Header.Get("Status"); status != "" {
		return 0, fmt.Errorf("no JetStream stream takes %s: status %s: %w", a.msg.Subject, status, nats.ErrNoResponders)
	}
	var ack struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
		Error  *struct {
			Code        int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	switch err := json.Unmarshal(m.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("answer %.80q of JetStream: %w", m.Data, err)
	case ack.Error != nil:
		return 0, fmt.Errorf("JetStream stream %s refuses: %s (%d)", a.w.stream, ack.Error.Description, ack.Error.Code)
	case ack.Stream != a.w.stream:
		return 0, fmt.Errorf("%w: %s instead of %s", errForeign, ack.Stream, a.w.stream)
	case ack.Seq == 0:
		return 0, fmt.Errorf("answer %.80q of JetStream has no sequence", m.Data)
	}
	return ack.Seq, nil
}

// trouble notes that nothing is acknowledged, and why.
func (w *Writer) trouble(err error) {
	w.mu.Lock()
	first := w.stalled.err == nil
	if first {
		w.stalled.since = time.Now()
	}
	w.stalled.err = err
	w.mu.Unlock()
	if first {
		w.cfg.Log.Warn("the log takes no frames; trying on", "app", w.cfg.App, "partition", w.cfg.Partition, "err", err)
	}
}

// passed notes that there is no trouble any more.
func (w *Writer) passed() {
	w.mu.Lock()
	was := w.stalled
	w.stalled = stall{}
	w.mu.Unlock()
	if was.err != nil {
		w.cfg.Log.Info("the log takes frames again", "app", w.cfg.App, "partition", w.cfg.Partition, "after", time.Since(was.since))
	}
}
