package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/ops/trace"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Config is the configuration of a checkpointer.
type Config struct {
	Conn  *nats.Conn
	Store store.Store // stays the caller's; after a switch, it is the store that FSM names
	// OpenStore opens another store, to switch to it; nil: the store cannot be switched.
	OpenStore func(ctx context.Context, url string) (store.Store, error)
	Raft      *consensus.Node // stays the caller's
	FSM       *FSM            // of Raft
	// Interval is the time between the openings of two checkpoints of an app. Timeout is how
	// long the tasks may take to prepare one; then it is aborted.
	Interval, Timeout time.Duration
	// The newest RetentionCheckpoints checkpoints are kept, and all that are not older than
	// RetentionSpan, with the log after them.
	RetentionCheckpoints int
	RetentionSpan        time.Duration
	// Settings are the settings of apps that are deployed from now on.
	Settings engine.Settings
	// AppsMax and PartitionsMax bound how many apps may be deployed, and how many
	// partitions each may have; 0 means no limit.
	AppsMax, PartitionsMax int
	// Streams are the limits of the apps' streams: how large each log may be, and how many
	// replicas each stream and the cluster's bucket have.
	Streams natsconn.StreamLimits
	// Grace is how long sweeps keep an unreferenced object, and how long a merge may take
	// if there are sweeps while it works; zero means sweepGrace.
	Grace time.Duration
	// Lease is how long a merger works before it has to ask again; zero means leaseTime.
	Lease time.Duration
	// Witness keeps the last acknowledged frame of each log; nil keeps none.
	Witness *witness.Folder
	// Standby assigns a second processor to each partition.
	Standby bool
	Self    *control.Self
	Log     *slog.Logger // nil means slog.Default
	Tracer  trace.Tracer // the zero value traces no checkpoints
	// Now returns the time that is recorded; nil means the machine's clock. Durations are
	// measured without it, because a clock can be set.
	Now func() time.Time
}

// sweepGrace is far more than clocks differ by, and than a checkpoint takes.
const sweepGrace = 10 * time.Minute

// grace returns the grace, and how much of it allows for clocks that differ.
func (c *Config) grace() (grace, slack time.Duration) {
	if c.Grace > 0 {
		return c.Grace, c.Grace / 10
	}
	grace = max(sweepGrace, 2*c.Timeout)
	return grace, grace / 10
}

func (c *Config) check() error {
	var errs []error
	if c.Conn == nil || c.Store == nil || c.Raft == nil || c.FSM == nil || c.Self == nil {
		errs = append(errs, errors.New("it needs a connection, a store, a Raft member and a version"))
	}
	if c.Interval <= 0 || c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("checkpoint.interval is %s and checkpoint.timeout %s, both must be positive", c.Interval, c.Timeout))
	}
	errs = append(errs, c.Settings.Check())
	if c.RetentionCheckpoints < 1 || c.RetentionSpan < 0 {
		errs = append(errs, fmt.Errorf("retention.checkpoints is %d, want 1 or more, and retention.span %s, want 0 or more", c.RetentionCheckpoints, c.RetentionSpan))
	}
	return errors.Join(errs...)
}

// pauseFor waits, and returns false if ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
