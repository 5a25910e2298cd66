package merger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
)

// sweepEveryDefault is from one sweep to the next.
const sweepEveryDefault = time.Minute

// Config says what a merger works with.
type Config struct {
	Conn    *nats.Conn
	Control Control
	Store   store.Store // stays the caller's
	// Interval is after which all apps are looked at, besides after each commit.
	Interval time.Duration
	// ChainMax is how many deltas a chain may have, DeltaRatio how large they may be
	// against their base, uncompressed.
	ChainMax   int
	DeltaRatio float64
	// SweepEvery is from one sweep to the next; zero is a minute.
	SweepEvery time.Duration
	// Compression of what is folded; zero is what is right for state that is seldom read.
	Compression compress.Choice
	Workers     int    // blocks that are stored at once; zero is 1
	Version     string // of the binary, a semver
	Log         *slog.Logger
}

// Control is the checkpointer as a merger needs it. Its errors are those of
// control.Client.
type Control interface {
	// Lease asks to be the merger that works.
	Lease(ctx context.Context, r control.LeaseRequest) (control.Lease, error)
	// Live returns what the group refers to.
	Live(ctx context.Context, r control.LiveRequest) (control.Live, error)
	// Swap replaces a manifest with another.
	Swap(ctx context.Context, r control.SwapRequest) (control.CheckpointRef, error)
}

func (c *Config) check() error {
	var errs []error
	if c.Conn == nil || c.Control == nil || c.Store == nil {
		errs = append(errs, errors.New("it needs a connection, a checkpointer and a store"))
	}
	if c.Interval <= 0 || c.SweepEvery < 0 {
		errs = append(errs, fmt.Errorf("merger.interval is %s, want more than 0", c.Interval))
	}
	if c.ChainMax < 1 || !(c.DeltaRatio > 0) {
		errs = append(errs, fmt.Errorf("merger.chain_max is %d, want 1 or more, and merger.delta_ratio %g, want more than 0", c.ChainMax, c.DeltaRatio))
	}
	return errors.Join(errs...)
}
