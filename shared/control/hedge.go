package control

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A checkpointer that is frozen or cut off still gets its share of the requests until NATS
// notices. So a request that may be repeated, and is answered soon or by the end of an epoch,
// is sent again after hedgeWait without an answer: most likely to another checkpointer.
// Heartbeats and serving reports are repeated at this interval; for other requests it doubles
// each time.
const hedgeWait = 200 * time.Millisecond

var hedged = map[string]time.Duration{ // by subject: what the wait is multiplied with
	natsconn.ServiceSubject(Service, VerbHeartbeat):   1,
	natsconn.ServiceSubject(Service, VerbServing):     1,
	natsconn.ServiceSubject(Service, VerbAttach):      2,
	natsconn.ServiceSubject(Service, VerbPrepared):    2,
	natsconn.ServiceSubject(Service, VerbFailed):      2,
	natsconn.ServiceSubject(Service, VerbApps):        2,
	natsconn.ServiceSubject(Service, VerbApp):         2,
	natsconn.ServiceSubject(Service, VerbCheckpoints): 2,
	natsconn.ServiceSubject(Service, VerbCheckpoint):  2,
}

type reply struct {
	msg *nats.Msg
	err error
}

// request sends a request and returns the first answer. An answer that no service is there
// counts only if no other answer can come.
func (c *Client) request(ctx context.Context, subject string, data []byte) (*nats.Msg, error) {
	m := &nats.Msg{Subject: subject, Header: c.Self.Headers(), Data: data}
	grow := hedged[subject]
	if grow == 0 {
		return c.Conn.RequestMsgWithContext(ctx, m)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply)
	asked := 0
	ask := func() {
		asked++
		go func() {
			msg, err := c.Conn.RequestMsgWithContext(ctx, m)
			select {
			case replies <- reply{msg, err}:
			case <-ctx.Done():
			}
		}()
	}
	ask()
	wait := hedgeWait
	again := time.NewTimer(wait)
	defer again.Stop()
	for {
		select {
		case r := <-replies:
			asked--
			nobody := r.err != nil || r.msg.Header.Get(micro.ErrorCodeHeader) == CodeUnavailable
			if !nobody || asked == 0 {
				return r.msg, r.err
			}
		case <-again.C:
			ask()
			wait *= grow
			again.Reset(wait)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
