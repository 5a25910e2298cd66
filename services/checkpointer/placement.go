package checkpointer

import (
	"cmp"
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

// slot is a partition that has to run somewhere.
type slot struct {
	app       string
	partition uint32
}

func compareSlots(x, y slot) int {
	return cmp.Or(cmp.Compare(x.app, y.app), cmp.Compare(x.partition, y.partition))
}

// move gives a slot to a processor. A gentle move can wait for a checkpoint, because the
// processor that has the slot is alive.
type move struct {
	slot   slot
	from   string
	to     string
	gentle bool
}

// place decides which partitions move to another processor. A partition stays where it is
// unless its processor goes away or another one has at least two partitions fewer. The same
// arguments give the same moves.
//
// now maps each slot to its processor, or "". able are the processors that accept
// partitions. leaving are processors that still run partitions but must lose them. If
// orphans is set, slots of processors that are in neither list are moved too.
//
// prefer maps slots to their standbys. A standby gets the slot if its processor is gone, or
// is one of quiet: processors without a heartbeat for a short time.
func place(now map[slot]string, able, leaving, quiet []string, prefer map[slot]string, orphans bool) []move {
	if len(able) == 0 {
		return nil
	}
	slots := make([]slot, 0, len(now))
	load := map[string]int{}
	for s, p := range now {
		slots = append(slots, s)
		load[p]++
	}
	slices.SortFunc(slots, compareSlots)
	able = slices.Sorted(slices.Values(able))
	targets := slices.DeleteFunc(slices.Clone(able), func(p string) bool { return slices.Contains(quiet, p) })
	if len(targets) == 0 {
		targets = able
	}
	least := func() string {
		return slices.MinFunc(targets, func(x, y string) int { return cmp.Compare(load[x], load[y]) })
	}
	var moves []move
	ready := func(s slot) bool {
		p := prefer[s]
		return p != now[s] && slices.Contains(able, p) && !slices.Contains(quiet, p)
	}
	give := func(s slot, gentle bool) {
		to := least()
		if !gentle && ready(s) {
			to = prefer[s]
		}
		moves = append(moves, move{slot: s, from: now[s], to: to, gentle: gentle})
		load[now[s]]--
		load[to]++
	}
	for _, s := range slots {
		switch p := now[s]; {
		case slices.Contains(able, p):
			if slices.Contains(quiet, p) && ready(s) {
				give(s, false)
			}
		case slices.Contains(leaving, p):
			give(s, true)
		case p == "" || orphans:
			give(s, false)
		}
	}
	moved := map[slot]bool{}
	for _, m := range moves {
		moved[m.slot] = true
	}
	// Take slots from the processor with the most, so that no slot moves back and forth.
	for {
		var heaviest string
		var from slot
		for _, s := range slots {
			if p := now[s]; !moved[s] && slices.Contains(able, p) && (heaviest == "" || load[p] > load[heaviest]) {
				heaviest, from = p, s
			}
		}
		if heaviest == "" || load[heaviest]-load[least()] <= 1 {
			return moves
		}
		moved[from] = true
		give(from, true)
	}
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

// set replaces all standbys, and reports whether anything changed.
func (b *standbys) set(of map[slot]string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := !maps.Equal(b.of, of)
	b.of = of
	return changed
}

// placeStandbys chooses a second processor for each slot. A standby keeps its slot while its
// processor is able and does not own the slot.
func placeStandbys(places, now map[slot]string, able []string) map[slot]string {
	slots := slices.SortedFunc(maps.Keys(places), compareSlots)
	chosen, load := map[slot]string{}, map[string]int{}
	can := func(s slot, p string) bool { return p != places[s] && slices.Contains(able, p) }
	for _, s := range slots {
		load[places[s]]++
		if can(s, now[s]) {
			chosen[s] = now[s]
			load[now[s]]++
		}
	}
	for _, s := range slots {
		if chosen[s] != "" {
			continue
		}
		for _, p := range able {
			if can(s, p) && (chosen[s] == "" || load[p] < load[chosen[s]]) {
				chosen[s] = p
			}
		}
		if chosen[s] == "" {
			delete(chosen, s)
			continue
		}
		load[chosen[s]]++
	}
	return chosen
}

// processors are the processors that send heartbeats to this leader.
type processors struct {
	mu    sync.Mutex
	of    map[string]*processor
	since time.Time // start of the leadership or end of a pause: this leader got no heartbeats before
	awake time.Time // when stayAwake was called last
}

type processor struct {
	incarnation string
	former      []string // the last incarnations under the same name before this one
	seen        time.Time
	leaving     bool
	level       uint32 // the newest semantics level that it knows
	tasks       map[slot]control.TaskState
	versions    map[slot]uint32          // versions of the app in force
	lags        map[string]time.Duration // by app: the largest lag of its tasks
}

const formerKept = 8

func newProcessors(now time.Time) *processors {
	return &processors{of: map[string]*processor{}, since: now, awake: now}
}

// pauseMax is far longer than the time between two calls of stayAwake while the leader
// runs, and shorter than any silence that matters.
const pauseMax = control.HeartbeatTimeout / 5

// stayAwake records that the leader runs. A leader that was frozen has received no
// heartbeats in that time, which does not mean that the processors are dead: it gives all of
// them time to send one.
func (p *processors) stayAwake(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.awake) > pauseMax {
		p.since = now
	}
	p.awake = now
}

// hear records a heartbeat. It fails if a newer process has started under the same name.
func (p *processors) hear(r *control.HeartbeatRequest, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.of[r.Processor]
	if known == nil {
		known = &processor{incarnation: r.Incarnation}
		p.of[r.Processor] = known
	}
	if known.incarnation != r.Incarnation {
		if slices.Contains(known.former, r.Incarnation) {
			return failure(control.CodeFenced, "another process has started as processor %q; give each its own processor.id", r.Processor)
		}
		known.former = append(known.former, known.incarnation)
		known.former = known.former[max(0, len(known.former)-formerKept):]
		known.incarnation = r.Incarnation
	}
	known.seen, known.leaving = now, r.Leaving
	known.level = r.Level
	known.tasks, known.versions = make(map[slot]control.TaskState, len(r.Tasks)), make(map[slot]uint32, len(r.Tasks))
	known.lags = map[string]time.Duration{}
	for _, t := range r.Tasks {
		known.tasks[slot{t.App, t.Partition}] = t.State
		known.versions[slot{t.App, t.Partition}] = t.Version
		known.lags[t.App] = max(known.lags[t.App], time.Duration(t.LagMillis)*time.Millisecond)
	}
	return nil
}

// lag returns the largest lag of the app's tasks, as processors report them.
func (p *processors) lag(app string, now time.Time) (most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.of {
		if now.Sub(k.seen) <= control.HeartbeatTimeout {
			most = max(most, k.lags[app])
		}
	}
	return most
}

// alive returns the processors with a recent heartbeat. settled says that all live
// processors have had the time to send one, so the others are probably dead.
func (p *processors) alive(now time.Time) (able, leaving []string, settled bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		switch {
		case now.Sub(k.seen) > control.HeartbeatTimeout:
		case k.leaving:
			leaving = append(leaving, name)
		default:
			able = append(able, name)
		}
	}
	slices.Sort(able)
	slices.Sort(leaving)
	return able, leaving, now.Sub(p.since) > control.HeartbeatTimeout
}

