package natsconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

const (
	reconnectWait = 100 * time.Millisecond
	dialTimeout   = 2 * time.Second

	// A server whose machine is gone says nothing at all: no answer to so many pings
	// in a row is the only sign. A server that is only busy answers them in between.
	pingEvery      = 2 * time.Second
	pingsUnheardOf = 3
)

// ConnectConfig says where to connect, and as whom.
type ConnectConfig struct {
	// URL of the external server, or several with commas between. It is not
	// looked at if Embedded is set.
	URL string
	// Embedded is the server in this process.
	Embedded *Embedded
	// Name of the connection, as the server's listings show it.
	Name string
	// User and PasswordFile are a name and the file with its password.
	User, PasswordFile string
	// Password and Token are in memory where a context of the NATS command line has them.
	Password, Token string
	// TokenFile is the file with a token.
	TokenFile string
	// CredsFile (JWT and key) or NKeyFile (seed) prove who we are; secrets are in
	// files alone.
	CredsFile, NKeyFile string
	// CAFile replaces the system's certificate authorities, and makes TLS a must;
	// CertFile and KeyFile are the client's own certificate.
	CAFile, CertFile, KeyFile string
	// Inbox is the prefix of the subjects for answers; "" is _INBOX. If each user has its own
	// prefix, no other user can read its answers.
	Inbox string
	// Log is where the connection's ups and downs go; nil is slog.Default.
	Log *slog.Logger
	// BeforeRead is called before each read from the server, of at most ReadBytesMax. While
	// it waits, the server waits, too. nil for none.
	BeforeRead func()
	// Changed is called when the connection is lost and when it is back; nil for no call. It
	// must be quick.
	Changed func(connected bool)
}

// NameUser lists the settings that name the user of a connection.
const NameUser = "Name the user with --nats.context, --nats.creds, --nats.nkey, --nats.user or --nats.token_file"

// Connect returns a connection that stays forever: it reconnects without end,
// and keeps nothing back while it is down - a publish fails at once, because a
// client's buffer that is flushed later would write what its owner gave up on.
// It waits for the first connection until ctx ends.
func Connect(ctx context.Context, cfg ConnectConfig) (*nats.Conn, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.URL == "" && cfg.Embedded == nil {
		return nil, errors.New("connect to NATS: no URL given; set nats.url, or run the embedded server")
	}
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", cfg.where(), secret.Error(err))
	}
	connected := make(chan struct{})
	// The client forgets why an attempt failed when it starts the next one.
	var last atomic.Pointer[error]
	var said sync.Once
	opts = append(opts, nats.ConnectHandler(func(*nats.Conn) { close(connected) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			last.Store(&err)
			said.Do(func() {
				select {
				case <-connected: // it was lost later, which another handler logs
				default:
					msg := "NATS does not answer; trying until it does"
					if errors.Is(err, nats.ErrAuthorization) {
						msg = "NATS refuses this user; trying until it does not. " + NameUser
					}
					cfg.Log.Warn(msg, "nats", cfg.where(), "err", err)
				}
			})
			cfg.Log.Debug("reconnect to NATS", "connection", cfg.Name, "nats", cfg.where(), "err", err)
		}))
	nc, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS at %s: %w", cfg.where(), secret.Error(err))
	}
	if nc.IsConnected() {
		return nc, nil
	}
	select {
	case <-connected:
		return nc, nil
	case <-ctx.Done():
		err := errors.Join(ctx.Err(), nc.LastError())
		if why := last.Load(); why != nil && nc.LastError() == nil {
			err = errors.Join(ctx.Err(), *why)
		}
		nc.Close()
		return nil, fmt.Errorf("connect to NATS at %s: %w", cfg.where(), secret.Error(err))
	}
}

func (cfg *ConnectConfig) where() string {
	if cfg.Embedded != nil {
		return "the embedded server"
	}
	return secret.URL(cfg.URL)
}

func (cfg *ConnectConfig) options() ([]nats.Option, error) {
	log := cfg.Log.With("connection", cfg.Name, "nats", cfg.where())
	changed := cfg.Changed
	if changed == nil {
		changed = func(bool) {}
	}
	opts := []nats.Option{
		nats.Name(cfg.Name),
		nats.Timeout(dialTimeout),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // credentials may be renewed while we run
		nats.ReconnectWait(reconnectWait),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(pingsUnheardOf),
		nats.ReconnectBufSize(-1),
		nats.RetryOnFailedConnect(true),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			changed(false)
			if err != nil {
				log.Warn("disconnected from NATS; reconnecting", "err", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			changed(true)
			log.Info("connected to NATS again")
		}),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			// The client may be giving an inactive consumer another subject.
			if sub != nil && !errors.Is(err, nats.ErrConsumerNotActive) {
				subject = sub.Subject
			}
			log.Error("NATS connection", "subject", subject, "err", err)
		}),
	}
	switch {
	case cfg.Embedded != nil && cfg.BeforeRead != nil:
		opts = append(opts, nats.InProcessServer(pacedServer{cfg.Embedded, cfg.BeforeRead}))
	case cfg.Embedded != nil:
		opts = append(opts, nats.InProcessServer(cfg.Embedded))
	case cfg.BeforeRead != nil:
		opts = append(opts, nats.SetCustomDialer(pacedDialer{net.Dialer{Timeout: dialTimeout}, cfg.BeforeRead}))
	}
	if cfg.Embedded != nil {
		if own := cfg.Embedded.own; own != nil {
			opts = append(opts, nats.UserInfo(own.Username, own.Password))
		}
		return opts, nil
	}
	own, err := cfg.Identity()
	return append(opts, own...), err
}

// Identity returns the options that prove the client's identity and check the server's.
func (cfg *ConnectConfig) Identity() ([]nats.Option, error) {
	var opts []nats.Option
	password, token := cfg.Password, cfg.Token
	if (cfg.User == "") != (cfg.PasswordFile == "" && password == "") {
		return nil, errors.New("user and password file go together, one of them is missing")
	}
	if cfg.PasswordFile != "" {
		var err error
		if password, err = secret.File(cfg.PasswordFile); err != nil {
			return nil, err
		}
	}
	if cfg.User != "" {
		opts = append(opts, nats.UserInfo(cfg.User, password))
	}
	if cfg.TokenFile != "" {
		var err error
		if token, err = secret.File(cfg.TokenFile); err != nil {
			return nil, err
		}
	}
	if token != "" {
		opts = append(opts, nats.Token(token))
	}
	if cfg.CredsFile != "" {
		if err := checkCreds(cfg.CredsFile); err != nil {
			return nil, err
		}
		opts = append(opts, nats.UserCredentials(cfg.CredsFile))
	}
	if cfg.NKeyFile != "" {
		key, err := nats.NkeyOptionFromSeed(cfg.NKeyFile)
		if err != nil {
			return nil, err
		}
		opts = append(opts, key)
	}
	if cfg.CAFile != "" {
		opts = append(opts, nats.RootCAs(cfg.CAFile))
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("certificate and key go together, one of them is missing")
	}
	if cfg.CertFile != "" {
		opts = append(opts, nats.ClientCert(cfg.CertFile, cfg.KeyFile))
	}
	if cfg.Inbox != "" {
		opts = append(opts, nats.CustomInboxPrefix(cfg.Inbox))
	}
	return opts, nil
}
