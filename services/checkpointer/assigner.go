package checkpointer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

const (
	placeEvery = 100 * time.Millisecond
	// moveTimeout bounds the checkpoint before a move of a partition. If the checkpoint does
	// not succeed, the new processor has a longer tail to replay.
	moveTimeout = 10 * time.Second
)

// assigner assigns the partitions of all apps to processors, as place decides, and tells
// processors what they run. It owns the standbys and the moves in progress.
type assigner struct {
	*leadership
	coordinators *coordinators
	projection   *projection
	processors   *processors
	standbys     standbys
	moving       sync.Map // slots that wait for a checkpoint before they move, with the function that ends the wait
}

// standbys holds the standby processors of partitions. It is not replicated: a new leader
// learns them from heartbeats.
type standbys struct {
	mu sync.Mutex
	of map[slot]string
}

func (b *standbys) get(s slot) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[s]
}

// all returns a copy of all standbys; nil before the first set.
func (b *standbys) all() map[slot]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.of)
}

// set replaces all standbys, and reports whether anything changed.
func (b *standbys) set(of map[slot]string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := !maps.Equal(b.of, of)
	b.of = of
	return changed
}

// heartbeat answers a processor with the partitions that it must run.
func (as *assigner) heartbeat(ctx context.Context, r *control.HeartbeatRequest) (any, error) {
	if r.Processor == "" || r.Incarnation == "" {
		return nil, failure(control.CodeInvalid, "a heartbeat of processor %q, incarnation %q; neither is ever empty", r.Processor, r.Incarnation)
	}
	now := time.Now()
	if err := as.processors.hear(r, now); err != nil {
		return nil, err
	}
	if err := as.hearDeaths(ctx, r); err != nil {
		return nil, err
	}
	as.lookSoon()
	able, _, heardAll := as.processors.alive(now)
	answer := control.Heartbeat{Assigned: []control.Assigned{}, Alone: heardAll && len(able) == 0}
	for _, a := range as.cfg.FSM.apps() {
		for p := range a.Partitions {
			var suspect uint64
			if d := a.death(p); d != nil {
				if d.Quarantined() {
					continue
				}
				suspect = d.Sequence
			}
			standby := a.Places[p] != r.Processor && as.standbys.get(slot{a.Name, p}) == r.Processor
			if a.Places[p] == r.Processor || standby {
				answer.Assigned = append(answer.Assigned, control.Assigned{
					App: a.Name, Partition: p, Index: a.Index, Generation: a.Generation, Held: a.Held, Standby: standby, Suspect: suspect,
				})
			}
		}
	}
	return answer, nil
}

// assign moves partitions that have no processor, whose processor is gone or leaves, or that
// are unevenly distributed, and chooses standbys.
func (as *assigner) assign(ctx context.Context, apps []*appState) {
	slots := map[slot]string{}
	for _, a := range apps {
		for p := range a.Partitions {
			if !a.Removing && !a.quarantined(p) {
				slots[slot{a.Name, p}] = a.Places[p]
			}
		}
	}
	as.processors.stayAwake(time.Now()) // before any conclusion from missing heartbeats
	able, leaving, heardAll := as.processors.alive(time.Now())
	changed := false
	var quiet []string
	standing := map[slot]string{}
	if as.cfg.Standby {
		quiet, standing = as.processors.quiet(time.Now()), as.processors.standing(time.Now())
	}
	for _, m := range place(slots, able, leaving, quiet, standing, heardAll) {
		if m.gentle {
			as.startMove(ctx, m)
			continue
		}
		if stop, under := as.moving.Load(m.slot); under {
			stop.(context.CancelFunc)() // its processor has died since
		}
		if as.give(ctx, m) {
			changed = true
			slots[m.slot] = m.to
		}
	}
	if as.cfg.Standby && heardAll {
		now := as.standbys.all()
		if now == nil {
			now = standing
		}
		changed = as.standbys.set(placeStandbys(slots, now, able)) || changed
	}
	if changed {
		as.nudge()
	}
}

// startMove starts a gentle move, unless the slot is being moved already.
func (as *assigner) startMove(ctx context.Context, m move) {
	waiting, stop := context.WithTimeout(ctx, moveTimeout)
	if _, under := as.moving.LoadOrStore(m.slot, stop); under {
		stop()
		return
	}
	as.work.Go(func() {
		defer as.moving.Delete(m.slot)
		defer stop()
		as.moveGently(ctx, waiting, m)
	})
}

// moveGently makes a checkpoint before it moves a partition, so that the new processor has
// little to replay. It does not move the partition if the new processor has died, or if
// waiting was canceled before its timeout.
func (as *assigner) moveGently(ctx, waiting context.Context, m move) {
	o, err := as.coordinators.ask(waiting, m.slot.app, message{kind: msgTrigger})
	if able, _, _ := as.processors.alive(time.Now()); errors.Is(waiting.Err(), context.Canceled) || !slices.Contains(able, m.to) {
		return
	}
	if !o.Committed {
		as.log.Warn("moving a partition without a checkpoint; its new processor replays a longer tail", "app", m.slot.app, "partition", m.slot.partition, "reason", o.Reason, "err", err)
	}
	if as.give(ctx, m) {
		as.nudge()
	}
}

func (as *assigner) give(ctx context.Context, m move) bool {
	_, err := as.propose(ctx, &command{Kind: kindPlace, App: m.slot.app, Partition: m.slot.partition, Processor: m.to})
	if err != nil {
		as.log.Warn("assign a partition to a processor; trying again", "app", m.slot.app, "partition", m.slot.partition, "to", m.to, "err", err)
		return false
	}
	as.log.Info("partition placed", "app", m.slot.app, "partition", m.slot.partition, "from", m.from, "to", m.to)
	return true
}
