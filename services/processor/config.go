package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/ops/trace"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Config is the configuration of a processor.
type Config struct {
	// Conn must not buffer while it is disconnected; connections of natsconn.Connect do not.
	Conn *nats.Conn
	// ID is the processor's name in the cluster, which it keeps over restarts. It is required
	// with Control.
	ID string
	// Apps are run with all their partitions if there is no Control. With Control, the
	// checkpointer assigns partitions.
	Apps []*siddhiql.Plan
	// Settings are the settings of Apps.
	Settings engine.Settings
	// BatchMessagesMax is the server's limit of an atomic batch; zero means 1,000, the
	// default of servers.
	BatchMessagesMax int
	// Control is the checkpointer. Without it (nil), tasks apply their whole logs at every
	// start.
	Control Control
	// Store is where checkpoints go. It is required with Control, and stays the caller's.
	Store store.Store
	// Compression of stored runs; zero means that each component chooses.
	Compression compress.Choice
	// FullEvery is how many incremental checkpoints in a row are followed by a full one; zero
	// means 10.
	FullEvery int
	// Workers is how many blocks are fetched or stored in parallel; zero means the number of
	// cores.
	Workers int
	// StateBytesMax is the limit of a task's state in memory, which is estimated. Above it the
	// task continues, but ingest accepts no events for its partition; 0 means no limit.
	StateBytesMax int64
	// PartialMatchesMax is how many partial matches the patterns of a task may hold. It has the same
	// effect as StateBytesMax.
	PartialMatchesMax int64
	// Work is the file where the process records which frames its tasks apply, so that the next
	// process knows if a frame killed this one; empty for none.
	Work string
	// Version of the binary, a semver, for the service's info.
	Version string
	// Metadata of the service's info, such as the durability profile.
	Metadata map[string]string
	// Tracer traces checkpoints and restores; the zero value traces none.
	Tracer trace.Tracer
	// Witness keeps the last acknowledged frame of each log; nil keeps none.
	Witness *witness.Folder
	// ViewBeat is how often the KV bucket of a view is looked at; zero means 1 s.
	ViewBeat time.Duration
	// Log may be nil, which means slog.Default.
	Log *slog.Logger
}

// Control is the part of the checkpointer that tasks need. It returns the errors of
// control.Client.
type Control interface {
	// Heartbeat reports the state of the processor, and returns the partitions to run.
	Heartbeat(ctx context.Context, r control.HeartbeatRequest) (control.Heartbeat, error)
	// App returns an app with its text.
	App(ctx context.Context, r control.AppRequest) (control.App, error)
	// History lists the versions of an app, and Version returns one with its text.
	History(ctx context.Context, r control.AppRequest) (control.History, error)
	Version(ctx context.Context, r control.VersionRequest) (control.Version, error)
	// Checkpoints lists the checkpoints of an app, newest first.
	Checkpoints(ctx context.Context, r control.AppRequest) (control.CheckpointList, error)
	// Digests compares the state of a standby with the state of its partition's owner.
	Digests(ctx context.Context, r control.DigestsRequest) (control.DigestsAnswer, error)
	// Attach takes a partition over. It waits for a leader until ctx ends.
	Attach(ctx context.Context, r control.AttachRequest) (control.Attached, error)
	// Prepared returns once the epoch is decided, or with ctx's error.
	Prepared(ctx context.Context, r control.PreparedRequest) (control.Outcome, error)
	// Failed aborts an epoch that cannot be prepared.
	Failed(ctx context.Context, r control.FailedRequest) (control.Outcome, error)
}

func (c *Config) check() error {
	var errs []error
	if c.Conn == nil {
		errs = append(errs, errors.New("no connection to NATS"))
	}
	if c.Control == nil {
		errs = append(errs, c.Settings.Check())
	}
	if c.BatchMessagesMax < 0 {
		errs = append(errs, fmt.Errorf("atomic batches of %d messages, expected a positive number", c.BatchMessagesMax))
	}
	if c.Control != nil && c.Store == nil {
		errs = append(errs, errors.New("no store for checkpoints; set store.url"))
	}
	if c.Control != nil && c.ID == "" {
		errs = append(errs, errors.New("no name; set processor.id"))
	}
	if c.FullEvery < 0 || c.Workers < 0 {
		errs = append(errs, fmt.Errorf("checkpoint.full_every is %d and recovery.workers %d, neither may be negative", c.FullEvery, c.Workers))
	}
	for _, app := range c.Apps {
		if err := subject.CheckName(app.Name); err != nil {
			errs = append(errs, fmt.Errorf("app: %w; name it with @app:name('…')", err))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) jetStream() (jetstream.JetStream, error) { return jetstream.New(c.Conn) }
