package eventflux

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/spf13/pflag"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/build"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// Options are the options of Open.
type Options struct {
	// Data is the folder that holds everything durable. Only one process may use it at a
	// time. It is required.
	Data string
	// URL is the address of your own NATS servers. "" starts an embedded server on a free
	// port of the loopback interface.
	URL string
	// Settings are more settings by name, such as "checkpoint.interval": "10s"; see
	// docs/operations.md. They override Data and URL.
	Settings map[string]string
	// Log receives messages for operators; nil means slog.Default().
	Log *slog.Logger
}

// Node is a running EventFlux, with all services in this process. It is also a Client.
type Node struct {
	*Client
	node *node.Node
	conn *nats.Conn
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned
	err  error         // of Run; set before done is closed
	once sync.Once
	end  error // of Close
}

// Open starts EventFlux and returns once it is ready. Apps that are deployed in the data folder
// continue from their newest checkpoints. ctx only bounds the start; call Close to stop.
func Open(ctx context.Context, opt Options) (*Node, error) {
	cfg, err := opt.config()
	if err != nil {
		return nil, fmt.Errorf("eventflux: %w", err)
	}
	log := opt.Log
	if log == nil {
		log = slog.Default()
	}
	inner, err := node.Open(ctx, cfg, node.Services, nil, build.Read().Semver(), log)
	if err != nil {
		return nil, fmt.Errorf("eventflux: open: %w", err)
	}
	run, stop := context.WithCancel(context.Background())
	n := &Node{node: inner, stop: stop, done: make(chan struct{})}
	ready := make(chan struct{})
	go func() {
		defer close(n.done)
		first := sync.OnceFunc(func() { close(ready) })
		n.err = inner.Run(run, func([]*siddhiql.Plan) { first() })
	}()
	select {
	case <-ready:
		if n.conn, err = inner.Connect(ctx, "eventflux library"); err == nil {
			n.Client = Connect(n.conn)
			return n, nil
		}
	case <-n.done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, fmt.Errorf("eventflux: open: %w", errors.Join(err, n.Close()))
}

// config turns the options into settings.
func (opt *Options) config() (*config.Config, error) {
	fs := pflag.NewFlagSet("eventflux", pflag.ContinueOnError)
	config.AddFlags(fs)
	settings := map[string]string{"data": opt.Data, "listen": "127.0.0.1:0"}
	if opt.URL != "" {
		settings["nats.url"] = opt.URL
	}
	maps.Copy(settings, opt.Settings)
	if settings["data"] == "" {
		return nil, errors.New("Options.Data is empty: name the folder that holds the log and the checkpoints")
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if fs.Lookup(name) == nil {
			return nil, fmt.Errorf("there is no setting %q", name)
		}
		if err := fs.Set(name, settings[name]); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	return config.Load(fs, nil)
}

// URL returns the address of the NATS server, for other programs.
func (n *Node) URL() string { return n.node.URL() }

// Done returns a channel that is closed when the node stops by itself. Err then returns why.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err returns why the node stopped; nil while it runs and after Close.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// Close stops the node gracefully: it accepts no more events, makes the accepted ones durable,
// lets the apps process them, and makes a last checkpoint. The next Open on the same folder
// continues from there.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.stop()
		<-n.done
		if n.conn != nil {
			n.conn.Close()
		}
		n.end = errors.Join(n.err, n.node.Close())
	})
	return n.end
}
