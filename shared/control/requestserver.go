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

// RequestServer accepts the requests of a service. It limits how many are answered at once and how
// large they are, and ignores those whose answer would do harm. It may be used concurrently.
type RequestServer struct {
	conn     *nats.Conn
	slots    chan struct{} // one for each request that is being answered
	bytesMax int
	log      *slog.Logger
}

// NewRequestServer returns a RequestServer over conn for requests of up to bytesMax bytes. It answers up to
// requestsMax of them at once.
func NewRequestServer(conn *nats.Conn, requestsMax, bytesMax int, log *slog.Logger) *RequestServer {
	return &RequestServer{conn: conn, slots: make(chan struct{}, requestsMax), bytesMax: bytesMax, log: log}
}

// Handler calls answer for each accepted request, in a goroutine of group. If answer returns
// an error, that is the answer: with the code of an *Error, as CodeUnavailable after a
// timeout, and otherwise as CodeInternal.
func (d *RequestServer) Handler(group *sync.WaitGroup, answer func(micro.Request) error) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if !natsconn.Answerable(r.Reply()) {
			d.log.Warn("ignored a request because its reply subject would deliver the answer to another service", "request", r.Subject(), "reply", r.Reply())
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

// apart is a request that is answered outside its handler. micro treats the return of the
// handler as the end of the request: it then reads the result of the answer, without a lock.
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

// refuse answers with an error. It ignores a failed send, since the client may be gone.
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
