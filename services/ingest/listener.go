package ingest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// queueGroup is the one queue group of all subscriptions of all processes. NATS delivers a
// message to exactly one subscription of a group, even if their subjects overlap. So each
// message is handled once although subscriptions come and go while messages arrive.
const queueGroup = "ef-ingest"

// subscribeTimeout is how long the server may take to confirm subscriptions.
const subscribeTimeout = 5 * time.Second

// listener receives messages from the server. Two goroutines handle them. The first one
// answers messages at once if there is no room for them, so that it keeps up with the
// connection. The second one does the work for the others.
//
//	subscriptions ──▶ arriving ──▶ sort ──▶ queue ──▶ work ──▶ intake
//	                     │           └── full ──▶ error 503
//	                     └── Gate: the server waits
type listener struct {
	s        *Service
	arriving chan *nats.Msg // of all subscriptions, in the order of the connection
	queue    *queue
	sorted   chan struct{} // closed when sort has to end
	ended    sync.WaitGroup

	mu      sync.Mutex // guards subs
	subs    map[string]*nats.Subscription
	dropped int // messages that the client library dropped for subscriptions that are gone
	told    int // dropped messages that are already counted
}

func newListener(s *Service) *listener {
	return &listener{
		s: s, arriving: make(chan *nats.Msg, arrivingMax), queue: newQueue(s.cfg.MemoryMax),
		sorted: make(chan struct{}), subs: map[string]*nats.Subscription{},
	}
}

// begin starts to handle messages.
func (l *listener) begin() {
	l.s.cfg.Gate.begin(func() int { return len(l.arriving) })
	l.ended.Go(l.sort)
	l.ended.Go(l.work)
}

// sort puts arriving messages into the queue. It never waits for work.
func (l *listener) sort() {
	defer l.queue.close()
	defer l.s.cfg.Gate.end()
	for {
		select {
		case m := <-l.arriving:
			l.admit(m)
			continue
		default:
		}
		l.s.cfg.Gate.seen()
		select {
		case m := <-l.arriving:
			l.admit(m)
		case <-l.sorted:
			if len(l.arriving) == 0 {
				return
			}
		}
	}
}

// admit puts a message into the queue, or refuses it. It drops a reply subject where an
// answer would do harm; the events of the message still count.
func (l *listener) admit(m *nats.Msg) {
	if m.Reply != "" && !l.s.answerable(m.Reply) {
		l.s.counters.unanswered.record(fmt.Sprintf("%.100q cannot be a subject for answers; publish with an inbox", m.Reply))
		m.Reply = ""
	}
	if !l.queue.put(m) {
		p := l.s.full(fmt.Sprintf("%d bytes of messages wait to be handled", l.queue.bytes.Load()), nil)
		l.s.counters.refusedFor(p.code)
		l.s.refuse(m, p, false)
	}
}

// work handles the messages of the queue one after the other.
func (l *listener) work() {
	var batch []*nats.Msg
	for {
		if batch = l.queue.drain(batch); batch == nil {
			return
		}
		for i, m := range batch {
			l.s.handle(m)
			l.queue.handled(m)
			batch[i] = nil
		}
	}
}

// listen subscribes to the patterns. It returns once the server has the subscriptions, with
// the patterns that the server refuses.
func (l *listener) listen(ctx context.Context, patterns []string) (denied []string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	var errs []error
	for _, p := range patterns {
		if l.subs[p] != nil {
			continue
		}
		err := l.subscribe(ctx, p)
		if errors.As(err, new(*deniedError)) {
			denied = append(denied, p)
		} else if err != nil {
			errs = append(errs, err)
		}
	}
	return denied, errors.Join(errs...)
}

// keep ends, in the background, the subscriptions to all subjects except the patterns. Call it
// after listen, so that each message always has a subscriber.
func (l *listener) keep(patterns []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, sub := range l.subs {
		if !slices.Contains(patterns, p) {
			l.leave(p, sub)
		}
	}
}

// subscribe returns once the server has the subscription. The caller holds mu.
func (l *listener) subscribe(ctx context.Context, pattern string) error {
	nc := l.s.cfg.Conn
	before := nc.LastError()
	sub, err := nc.ChanQueueSubscribe(pattern, queueGroup, l.arriving)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", pattern, err)
	}
	l.subs[pattern] = sub
	if err := nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("subscribe to %s: %w", pattern, err)
	}
	// A refusal arrives before the answer to the flush.
	if err := nc.LastError(); err != before && deniedPattern(err) == pattern { //nolint:errorlint // the same refusal, not one of its kind
		l.forget(pattern)
		return &deniedError{pattern}
	}
	return nil
}

// forget ends a subscription that the server has refused. The caller holds mu.
func (l *listener) forget(pattern string) {
	if sub := l.subs[pattern]; sub != nil {
		n, _ := sub.Dropped()
		l.dropped += n
		_ = sub.Unsubscribe() // the server has none
		delete(l.subs, pattern)
	}
}

// deniedError says that the server refuses a subscription.
type deniedError struct{ pattern string }

func (e *deniedError) Error() string {
	return fmt.Sprintf("NATS refuses the subscription to %s: let the user of ingest subscribe to it, in the permissions of the NATS servers", e.pattern)
}

var deniedSubscription = regexp.MustCompile(`(?i)permissions violation for subscription to "(\S+)" using queue "` + queueGroup + `"`)

// deniedPattern returns the pattern if err says that the server refuses a subscription of
// ingest; "" for another error.
func deniedPattern(err error) string {
	if err == nil {
		return ""
	}
	if found := deniedSubscription.FindStringSubmatch(err.Error()); found != nil {
		return found[1]
	}
	return ""
}

// leave ends a subscription once all delivered messages have arrived. The caller holds mu.
func (l *listener) leave(pattern string, sub *nats.Subscription) (closed chan struct{}) {
	delete(l.subs, pattern)
	n, _ := sub.Dropped()
	l.dropped += n
	closed = make(chan struct{})
	ended := sync.OnceFunc(func() { close(closed) })
	sub.SetClosedHandler(func(string) { ended() })
	if err := sub.Drain(); err != nil {
		_ = sub.Unsubscribe() // fails too if the connection is closed, but then the subscription is gone
		ended()
	}
	return closed
}

// end ends all subscriptions. It returns once all delivered messages are handled, or with the
// error of ctx.
func (l *listener) end(ctx context.Context) error {
	l.mu.Lock()
	var closed []chan struct{}
	for p, sub := range l.subs {
		closed = append(closed, l.leave(p, sub))
	}
	l.mu.Unlock()
	var err error
	for _, c := range closed {
		select {
		case <-c:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	close(l.sorted)
	l.ended.Wait() // neither sort nor work ever waits for the server
	l.look()
	if err != nil {
		return fmt.Errorf("the server did not confirm the end of the subscriptions; publishers may be without an answer: %w", err)
	}
	return nil
}

// look counts the messages that the client library has dropped since the last call: none, if
// the connection has the Gate.
func (l *listener) look() {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.dropped
	for _, sub := range l.subs {
		n, _ := sub.Dropped()
		all += n
	}
	if n := all - l.told; n > 0 {
		l.s.counters.dropped.add(uint64(n), "events arrive faster than ingest can receive them; publish with a reply subject, and wait for the answers")
		l.told = all
	}
}
