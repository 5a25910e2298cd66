package natsconn

import (
	"errors"
	"net/http"

	"github.com/nats-io/nats.go/jetstream"
)

// errCodeNoPeers is what JetStream says when fewer servers are there than a stream is to
// have copies, as while a cluster starts or one of its servers is away.
const errCodeNoPeers jetstream.ErrorCode = 10005

// Passing reports whether err is an answer of JetStream that it cannot do now what it may
// do later: it has no leader, or too few servers. Try again.
func Passing(err error) bool {
	var js jetstream.JetStreamError
	if !errors.As(err, &js) || js.APIError() == nil {
		return false
	}
	api := js.APIError()
	return api.Code == http.StatusServiceUnavailable || api.ErrorCode == errCodeNoPeers
}
