package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/eventflux/eventflux/shared/ops/secret"
)

const (
	retryPauseMin = 10 * time.Millisecond
	retryPauseMax = 500 * time.Millisecond
	bufferBytes   = 64 << 10 // the client's 32 KiB are small for pieces of 1 MiB
)

// The client logs to a variable of its package, for all clients of the process.
var quietClient = sync.OnceFunc(func() { goredis.SetLogger(clientLog{}) })

// clientLog receives what the client logs about its connections. An operation that fails
// reports that itself.
type clientLog struct{}

func (clientLog) Printf(ctx context.Context, format string, args ...any) {
	slog.Default().DebugContext(ctx, "redis client: "+fmt.Sprintf(format, args...))
}

func (o *Options) client() (goredis.UniversalClient, error) {
	quietClient()
	own, err := password(o.Password, o.PasswordFile)
	if err != nil {
		return nil, err
	}
	sentinels, err := password("", o.SentinelPasswordFile)
	if err != nil {
		return nil, err
	}
	config, err := o.tls()
	if err != nil {
		return nil, err
	}
	return goredis.NewUniversalClient(&goredis.UniversalOptions{
		Addrs: o.Addrs, DB: o.DB, MasterName: o.Master, IsClusterMode: o.Cluster,
		Username: o.User, Password: own, SentinelPassword: sentinels,
		ClientName: "eventflux", DisableIdentity: true,
		Dialer:      o.dialer(config),
		DialTimeout: o.Timeout, ReadTimeout: o.Timeout, WriteTimeout: o.Timeout, PoolTimeout: o.Timeout,
		// Otherwise the deadline of a context does not bound a running operation.
		ContextTimeoutEnabled: true,
		PoolSize:              o.PoolSize, PipelinePoolSize: -1,
		ReadBufferSize: bufferBytes, WriteBufferSize: bufferBytes,
		// on repeats whole operations. If the client repeated them too, failing would take
		// several times as long.
		MaxRetries: -1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}), nil
}

func password(value, file string) (string, error) {
	if file == "" {
		return value, nil
	}
	return secret.File(file)
}

// tls returns nil if the connection is not encrypted.
func (o *Options) tls() (*tls.Config, error) {
	if !o.TLS {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CA != "" {
		data, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("no certificate in PEM is in %s", o.CA)
		}
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dialer dials within the context and the timeout, including the TLS handshake, which the
// client's own dialer does not bound by the context.
func (o *Options) dialer(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, o.Timeout)
		defer cancel()
		if config == nil {
			return plain.DialContext(ctx, network, addr)
		}
		return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext(ctx, network, addr)
	}
}

// node returns the client of the node that has a key.
func (s *Store) node(ctx context.Context, key string) (*goredis.Client, error) {
	switch c := s.client.(type) {
	case *goredis.ClusterClient:
		return c.MasterForKey(ctx, key)
	case *goredis.Client:
		return c, nil
	}
	panic(fmt.Sprintf("store: client of the type %T", s.client))
}

// nodes returns the clients of all nodes that have keys.
func (s *Store) nodes(ctx context.Context) ([]*goredis.Client, error) {
	c, ok := s.client.(*goredis.ClusterClient)
	if !ok {
		node, err := s.node(ctx, "")
		return []*goredis.Client{node}, err
	}
	var mu sync.Mutex
	var all []*goredis.Client
	err := c.ForEachMaster(ctx, func(_ context.Context, node *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, node)
		return nil
	})
	return all, err
}

// on does something on the node that has a key, and repeats it after errors that may pass:
// everything done here can be repeated. It uses a single connection, because WAIT counts
// only what was written on its own connection.
func (s *Store) on(ctx context.Context, key string, do func(*goredis.Conn) error) error {
	return s.repeat(ctx, func() error {
		node, err := s.node(ctx, key)
		if err != nil {
			return err
		}
		return s.connected(node, do)
	})
}

func (s *Store) connected(node *goredis.Client, do func(*goredis.Conn) error) error {
	conn := node.Conn()
	return errors.Join(do(conn), conn.Close())
}

func (s *Store) repeat(ctx context.Context, do func() error) error {
	until := time.Now().Add(s.opt.Timeout)
	for pause := retryPauseMin; ; pause = min(2*pause, retryPauseMax) {
		err := do()
		if err == nil || ctx.Err() != nil || !transient(err) || time.Now().Add(pause).After(until) {
			return s.explain(ctx, err)
		}
		if c, ok := s.client.(*goredis.ClusterClient); ok {
			c.ReloadState(ctx) // the slot may have moved
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return s.explain(ctx, err)
		}
	}
}

// replicate waits until the configured number of replicas have what was written on the
// connection.
func (s *Store) replicate(ctx context.Context, conn *goredis.Conn) error {
	if s.opt.Replicas == 0 {
		return nil
	}
	got, err := conn.Wait(ctx, s.opt.Replicas, s.opt.Timeout).Result()
	if err != nil {
		return err
	}
	if got < int64(s.opt.Replicas) {
		return fmt.Errorf("%w: %d of %d after %s", errReplicas, got, s.opt.Replicas, s.opt.Timeout)
	}
	return nil
}
