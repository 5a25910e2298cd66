package natsconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

const (
	servicesFirstWait = time.Second
	servicesStall     = 250 * time.Millisecond // services answer one by one
	// knownAttempt is how long a round trip to the server may take before another one is tried: the
	// connection may be gone.
	knownAttempt = 10 * time.Second
)

// Services returns the processes of EventFlux that the NATS service registry knows, one
// for each service that they run.
func Services(ctx context.Context, nc *nats.Conn) ([]micro.Info, error) {
	var all []micro.Info
	err := gather(ctx, nc, "$SRV.INFO", nil, servicesFirstWait, servicesStall, func(m *nats.Msg) error {
		var info micro.Info
		if err := json.Unmarshal(m.Data, &info); err != nil {
			return fmt.Errorf("answer of a service: %w", err)
		}
		if strings.HasPrefix(info.Name, ServiceName("")) {
			all = append(all, info)
		}
		return nil
	})
	return all, err
}

// WhenKnown closes known once the server knows the subscriptions that were made on nc so far. It
// returns then, or when ctx ends.
func WhenKnown(ctx context.Context, nc *nats.Conn, known chan<- struct{}) {
	for ctx.Err() == nil {
		attempt, cancel := context.WithTimeout(ctx, knownAttempt)
		err := nc.FlushWithContext(attempt)
		cancel()
		switch {
		case err == nil:
			close(known)
			return
		case errors.Is(err, nats.ErrConnectionClosed):
			return
		}
	}
}

// Answers returns what all processes that listen on a subject answer.
func Answers(ctx context.Context, nc *nats.Conn, subject string, request []byte) (all []*nats.Msg, err error) {
	err = gather(ctx, nc, subject, request, servicesFirstWait, servicesStall, func(m *nats.Msg) error {
		all = append(all, m)
		return nil
	})
	return all, err
}

// Where adds the host to what a service says of itself in the NATS service registry, so
// that a process is found by what is found out about it.
func Where(metadata map[string]string) map[string]string {
	all := maps.Clone(metadata)
	if all == nil {
		all = map[string]string{}
	}
	if host, err := os.Hostname(); err == nil {
		all["host"] = host
	}
	return all
}

// Place says which process of a service that was.
func Place(s *micro.Info) string {
	name := strings.TrimPrefix(s.Name, ServiceName(""))
	for _, own := range []string{"raft_id", "processor"} {
		if id := s.Metadata[own]; id != "" {
			return name + " " + id
		}
	}
	if host := s.Metadata["host"]; host != "" {
		return name + " on " + host
	}
	return name
}
