package natsconn

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
)

// ErrNoJetStream is returned when JetStream is off, on the server or for the account of a user.
// A later attempt fails as well, until somebody turns it on.
var ErrNoJetStream = errors.New("EventFlux needs JetStream")

// Refused returns err with what NATS has refused, and what to do, if that is why a request failed:
// a request without a permission only gets no answer, and the connection knows the reason.
func Refused(nc *nats.Conn, err error) error {
	var answer jetstream.JetStreamError
	switch {
	case err == nil || errors.Is(err, ErrNoJetStream):
		return err
	case errors.As(err, &answer) && answer.APIError() != nil && answer.APIError().ErrorCode == jetstream.JSErrCodeJetStreamNotEnabledForAccount:
		return fmt.Errorf("%w; %w in the account of this user: turn it on there (`jetstream: enabled` in that account in the server's configuration file, or limits such as `nsc edit account NAME --js-disk-storage 10G --js-streams -1 --js-consumer -1`), or connect as a user of another account", err, ErrNoJetStream)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout):
		if why := nc.LastError(); errors.Is(why, nats.ErrPermissionViolation) {
			return fmt.Errorf("%w; %w; deploy/nats/auth.conf has the permissions that each user needs", err, why)
		}
	}
	return err
}

// checkCreds returns an error unless a .creds file has the JWT and the key of a user. The client
// only finds out when it connects, and then tries forever.
func checkCreds(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = nkeys.ParseDecoratedJWT(data)
	if err == nil {
		var key nkeys.KeyPair
		if key, err = nkeys.ParseDecoratedUserNKey(data); err == nil {
			key.Wipe()
		}
	}
	if err != nil {
		return fmt.Errorf("%s is no .creds file, which has the JWT and the key of a user, as `nsc generate creds` writes it: %w", file, err)
	}
	return nil
}
