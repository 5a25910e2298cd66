package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/build"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/ops/secret"
)

// endpoint is the server and the user that a command connects as.
type endpoint struct {
	url   string
	flags *pflag.FlagSet
}

// addServerFlags adds the flags of commands that are clients of a server. Their identity comes from
// the settings of services, as environment variables or flags.
func addServerFlags(f *pflag.FlagSet, s *endpoint, wait *time.Duration) {
	addServerFlag(f, s, wait)
	config.AddClientFlags(f)
}

// addServerFlag is addServerFlags for commands that already have the flags of all settings.
func addServerFlag(f *pflag.FlagSet, s *endpoint, wait *time.Duration) {
	s.flags = f
	f.StringVar(&s.url, "server", "", "NATS server (default: nats.url, or "+nats.DefaultURL+")")
	f.DurationVar(wait, "wait", 0, "how long to wait for the server to come up")
}

// connected calls work with a connection, until the command is interrupted.
func connected(cmd *cobra.Command, s endpoint, wait time.Duration, work func(context.Context, *nats.Conn) error) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	nc, err := connect(ctx, s, wait)
	if err != nil {
		return err
	}
	defer nc.Close()
	return natsconn.Refused(nc, work(ctx, nc))
}

// connect connects as a client that reconnects while it can. It tries until wait has passed, and at
// least once.
func connect(ctx context.Context, s endpoint, wait time.Duration) (*nats.Conn, error) {
	cfg, err := config.Load(s.flags, os.Environ())
	if err != nil {
		return nil, usagef("the configuration is refused:\n%w", err)
	}
	at := s.url
	if at == "" {
		at = cfg.NATS.URL
	}
	if at == "" {
		at = nats.DefaultURL
	}
	who := natsconn.ConnectConfig{
		User: cfg.NATS.User, PasswordFile: cfg.NATS.PasswordFile, NKeyFile: cfg.NATS.NKey, Password: cfg.NATS.Password, Token: cfg.NATS.Token, TokenFile: cfg.NATS.TokenFile, CredsFile: cfg.NATS.Creds, CAFile: cfg.NATS.CA, CertFile: cfg.NATS.Cert, KeyFile: cfg.NATS.Key, Inbox: cfg.NATS.Inbox,
	}
	identity, err := who.Identity()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", secret.URL(at), err)
	}
	opts := append(identity, nats.Name("eventflux"), nats.MaxReconnects(-1),
		// Senders repeat messages that they sent without a connection, so the client must not flush
		// them as well.
		nats.ReconnectBufSize(-1), nats.ErrorHandler(eachOnce(os.Stderr)))
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		nc, err := nats.Connect(at, opts...)
		if err == nil {
			return nc, nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(err, nats.ErrNoServers) {
				err = fmt.Errorf("%w; start a server with 'eventflux run APP.siddhi', or name one with --server or --nats.context", err)
			}
			if errors.Is(err, nats.ErrAuthorization) {
				err = fmt.Errorf("%w: the server refuses this user. %s", err, natsconn.NameUser)
			}
			return nil, fmt.Errorf("connect to %s: %w", secret.URL(at), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// eachOnce returns a handler that prints each error of a connection once, such as a permission that
// the user lacks. A request that is sent again fails again.
func eachOnce(w io.Writer) nats.ErrHandler {
	var seen sync.Map
	return func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if _, again := seen.LoadOrStore(err.Error(), true); !again {
			fmt.Fprintln(w, "eventflux:", err)
		}
	}
}

// newClient returns a client of services that reports its own version to them.
func newClient(nc *nats.Conn) *control.Client {
	return &control.Client{Conn: nc, Self: &control.Self{Version: build.Read().Semver(), Name: "the eventflux command"}}
}