// quiet returns the processors without a heartbeat for QuietTimeout, which is enough for a
// standby to take over.
func (p *processors) quiet(now time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		if now.Sub(k.seen) > control.QuietTimeout && now.Sub(p.since) > control.QuietTimeout {
			names = append(names, name)
		}
	}
	return names
}

// standing returns the standby of each slot, as processors report them.
func (p *processors) standing(now time.Time) map[slot]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := map[slot]string{}
	for name, k := range p.of {
		if now.Sub(k.seen) > control.HeartbeatTimeout {
			continue // another processor may be the standby by now
		}
		for s, state := range k.tasks {
			if state == control.TaskStandby {
				of[s] = name
			}
		}
	}
	return of
}

// state returns the state of a processor's task; "" if it is not known.
func (p *processors) state(name string, s slot, now time.Time) control.TaskState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.of[name]; k != nil && now.Sub(k.seen) <= control.HeartbeatTimeout {
		return k.tasks[s]
	}
	return ""
}

// version returns the version of the app that a processor's task has in force; 0 if it is
// not known.
func (p *processors) version(name string, s slot, now time.Time) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.of[name]; k != nil && now.Sub(k.seen) <= control.HeartbeatTimeout {
		return k.versions[s]
	}
	return 0
}

// lacking returns the names of the processors that do not know a semantics level.
func (p *processors) lacking(level uint32, now time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		if now.Sub(k.seen) <= control.HeartbeatTimeout && k.level < level {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// runs reports whether any processor runs a task of an app.
func (p *processors) runs(app string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.of {
		for s := range k.tasks {
			if s.app == app && now.Sub(k.seen) <= control.HeartbeatTimeout {
				return true
			}
		}
	}
	return false
}

// heartbeat answers a processor with the partitions that it must run.
func (s *Service) heartbeat(ctx context.Context, l *leader, r *control.HeartbeatRequest) (any, error) {
	if r.Processor == "" || r.Incarnation == "" {
		return nil, failure(control.CodeInvalid, "a heartbeat of processor %q, incarnation %q; neither is ever empty", r.Processor, r.Incarnation)
	}
	now := time.Now()
	if err := l.processors.hear(r, now); err != nil {
		return nil, err
	}
	if err := l.hearDeaths(ctx, r); err != nil {
		return nil, err
	}
	l.replace()
	able, _, settled := l.processors.alive(now)
	answer := control.Heartbeat{Assigned: []control.Assigned{}, Alone: settled && len(able) == 0}
	for _, a := range s.cfg.FSM.apps() {
		for p := range a.Partitions {
			var suspect uint64
			if d := a.death(p); d != nil {
				if d.Quarantined() {
					continue
				}
				suspect = d.Sequence
			}
			standby := a.Places[p] != r.Processor && l.standbys.get(slot{a.Name, p}) == r.Processor
			if a.Places[p] == r.Processor || standby {
				answer.Assigned = append(answer.Assigned, control.Assigned{
					App: a.Name, Partition: p, Index: a.Index, Generation: a.Generation, Held: a.Held, Standby: standby, Suspect: suspect,
				})
			}
		}
	}
	return answer, nil
}

// replace makes keepPlacing check the placements now.
func (l *leader) replace() {
	select {
	case l.placing <- struct{}{}:
	default: // a wake-up is already pending
	}
}

// keepPlacing assigns partitions to processors until ctx ends.
func (l *leader) keepPlacing(ctx context.Context) {
	tick := time.NewTicker(placeEvery)
	defer tick.Stop()
	var moving sync.Map // slots that wait for a checkpoint before they move, with the function that ends the wait
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.placing:
		}
		slots := map[slot]string{}
		for _, a := range l.s.cfg.FSM.apps() {
			if a.Removing {
				l.removeOnce(ctx, a.Name)
				continue
			}
			if a.changing() != nil {
				l.upgradeOnce(ctx, a.Name)
			}
			for p := range a.Partitions {
				if !a.quarantined(p) {
					slots[slot{a.Name, p}] = a.Places[p]
				}
			}
		}
		l.processors.stayAwake(time.Now()) // before any conclusion from missing heartbeats
		able, leaving, settled := l.processors.alive(time.Now())
		changed := false
		var quiet []string
		standing := map[slot]string{}
		if l.s.cfg.Standby {
			quiet, standing = l.processors.quiet(time.Now()), l.processors.standing(time.Now())
		}
		for _, m := range place(slots, able, leaving, quiet, standing, settled) {
			if m.gentle {
				waiting, stop := context.WithTimeout(ctx, moveTimeout)
				if _, under := moving.LoadOrStore(m.slot, stop); under {
					stop()
					continue
				}
				l.work.Go(func() {
					defer moving.Delete(m.slot)
					defer stop()
					l.moveGently(ctx, waiting, m)
				})
				continue
			}
			if stop, under := moving.Load(m.slot); under {
				stop.(context.CancelFunc)() // its processor has died since
			}
			if l.give(ctx, m) {
				changed = true
				slots[m.slot] = m.to
			}
		}
		if l.s.cfg.Standby && settled {
			l.standbys.mu.Lock()
			now := maps.Clone(l.standbys.of)
			l.standbys.mu.Unlock()
			if now == nil {
				now = standing
			}
			changed = l.standbys.set(placeStandbys(slots, now, able)) || changed
		}
		if changed {
			l.nudge()
		}
	}
}

