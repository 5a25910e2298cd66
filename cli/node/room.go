package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/space"
)

const (
	roomEvery   = 250 * time.Millisecond // between two checks of the disk
	serverEvery = 8                      // checks of the disk per check of the embedded server
	reopenMax   = 30 * time.Second       // longest pause between two attempts to reopen JetStream
)

// room watches the disk of the data folder. Below the reserve the node accepts no events, so that
// tasks can still store the results of the events in the log, and checkpoints can trim logs. If the
// disk fills up anyway, JetStream disables itself; room reopens it once there is space.
type room struct {
	log     *slog.Logger
	server  *natsconn.Embedded // nil: external
	dir     string
	reserve uint64
	free    atomic.Int64 // -1: unknown
}

// look measures the free space, and reports whether it is below the reserve.
func (r *room) look() (full bool) {
	s, err := space.Of(r.dir)
	if err != nil {
		r.free.Store(-1)
		return false
	}
	r.free.Store(int64(s.Free))
	return s.Free < r.reserve
}

// err returns an error if the disk is full.
func (r *room) err() error {
	if free := r.free.Load(); free >= 0 && uint64(free) < r.reserve {
		return fmt.Errorf("the disk of %s is full: %d MiB are free, and disk.reserve keeps %d MiB", r.dir, free>>20, r.reserve>>20)
	}
	return nil
}

// logErr returns why the logs are out of space, as far as this process knows.
func (r *room) logErr() error {
	if r.server == nil {
		return nil
	}
	return r.err()
}

// watch watches the disk until ctx ends. It returns an error if the JetStream files cannot
// be used.
func (r *room) watch(ctx context.Context) error {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	var full bool
	var next time.Time // attempt to reopen JetStream
	wait := time.Second
	for looks := 0; ; looks++ {
		if now := r.look(); now != full {
			full, looks = now, 0
			if full {
				r.log.Error("no events are taken, since the disk is full; make room", "err", r.err())
			} else {
				r.log.Info("the disk has room again", "folder", r.dir)
			}
		}
		if r.server != nil && !full && looks%serverEvery == 0 && time.Now().After(next) {
			switch fatal, tried := r.reopenServer(); {
			case fatal != nil:
				return fatal
			case tried:
				next = time.Now().Add(wait)
				wait = min(2*wait, reopenMax)
			default:
				wait = time.Second
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// reopenServer reopens JetStream if its disk was full.
func (r *room) reopenServer() (fatal error, tried bool) {
	why := r.server.Health()
	if !errors.Is(why, natsconn.ErrNoRoom) {
		return nil, false
	}
	r.log.Warn("the embedded NATS server opens its files again, since the disk has room", "was", why)
	fatal, err := r.server.Restart()
	if fatal != nil {
		return fmt.Errorf("after the disk was full: %w", fatal), true
	}
	if err != nil {
		r.log.Error("the files of the embedded NATS server cannot be opened; trying again", "err", err)
		return nil, true
	}
	r.log.Info("the embedded NATS server goes on", "folder", filepath.Join(r.dir, natsFolder))
	return nil, true
}

// table returns the metric of free space.
func (r *room) table() prometheus.Collector {
	return metric.NewTable(nil,
		func(*int64) []string { return nil },
		func() []int64 { return []int64{r.free.Load()} },
		metric.Gauge("eventflux_disk_free_bytes", "Free bytes of the disk of the data folder; -1 if they are not known.",
			func(free *int64) float64 { return float64(*free) }))
}
