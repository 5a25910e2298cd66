package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

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

// Config says what a processor works with.
type Config struct {
	// Conn must not buffer while it is disconnected; those of natsconn.Connect do not.
	Conn *nats.Conn
	// ID is the processor's name in the cluster, which it keeps over restarts; it is
	// needed with Control.
	ID string
	// Apps are run with every partition where there is no Control; else the
	// checkpointer says what to run.
	Apps []*siddhiql.Plan
	// Settings are those of Apps.
	Settings engine.Settings
	// BatchMessagesMax is the server's limit of an atomic batch; zero is 1,000, the
	// default of servers.
	BatchMessagesMax int
	// Control is the checkpointer; nil for none: then tasks apply their whole logs at
	// every start.
	Control Control
	// Store is where checkpoints go. It is needed with Control, and stays the
	// caller's.
	Store store.Store
	// Compression of what is stored; zero is chosen for each component.
	Compression compress.Choice
	// FullEvery is after how many incremental checkpoints in a row the next is a full
	// one; zero is 10.
	FullEvery int
	// Workers is how many blocks are fetched or stored at once; zero is the number of
	// cores.
	Workers int
	// StateBytesMax is the memory that the state of a task may take, as it is estimated.
	// Above it the task goes on, and its app takes no events; 0 for no limit.
	StateBytesMax int64
	// Work is the file in which the process notes what its tasks are at, for the next
	// process to know if this one dies of it; empty for none.
	Work string
	// Version of the binary, a semver, for the service's info.
	Version string
	// Metadata of the service's info, such as the durability profile.
	Metadata map[string]string
	// Tracer follows checkpoints and restores; the zero value follows none.
	Tracer trace.Tracer
	// Witness keeps the last frame of each log that was acknowledged; nil keeps none.
	Witness *witness.Folder
	// Log is where halts and takeovers go; nil is slog.Default.
	Log *slog.Logger
}

// Control is the checkpointer as tasks need it. Its errors are those of
// control.Client.
type Control interface {
	// Heartbeat says how the processor is, and returns what it is to run.
	Heartbeat(ctx context.Context, r control.HeartbeatRequest) (control.Heartbeat, error)
	// App returns an app with its text.
	App(ctx context.Context, r control.AppRequest) (control.App, error)
	// History lists the versions of an app, and Version returns one with its text.
	History(ctx context.Context, r control.AppRequest) (control.History, error)
	Version(ctx context.Context, r control.VersionRequest) (control.Version, error)
	// Checkpoints lists those of an app, newest first.
	Checkpoints(ctx context.Context, r control.AppRequest) (control.CheckpointList, error)
	// Digests compares the state of a standby with that of its partition's owner.
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