// moveGently makes a checkpoint before it moves a partition, so that the new processor has
// little to replay. It does not move the partition if the new processor has died, or if
// waiting was canceled before its timeout.
func (l *leader) moveGently(ctx, waiting context.Context, m move) {
	o, err := l.ask(waiting, m.slot.app, message{kind: msgTrigger})
	if able, _, _ := l.processors.alive(time.Now()); errors.Is(waiting.Err(), context.Canceled) || !slices.Contains(able, m.to) {
		return
	}
	if !o.Committed {
		l.log.Warn("moving a partition without a checkpoint; its new processor replays a longer tail", "app", m.slot.app, "partition", m.slot.partition, "reason", o.Reason, "err", err)
	}
	if l.give(ctx, m) {
		l.nudge()
	}
}

func (l *leader) give(ctx context.Context, m move) bool {
	_, err := l.propose(ctx, &command{Kind: kindPlace, App: m.slot.app, Partition: m.slot.partition, Processor: m.to})
	if err != nil {
		l.log.Warn("assign a partition to a processor; trying again", "app", m.slot.app, "partition", m.slot.partition, "to", m.to, "err", err)
		return false
	}
	l.log.Info("partition placed", "app", m.slot.app, "partition", m.slot.partition, "from", m.from, "to", m.to)
	return true
}

// nudge makes processors send a heartbeat at once. If one misses the message, it sends its
// next regular heartbeat a little later.
func (l *leader) nudge() { _ = l.s.cfg.Conn.Publish(control.NudgeSubject, nil) }
