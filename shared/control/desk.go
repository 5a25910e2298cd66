package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Desk takes the requests of a service: so many at once, none that is too large, and none
// whose answer would do harm. It may be used concurrently.
type Desk struct {
	conn     *nats.Conn
	slots    chan struct{} // one for each request that is being answered
	bytesMax int
	log      *slog.Logger
}

// NewDesk returns one for requests of up to bytesMax, of which requestsMax are answered at
// once, over conn.
func NewDesk(conn *nats.Conn, requestsMax, bytesMax int, log *slog.Logger) *Desk {
	return &Desk{conn: conn, slots: make(chan struct{}, requestsMax), bytesMax: bytesMax, log: log}
}

// Handler calls answer for each request that is let in, in a goroutine of group. An error
// is what is answered then: with the code of an *Error, else as CodeUnavailable where time
// ran out and as CodeInternal.
func (d *Desk) Handler(group *sync.WaitGroup, answer func(micro.Request) error) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if !natsconn.Answerable(r.Reply()) {
			d.log.Warn("ignored a request whose answer would go where nobody waits for one", "request", r.Subject(), "reply", r.Reply())
			return
		}
		if n := len(r.Data()); n > d.bytesMax {
			refuse(r, &Error{CodeTooLarge, fmt.Sprintf("a request of %d bytes, limit %d", n, d.bytesMax)})
			return
		}
		select {
		case d.slots <- struct{}{}:
		default:
			refuse(r, &Error{CodeUnavailable, fmt.Sprintf("%d requests are being answered; try again", cap(d.slots))})
			return
		}
		group.Go(func() {
			defer func() { <-d.slots }()
			r := apart{r, d.conn}
			if err := answer(r); err != nil {
				refuse(r, err)
			}
		})
	})
}

// apart is a request that is answered beside its handler, whose return micro takes for the
// end of it: it then looks at what came of the answer, without a lock.
type apart struct {
	micro.Request
	conn *nats.Conn
}

func (r apart) Respond(data []byte, opts ...micro.RespondOpt) error {
	m := nats.NewMsg(r.Reply())
	m.Data = data
	for _, opt := range opts {
		opt(m)
	}
	return r.conn.PublishMsg(m)
}

func (r apart) RespondJSON(answer any, opts ...micro.RespondOpt) error {
	data, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return r.Respond(data, opts...)
}

func (r apart) Error(code, text string, data []byte, opts ...micro.RespondOpt) error {
	header := micro.Headers{micro.ErrorCodeHeader: {code}, micro.ErrorHeader: {text}}
	return r.Respond(data, append(opts, micro.WithHeaders(header))...)
}

// refuse answers with an error; whoever asked may have gone.
func refuse(r micro.Request, err error) {
	code := Code(err)
	switch {
	case code != "":
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		code = CodeUnavailable
	default:
		code = CodeInternal
	}
	_ = r.Error(code, err.Error(), nil)
}

// Parse reads a request, which is JSON or nothing.
func Parse(data []byte, request any) error {
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, request); err != nil {
		return &Error{CodeInvalid, fmt.Sprintf("the request is not the JSON that it should be: %v; see docs/api.md", err)}
	}
	return nil
}
