package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Config is the configuration of a recovery service.
type Config struct {
	Conn    *nats.Conn // stays the caller's
	Control Control
	Store   store.Store // stays the caller's
	// Restorer starts apps from another state.
	Restorer Restorer
	// Workers is how many blocks are fetched and decoded, and how many partitions replayed,
	// in parallel; zero means the number of cores.
	Workers int
	// ShadowRate is how many events per second a shadow applies while it catches up; 0: any number.
	ShadowRate int
	Version    string       // of the binary, a semver
	Log        *slog.Logger // nil means slog.Default
	// Now returns the time, only for ages and rates; nil means the machine's clock.
	Now func() time.Time
}

// Control is the part of the checkpointer that recovery needs. It returns the errors of
// control.Client.
type Control interface {
	// History lists the versions of an app, and Version returns one with its text.
	History(ctx context.Context, r control.AppRequest) (control.History, error)
	Version(ctx context.Context, r control.VersionRequest) (control.Version, error)
	App(ctx context.Context, r control.AppRequest) (control.App, error)
	// Apps lists the apps without their texts.
	Apps(ctx context.Context) (control.AppList, error)
	Checkpoints(ctx context.Context, r control.AppRequest) (control.CheckpointList, error)
}

// Restorer makes the tasks of an app restart from another state.
type Restorer interface {
	Restore(ctx context.Context, r control.RestoreRequest) (control.Restored, error)
}

func (c *Config) check() error {
	var errs []error
	if c.Conn == nil || c.Control == nil || c.Store == nil || c.Restorer == nil {
		errs = append(errs, errors.New("it needs a connection, a checkpointer, a store and a restorer"))
	}
	if c.Workers < 0 {
		errs = append(errs, fmt.Errorf("recovery.workers is %d, want 0 or more", c.Workers))
	}
	if c.ShadowRate < 0 {
		errs = append(errs, fmt.Errorf("recovery.shadow_rate is %d, want 0 or more", c.ShadowRate))
	}
	return errors.Join(errs...)
}

// generationOf returns the generation of a checkpoint.
func generationOf(m *checkpoint.Manifest) uint64 { return uint64(m.Generation) }
