package natsconn

import (
	"context"
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errCodeNoPeers is what JetStream says when fewer servers are there than a stream is to
// have copies, as while a cluster starts or one of its servers is away.
const errCodeNoPeers jetstream.ErrorCode = 10005

// Unavailable reports whether err is an answer of JetStream that it cannot do now what it may
// do later: it has no leader, or too few servers. Try again.
func Unavailable(err error) bool {
	var js jetstream.JetStreamError
	if !errors.As(err, &js) || js.APIError() == nil {
		return false
	}
	api := js.APIError()
	return api.Code == http.StatusServiceUnavailable || api.ErrorCode == errCodeNoPeers
}

// Transient reports whether err says that NATS could not be asked just now, or not in time, and
// nothing of what it holds: the connection is away, a stream has no leader, an answer did not
// come. Try again.
func Transient(err error) bool {
	for _, one := range []error{
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, // nothing is buffered while there is no connection
		jetstream.ErrNoStreamResponse, jetstream.ErrServerShutdown, jetstream.ErrConsumerLeadershipChanged, jetstream.ErrNoHeartbeat,
		context.DeadlineExceeded,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	return Unavailable(err)
}
