package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"
)

// addServerFlags adds the flags of commands that are clients of a server.
func addServerFlags(f *pflag.FlagSet, server *string, wait *time.Duration) {
	f.StringVar(server, "server", nats.DefaultURL, "NATS server")
	f.DurationVar(wait, "wait", 0, "how long to wait for the server to come up")
}

// connect connects as a client that stays connected while it can. It tries for as
// long as wait says, and once at least.
func connect(ctx context.Context, server string, wait time.Duration) (*nats.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		nc, err := nats.Connect(server, nats.Name("eventflux"), nats.MaxReconnects(-1),
			// What is sent without a connection is repeated by its sender, and not
			// flushed a second time by the client.
			nats.ReconnectBufSize(-1))
		if err == nil {
			return nc, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connect to %s: %w; start a server with 'eventflux run APP.siddhi', or name one with --server", redacted(server), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// redacted hides the password in a server's URL.
func redacted(server string) string {
	if u, err := url.Parse(server); err == nil {
		return u.Redacted()
	}
	return "the server"
}
