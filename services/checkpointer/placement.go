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
	// moveTimeout bounds the checkpoint before a partition is moved. Without it the
	// other processor replays a longer tail.
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

// move gives a slot to a processor. A gentle one can wait for a checkpoint: the
// processor that has the slot is there.
type move struct {
	slot   slot
	from   string
	to     string
	gentle bool
}

// place decides which partitions change their processor. What runs stays where it is
// as long as its processor does and no other has two partitions less. The same
// arguments give the same moves.
//
// now has where each slot is, "" for nowhere; able are the processors that take
// partitions, and leaving those that still run some but are to lose them. Slots of
// processors that are neither are taken from them if orphans is set.
//
// prefer has those that stand by for a slot; they get it if its processor is gone, or
// is among the quiet, which have not been heard of for a moment.
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
	// From whoever has most, so that none gives away what it would be given back.
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

// standbys says which processors stand by for partitions. It is the leader's alone: the
// next one learns from heartbeats who does.
type standbys struct {
	mu sync.Mutex
	of map[slot]string
}

func (b *standbys) get(s slot) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[s]
}

// set replaces all, and reports whether anything changed.
func (b *standbys) set(of map[slot]string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := !maps.Equal(b.of, of)
	b.of = of
	return changed
}

// placeStandbys chooses a second processor for each slot. Whoever stands by goes on
// doing so as long as it can.
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

// processors are those that a leader hears of.
type processors struct {
	mu    sync.Mutex
	of    map[string]*processor
	since time.Time // of the leadership: before, others were told; or of the end of a pause
	awake time.Time // the leader was
}

type processor struct {
	incarnation string
	former      []string // incarnations under the same name, the last ones
	seen        time.Time
	leaving     bool
	level       uint32                   // of semantics, the newest that it applies
	tasks       map[slot]string          // state
	versions    map[slot]uint32          // of the app, in force
	lags        map[string]time.Duration // by app: the largest of its tasks
}

const formerKept = 8

func newProcessors(now time.Time) *processors {
	return &processors{of: map[string]*processor{}, since: now, awake: now}
}

// pauseMax is far more than a leader that runs is not awake for, and less than any silence
// that counts.
const pauseMax = control.HeartbeatTimeout / 5

// stayAwake says that the leader runs. One that was frozen has heard of nobody meanwhile,
// which is no sign of anybody's death: all get the time to be heard of again.
func (p *processors) stayAwake(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.awake) > pauseMax {
		p.since = now
	}
	p.awake = now
}

// hear takes in a heartbeat. It fails if another process has begun under the same name
// since.
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
			return failure(control.CodeFenced, "another process has begun as processor %q; give each its own processor.id", r.Processor)
		}
		known.former = append(known.former, known.incarnation)
		known.former = known.former[max(0, len(known.former)-formerKept):]
		known.incarnation = r.Incarnation
	}
	known.seen, known.leaving = now, r.Leaving
	known.level = r.Level
	known.tasks, known.versions = make(map[slot]string, len(r.Tasks)), make(map[slot]uint32, len(r.Tasks))
	known.lags = map[string]time.Duration{}
	for _, t := range r.Tasks {
		known.tasks[slot{t.App, t.Partition}] = t.State
		known.versions[slot{t.App, t.Partition}] = t.Version
		known.lags[t.App] = max(known.lags[t.App], time.Duration(t.LagMillis)*time.Millisecond)
	}
	return nil
}

// lag returns the largest lag that a processor has told of a task of an app.
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

// alive returns the processors that have been heard of lately. The others may be dead;
// settled says that they had the time to be heard of.
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

// quiet returns the processors that a standby should not wait for any longer.
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

// standing returns who stands by for what, as processors say.
func (p *processors) standing(now time.Time) map[slot]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := map[slot]string{}
	for name, k := range p.of {
		if now.Sub(k.seen) > control.HeartbeatTimeout {
			continue // another one may stand by since
		}
		for s, state := range k.tasks {
			if state == "standby" {
				of[s] = name
			}
		}
	}
	return of
}

// state returns how a processor's task is; "" if it is not known.
func (p *processors) state(name string, s slot, now time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.of[name]; k != nil && now.Sub(k.seen) <= control.HeartbeatTimeout {
		return k.tasks[s]
	}
	return ""
}

// version returns which version of its app a processor's task has in force; 0 if it is not
// known.
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

// heartbeat answers a processor with what it is to run.
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

// replace has placements looked at now.
func (l *leader) replace() {
	select {
	case l.placing <- struct{}{}:
	default: // it will be, anyway
	}
}

// keepPlacing gives partitions to processors, until ctx ends.
func (l *leader) keepPlacing(ctx context.Context) {
	tick := time.NewTicker(placeEvery)
	defer tick.Stop()
	var moving sync.Map // slots whose checkpoint is under way, with what ends the wait for it
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
		l.processors.stayAwake(time.Now()) // before it draws a conclusion
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
				stop.(context.CancelFunc)() // its processor was there then, and is not now
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

// moveGently makes a checkpoint before it gives a partition away, so that the other
// has little to replay. It gives up where that one has died meanwhile, or waiting was
// ended and did not come to its end.
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
		l.log.Warn("give a partition to a processor; trying again", "app", m.slot.app, "partition", m.slot.partition, "to", m.to, "err", err)
		return false
	}
	l.log.Info("partition placed", "app", m.slot.app, "partition", m.slot.partition, "from", m.from, "to", m.to)
	return true
}

// nudge has processors ask at once. One that does not hear of it asks a little later.
func (l *leader) nudge() { _ = l.s.cfg.Conn.Publish(control.NudgeSubject, nil) }
