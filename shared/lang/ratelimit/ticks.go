package ratelimit

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// ticks are instants at equal distances. The next one is kept only as far as it matters:
// while nothing waits it may lie in the past.
type ticks struct {
	env    *window.Env
	period int64 // ms; 0: there are no ticks
	next   int64
	begun  bool
	moved  bool // since it was last shown
}

// keyTick is the key of the entry of the next tick.
const keyTick = 't'

func (t *ticks) Begin(at int64) {
	if t.period > 0 {
		t.next, t.begun, t.moved = later(at, t.period), true, true
	}
}

func (t *ticks) Begun() bool { return t.begun || t.period == 0 }

// await makes next the first tick after the clock.
func (t *ticks) await() {
	if !t.Begun() {
		t.Begin(t.env.Now)
	}
	if t.period == 0 || t.next > t.env.Now {
		return
	}
	// The distance may not fit an int64.
	missed := (uint64(t.env.Now) - uint64(t.next)) / uint64(t.period)
	t.next, t.moved = later(t.next+int64(missed)*t.period, t.period), true
}

// later returns at + period, or the largest time on overflow.
func later(at, period int64) int64 {
	if at > math.MaxInt64-period {
		return math.MaxInt64
	}
	return at + period
}

func (t *ticks) visitChanged(visit func(key []byte)) {
	if t.moved {
		t.moved = false
		visit([]byte{keyTick})
	}
}

func (t *ticks) visitKeys(visit func(key []byte)) {
	if t.begun {
		visit([]byte{keyTick})
	}
}

func (t *ticks) append(dst []byte) ([]byte, bool) {
	if !t.begun {
		return dst, false
	}
	return binary.AppendVarint(dst, t.next), true
}

func (t *ticks) put(value []byte) error {
	r := wire.New(value)
	next := r.Varint()
	if err := r.End(); err != nil {
		return fmt.Errorf("the next tick: %w", err)
	}
	if t.period == 0 || t.begun {
		return fmt.Errorf("a tick, and there is one already or none can be")
	}
	t.next, t.begun = next, true
	return nil
}

func (t *ticks) reset() { t.next, t.begun, t.moved = 0, false, false }
