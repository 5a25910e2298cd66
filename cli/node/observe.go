package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/attribute"

	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// downMax is how long NATS may be away before the process counts as unhealthy. The process
// reconnects by itself, so a restart is the last resort.
const downMax = 5 * time.Minute

// observed is the part of the node that operators see.
type observed struct {
	metrics  *prometheus.Registry
	health   obs.Health
	exporter *obs.Exporter // tests set it before observe
	server   *obs.Server   // nil if not configured
	profiles *obs.Server   // nil if not configured
	serving  atomic.Bool

	mu    sync.Mutex
	conns []*connection
}

// connection is a connection to NATS.
type connection struct {
	name string
	nc   *nats.Conn
	lost atomic.Int64 // time of the loss in ns; 0: connected
}

func (c *connection) changed(connected bool) {
	if connected {
		c.lost.Store(0)
		return
	}
	c.lost.CompareAndSwap(0, time.Now().UnixNano())
}

// down returns how long the connection has been lost.
func (c *connection) down() time.Duration {
	at := c.lost.Load()
	if at == 0 {
		return 0
	}
	return time.Since(time.Unix(0, at))
}

// observe starts metrics, health and traces before the services start.
func (n *Node) observe(ctx context.Context) (err error) {
	o := &n.seen
	o.metrics = prometheus.NewRegistry()
	o.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		n.aboutTable(), o.connectionTable())
	o.health.Add(obs.Check{Name: "NATS", Ask: func() error { return o.connected(downMax) }})
	o.health.Add(obs.Check{Name: "NATS server", Ask: func() error {
		if n.server == nil {
			return nil
		}
		return n.server.Health()
	}})
	o.health.Add(obs.Check{Name: "disk", Of: obs.Ready, Ask: func() error { return n.room.err() }})
	o.health.Add(obs.Check{Name: "NATS connection", Of: obs.Ready, Ask: func() error { return o.connected(0) }})
	o.health.Add(obs.Check{Name: "services", Of: obs.Ready, Ask: func() error {
		if !o.serving.Load() {
			return errors.New("they are starting or stopping, or events are not accepted yet")
		}
		return nil
	}})
	if o.exporter == nil {
		o.exporter, err = obs.OpenExporter(ctx, n.self.Version, n.log, attribute.String("eventflux.services", strings.Join(n.services, ",")))
		if err != nil {
			return err
		}
	}
	if n.cfg.Pprof.Listen != "" {
		if o.profiles, err = obs.ListenProfiles(n.cfg.Pprof.Listen, n.log); err != nil {
			return err
		}
		n.log.Info("profiles are served", "url", "http://"+o.profiles.Address()+"/debug/pprof/")
	}
	if n.cfg.Metrics.Listen == "" {
		return nil
	}
	if o.server, err = obs.Listen(n.cfg.Metrics.Listen, o.metrics, &o.health, n.log); err != nil {
		return err
	}
	n.log.Info("metrics and health are served", "url", "http://"+o.server.Address()+"/metrics")
	return nil
}

func (n *Node) aboutTable() prometheus.Collector {
	return metric.NewTable([]string{"version", "services", "durability"},
		func(*struct{}) []string {
			return []string{n.self.Version, strings.Join(n.services, ","), string(n.cfg.WAL.Durability)}
		},
		func() []struct{} { return make([]struct{}, 1) },
		metric.Gauge("eventflux_build_info", "1; the labels say which version runs which services, under which durability profile.",
			func(*struct{}) float64 { return 1 }))
}

func (o *observed) connectionTable() prometheus.Collector {
	return metric.NewTable([]string{"connection"},
		func(c **connection) []string { return []string{(*c).name} }, o.open,
		metric.Gauge("eventflux_nats_connected", "1 while the connection to NATS is there, else 0.",
			func(c **connection) float64 { return metric.Bool((*c).nc.IsConnected()) }),
		metric.Counter("eventflux_nats_reconnects_total", "Times that the connection was there again after it had been lost.",
			func(c **connection) float64 { return float64((*c).nc.Stats().Reconnects) }))
}

// add registers a connection.
func (o *observed) add(c *connection, nc *nats.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c.nc = nc
	o.conns = append(o.conns, c)
}

// open returns the open connections, and forgets the closed ones.
func (o *observed) open() []*connection {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conns = slices.DeleteFunc(o.conns, func(c *connection) bool { return c.nc.IsClosed() })
	return slices.Clone(o.conns)
}

// connected returns an error if a connection has been down for longer than longest.
func (o *observed) connected(longest time.Duration) error {
	for _, c := range o.open() {
		if down := c.down(); down > longest {
			return fmt.Errorf("connection %q has been down for %s; it connects again by itself once a NATS server can be reached", c.name, down.Round(time.Second))
		}
	}
	return nil
}

// watched is a service that operators can observe.
type watched interface {
	Collectors() []prometheus.Collector
	Checks() []obs.Check
}

// watch makes a service visible to operators until end is called.
func (n *Node) watch(s watched) (end func()) {
	all := s.Collectors()
	for _, c := range all {
		n.seen.metrics.MustRegister(c)
	}
	var removes []func()
	for _, c := range s.Checks() {
		removes = append(removes, n.seen.health.Add(c))
	}
	return func() {
		for _, c := range all {
			n.seen.metrics.Unregister(c)
		}
		for _, remove := range removes {
			remove()
		}
	}
}

func (o *observed) close(ctx context.Context, log *slog.Logger) {
	if err := o.exporter.Close(ctx); err != nil {
		log.Warn("the last traces could not be sent", "err", err)
	}
	for _, s := range []*obs.Server{o.server, o.profiles} {
		if s != nil {
			_ = s.Close() // nothing is left to serve
		}
	}
}

func (n *Node) natsKind() string {
	if n.server != nil {
		return "embedded"
	}
	return "external"
}
