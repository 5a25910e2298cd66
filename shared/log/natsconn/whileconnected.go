package natsconn

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
)

var errDisconnected = errors.New("the connection was lost")

// WhileConnected returns a context that ends with the connection, for readers of a stream: the
// server does not repeat messages that were lost with it. The caller must call the function, which
// returns when nothing listens to the connection any more.
func WhileConnected(ctx context.Context, nc *nats.Conn) (context.Context, context.CancelFunc) {
	ctx, lose := context.WithCancelCause(ctx)
	status := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer nc.RemoveStatusListener(status)
		select {
		case <-status:
			lose(errDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { lose(nil); <-ended }
}
