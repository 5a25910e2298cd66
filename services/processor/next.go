package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// next returns the next frame of the log. While the log is idle, it appends a tick when a
// timer is due. more is false once the task has drained.
func (o *owner) next(ctx context.Context) (record wal.Record, more bool, err error) {
	for {
		if !o.reader.AtTail() {
			record, err = o.read(ctx)
			return record, true, err
		}
		if more, err := o.saver.thaw(ctx); err != nil {
			return record, true, err
		} else if more {
			continue
		}
		drained, err := o.drained(ctx)
		if err != nil || drained {
			return wal.Record{}, false, err
		}
		o.saver.preEncode()
		record, err := o.await(ctx)
		if !errors.Is(err, errIdle) {
			return record, true, err
		}
	}
}

var errIdle = errors.New("nothing came")

// await waits for a frame. When a tick is due or the task has to drain, it returns errIdle.
func (o *owner) await(ctx context.Context) (wal.Record, error) {
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	if left, err := o.ticker.idle(&o.program); err != nil {
		return wal.Record{}, err
	} else if left > 0 {
		timer := time.AfterFunc(left, cancel)
		defer timer.Stop()
	}
	if left, err := o.ticker.due(&o.program); err != nil {
		return wal.Record{}, err
	} else if left > 0 {
		timer := time.AfterFunc(left, cancel)
		defer timer.Stop()
	}
	if o.end == nil {
		stop := context.AfterFunc(o.service.running, cancel)
		defer stop()
	}
	record, err := o.read(wait)
	if err != nil && wait.Err() != nil && ctx.Err() == nil {
		return wal.Record{}, errIdle
	}
	return record, err
}

// drained reports whether the task has to drain and has applied the frames that its log held
// when the drain started.
func (o *owner) drained(ctx context.Context) (bool, error) {
	if o.service.running.Err() == nil {
		return false, nil
	}
	if o.end == nil {
		end, err := lastSequence(ctx, o.nc, natsconn.WALStream(o.plan.Name, o.partition))
		if err != nil {
			return false, fmt.Errorf("end of the log: %w", err)
		}
		o.end = &end
	}
	return o.reader.Position() > *o.end, nil
}

// pause waits until the task has to end: a release starts it again.
func (o *owner) pause(ctx context.Context) error {
	o.status.set(control.TaskHeld, nil)
	select {
	case <-ctx.Done():
	case <-o.service.running.Done():
	}
	return ctx.Err()
}
