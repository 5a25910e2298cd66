package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
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

// Config says what a checkpointer works with.
type Config struct {
	Conn  *nats.Conn
	Store store.Store     // stays the caller's
	Raft  *consensus.Node // stays the caller's
	FSM   *FSM            // of Raft
	// Interval is from the opening of one checkpoint of an app to the next, Timeout
	// after which one that is not prepared is aborted.
	Interval, Timeout time.Duration
	// RetentionCheckpoints newest ones are kept, and all that are not older than
	// RetentionSpan, with the log behind them.
	RetentionCheckpoints int
	RetentionSpan        time.Duration
	// Settings are those of apps that are deployed from now on.
	Settings engine.Settings
	// AppsMax and PartitionsMax bound how many apps may be deployed, and how many
	// partitions each may have; 0 for no limit.
	AppsMax, PartitionsMax int
	// Streams are the limits of apps' streams: how large each log may be, and how many
	// copies each stream has, and the cluster's bucket.
	Streams natsconn.StreamLimits
	// Grace is how long an object that nothing refers to is left alone, and for how long
	// a merge may take if sweeps are made meanwhile; zero is sweepGrace.
	Grace time.Duration
	// Lease is how long a merger works before it has to ask again; zero is leaseTime.
	Lease time.Duration
	// Witness keeps the last frame of each log that was acknowledged; nil keeps none.
	Witness *witness.Folder
	// Standby has a second processor ready for each partition.
	Standby bool
	Self    *control.Self
	Log     *slog.Logger // nil is slog.Default
	Tracer  trace.Tracer // the zero value follows no checkpoints
	// Now tells the time that is written down; nil is the machine's clock. How long
	// something takes is measured without it: a clock can be set.
	Now func() time.Time
}

// sweepGrace is far beyond what clocks differ by, and what one checkpoint takes.
const sweepGrace = 10 * time.Minute

// grace returns the grace, and how much of it is for clocks that differ.
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

func decimal(p uint32) string { return strconv.FormatUint(uint64(p), 10) }

// pauseFor waits, and returns false if ctx has ended.
func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
