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

const (
	sweepEveryDefault  = time.Minute // between two sweeps
	packDeadMinDefault = 4 << 20
)

// Config is the configuration of a merger.
type Config struct {
	Conn    *nats.Conn
	Control Control
	Store   store.Store // stays the caller's
	// Interval is how often the merger checks all apps. It also checks them after each commit.
	Interval time.Duration
	// ChainMax is how many deltas a chain may have. DeltaRatio is how large they may be
	// relative to their base, both uncompressed.
	ChainMax   int
	DeltaRatio float64
	// SweepEvery is the time between two sweeps; zero means one minute.
	SweepEvery time.Duration
	// PackDeadMin is how many bytes of packs may be dead before they are worth a swap; zero means
	// 4 MiB.
	PackDeadMin int64
	// Compression applies to folded runs; zero means the choice for state that is seldom read.
	Compression compress.Choice
	Workers     int    // how many blocks are stored in parallel; zero means 1
	Version     string // of the binary, a semver
	Log         *slog.Logger
}

// Control is the part of the checkpointer that a merger needs. It returns the errors of
// control.Client.
type Control interface {
	// Lease asks to be the active merger.
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
	if c.Interval <= 0 || c.SweepEvery < 0 || c.PackDeadMin < 0 {
		errs = append(errs, fmt.Errorf("merger.interval is %s, want more than 0", c.Interval))
	}
	if c.ChainMax < 1 || !(c.DeltaRatio > 0) {
		errs = append(errs, fmt.Errorf("merger.chain_max is %d, want 1 or more, and merger.delta_ratio %g, want more than 0", c.ChainMax, c.DeltaRatio))
	}
	return errors.Join(errs...)
}
