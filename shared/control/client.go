package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// Service is the checkpointer's name in subjects: ef.checkpointer.<verb>.
const Service = "checkpointer"

const (
	// attemptTimeout is how long one request may take before it is repeated. Some answers take
	// longer by nature, such as the answer to VerbPrepared; the client then asks again. All
	// requests are idempotent.
	attemptTimeout = 10 * time.Second
	retryWait      = 50 * time.Millisecond
	retryWaitMax   = time.Second
)

// Error is a checkpointer's answer to a request that it refuses or cannot carry out.
type Error struct {
	Code, Text string
}

func (e *Error) Error() string { return e.Text }

// Code returns the code of an *Error in err's chain, or "".
func Code(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Client sends requests to the checkpointer. It may be used concurrently.
type Client struct {
	// The caller owns Conn.
	Conn *nats.Conn
	// Service is the service to ask instead, such as "recovery"; "" means the checkpointer.
	Service string
	// Attempt is how long one request may take before it is repeated; 0 is 10 s.
	Attempt time.Duration
	// Self identifies the client.
	Self *Self
}

func (c *Client) service() string { return cmp.Or(c.Service, Service) }

// Do asks the client's service, as Ask does.
func (c *Client) Do(ctx context.Context, verb string, request, answer any) error {
	return c.Ask(ctx, c.service(), verb, request, answer)
}

// Ask sends a request to a service and decodes the answer. While there is no leader, no
// service answers, or the connection is down, it tries again until ctx ends; without a
// deadline it may wait forever. It fails with an *Error or ctx's error.
func (c *Client) Ask(ctx context.Context, service, verb string, request, answer any) error {
	var data []byte
	if request != nil {
		var err error
		if data, err = json.Marshal(request); err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	subject := natsconn.ServiceSubject(service, verb)
	var last error
	for wait := retryWait; ; wait = min(2*wait, retryWaitMax) {
		err := c.try(ctx, subject, data, answer)
		if err == nil || !transient(err) {
			return err
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return c.gaveUp(ctx, service, verb, last)
		case <-time.After(wait):
		}
	}
}

func (c *Client) gaveUp(ctx context.Context, service, verb string, last error) error {
	if last == nil {
		last = errors.New("no answer")
	}
	if errors.Is(last, nats.ErrNoResponders) {
		last = fmt.Errorf("no %s is there; start one with eventflux run, or eventflux serve --services %[1]s", service)
	}
	return fmt.Errorf("%s: %w: %w", verb, last, ctx.Err())
}

// transient reports whether the request may succeed if it is repeated.
func transient(err error) bool {
	if Code(err) == CodeUnavailable {
		return true
	}
	return natsconn.Transient(err) || errors.Is(err, context.Canceled)
}

func (c *Client) try(ctx context.Context, subject string, data []byte, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Attempt, attemptTimeout))
	defer cancel()
	msg, err := c.request(ctx, subject, data)
	if errors.Is(err, nats.ErrMaxPayload) {
		return &Error{CodeTooLarge, fmt.Sprintf("a request of %d bytes, and the NATS server takes %d; raise its max_payload", len(data), c.Conn.MaxPayload())}
	}
	if err != nil {
		return err
	}
	if code := msg.Header.Get(micro.ErrorCodeHeader); code != "" {
		return &Error{code, msg.Header.Get(micro.ErrorHeader)}
	}
	if err := c.Self.Hear(msg.Header); err != nil {
		return err
	}
	if answer == nil {
		return nil
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("answer to %s: %w", subject, err)
	}
	return nil
}

// Status asks any checkpointer, and only once.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.try(ctx, natsconn.ServiceSubject(Service, VerbStatus), nil, &s)
	return s, err
}

// StatusOf asks one checkpointer, and only once.
func (c *Client) StatusOf(ctx context.Context, id string) (s Status, err error) {
	err = c.try(ctx, natsconn.ServiceSubject(Service, "node."+id+"."+VerbStatus), nil, &s)
	return s, err
}

// Deploy deploys an app.
func (c *Client) Deploy(ctx context.Context, r DeployRequest) (d Deployed, err error) {
	err = c.Do(ctx, VerbDeploy, r, &d)
	return d, err
}

// Apps lists the deployed apps.
func (c *Client) Apps(ctx context.Context) (l AppList, err error) {
	err = c.Do(ctx, VerbApps, nil, &l)
	return l, err
}

// App returns a deployed app with its text.
func (c *Client) App(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbApp, r, &a)
	return a, err
}

// Heartbeat reports the state of a processor, and returns the partitions that it must run.
func (c *Client) Heartbeat(ctx context.Context, r HeartbeatRequest) (h Heartbeat, err error) {
	err = c.Do(ctx, VerbHeartbeat, r, &h)
	return h, err
}

// Serving reports which apps an ingest serves.
func (c *Client) Serving(ctx context.Context, r ServingRequest) error {
	return c.Do(ctx, VerbServing, r, nil)
}

// Attach takes a partition over for a task.
func (c *Client) Attach(ctx context.Context, r AttachRequest) (a Attached, err error) {
	err = c.Do(ctx, VerbAttach, r, &a)
	return a, err
}

// Prepared reports that a task has stored its part, and returns the outcome of the epoch.
func (c *Client) Prepared(ctx context.Context, r PreparedRequest) (o Outcome, err error) {
	err = c.Do(ctx, VerbPrepared, r, &o)
	return o, err
}

// Digests compares the state of a standby with the state of the partition's owner.
func (c *Client) Digests(ctx context.Context, r DigestsRequest) (d DigestsAnswer, err error) {
	err = c.Do(ctx, VerbDigests, r, &d)
	return d, err
}

// Failed reports that a task cannot prepare an epoch.
func (c *Client) Failed(ctx context.Context, r FailedRequest) (o Outcome, err error) {
	err = c.Do(ctx, VerbFailed, r, &o)
	return o, err
}

// Trigger makes a checkpoint and returns its outcome.
func (c *Client) Trigger(ctx context.Context, r AppRequest) (o Outcome, err error) {
	err = c.Do(ctx, VerbTrigger, r, &o)
	return o, err
}

// Checkpoints lists the checkpoints of an app, newest first.
func (c *Client) Checkpoints(ctx context.Context, r AppRequest) (l CheckpointList, err error) {
	err = c.Do(ctx, VerbCheckpoints, r, &l)
	return l, err
}

// Checkpoint returns the manifest of a checkpoint.
func (c *Client) Checkpoint(ctx context.Context, r CheckpointRequest) (m checkpoint.Manifest, err error) {
	err = c.Do(ctx, VerbCheckpoint, r, &m)
	return m, err
}
