package processor

import (
	"fmt"
	"math"
	"time"

	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// ticker appends ticks to the log of a task: time passes in a log only by its frames.
type ticker struct {
	writer   *wal.Writer
	ticked   int64     // stamp of the newest tick that was appended
	idled    int64     // input clock of the newest idle tick that was appended, with idleTick
	idleTick bool      // one was appended
	quiet    time.Time // when the last event arrived, with idle.time; zero: not known
}

// start uses another writer from now on: ticks of the former one may be lost.
func (k *ticker) start(w *wal.Writer) { k.writer, k.ticked, k.idleTick = w, 0, false }

// due appends a tick if a timer is due. Otherwise it returns how long to wait before the next
// call, or 0 to wait for the next frame.
func (k *ticker) due(p *program) (time.Duration, error) {
	due, ok := p.core.NextTick()
	if !ok || due <= k.ticked {
		return 0, nil
	}
	now := faultpoint.Now().UnixMilli()
	if due > now {
		return time.Duration(due-now) * time.Millisecond, nil
	}
	if err := k.writer.AppendTick(now, nil); err != nil {
		return 0, fmt.Errorf("append tick: %w", err)
	}
	k.ticked = now
	return 0, nil
}

// idle appends a tick that advances the input clock of a playback app if no event has arrived
// for its idle.time. It returns how long to wait before the next call, or 0 to wait for the
// next frame. While a tick is pending, it appends no other: NATS may be unavailable for long.
func (k *ticker) idle(p *program) (time.Duration, error) {
	if p.live.Idle == 0 {
		return 0, nil
	}
	input, began := p.core.Input()
	if !began || input > math.MaxInt64-p.live.Increment {
		return 0, nil
	}
	next := input + p.live.Increment
	if k.idleTick && next <= k.idled {
		return 0, nil
	}
	now, span := faultpoint.Now(), time.Duration(min(p.live.Idle, idleMax))*time.Millisecond
	if k.quiet.IsZero() {
		k.quiet = now
	}
	if now.Sub(k.quiet) >= span {
		if err := k.writer.AppendClock(now.UnixMilli(), next, nil); err != nil {
			return 0, fmt.Errorf("append tick: %w", err)
		}
		k.quiet, k.idled, k.idleTick = now, next, true
		return 0, nil
	}
	return span - now.Sub(k.quiet), nil
}

// idleMax is the longest idle.time that can be waited for, ms.
const idleMax = math.MaxInt64 / int64(time.Millisecond)
