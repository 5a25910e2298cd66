package processor

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/siddhiql"
)

// Config says which apps a processor runs, and where.
type Config struct {
	// Conn must not buffer while it is disconnected; those of bus.Connect do not.
	Conn *nats.Conn
	// Apps are the apps, every partition of which is run here.
	Apps []*siddhiql.Plan
	// DedupWindow is how long a message id is remembered, in log time.
	DedupWindow time.Duration
	// BatchMessagesMax is the server's limit of an atomic batch; zero is 1,000, the
	// default of servers.
	BatchMessagesMax int
	// Limits of the streams that are created.
	WAL, Out bus.StreamLimits
	// Version of the binary, a semver, for the service's info.
	Version string
	// Metadata of the service's info, such as the durability profile.
	Metadata map[string]string
	// Log is where halts and takeovers go; nil is slog.Default.
	Log *slog.Logger
}

func (c *Config) check() error {
	var errs []error
	if c.Conn == nil {
		errs = append(errs, errors.New("no connection to NATS"))
	}
	if c.DedupWindow <= 0 {
		errs = append(errs, fmt.Errorf("dedup.window is %s, expected a positive time", c.DedupWindow))
	}
	if c.BatchMessagesMax < 0 {
		errs = append(errs, fmt.Errorf("atomic batches of %d messages, expected a positive number", c.BatchMessagesMax))
	}
	for _, app := range c.Apps {
		if err := bus.CheckName(app.Name); err != nil {
			errs = append(errs, fmt.Errorf("app: %w; name it with @app:name('…')", err))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) jetStream() (jetstream.JetStream, error) { return jetstream.New(c.Conn) }
