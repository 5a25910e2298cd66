package natsconn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// gather collects answers until none has arrived for a while. It is not an error if there is no
// one to answer.
func gather(ctx context.Context, nc *nats.Conn, subject string, request []byte, first, stall time.Duration, take func(*nats.Msg) error) error {
	fail := func(err error) error { return fmt.Errorf("ask on %s: %w", subject, err) }
	inbox := nc.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only where the connection is closed
	if err := nc.PublishRequest(subject, inbox, request); err != nil {
		return fail(err)
	}
	for wait := first; ; wait = stall {
		m, err := nextWithin(ctx, sub, wait)
		switch {
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
			return nil
		case err != nil:
			return fail(err)
		case m.Header.Get("Status") != "":
			return nil // no responders
		}
		if err := take(m); err != nil {
			return fail(err)
		}
	}
}

func nextWithin(ctx context.Context, sub *nats.Subscription, wait time.Duration) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

// monitored returns what a server tells at its monitoring port, as in "http://nats:8222".
// The error is unknown where the server tells nothing.
func monitored(ctx context.Context, at, path string, bytesMax int64, unknown error) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(at, "/")+path, nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Close = true // asked once; an idle connection would stay
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: HTTP status %s", unknown, resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, bytesMax))
}

// withoutURL returns the cause of an error of net/http. The error itself repeats the URL,
// which may hold a password, and the caller names it anyway.
func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
