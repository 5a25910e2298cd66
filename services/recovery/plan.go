package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// restorePlan is a plan with everything that is needed to carry it out.
type restorePlan struct {
	h      *history
	target *target
	from   *basis // the checkpoint that state is loaded from
	onto   *basis // the checkpoint that keeps its other state; nil if all state is replaced
	scope  scope
	look   bool // nothing is restored
	keep   bool // the version at the target
	plan   *Plan
	// skipped are the records to skip in addition to the skipped records of the checkpoint,
	// by partition.
	skipped map[uint32][]checkpoint.Skipped
	others  []control.CheckpointRef // older candidates if from cannot be used, newest first
}

// plan answers VerbPlan, and VerbRestore for a dry run.
func (s *Service) plan(ctx context.Context, r *RestoreRequest) (any, error) {
	c, err := s.planRestore(ctx, r)
	if err != nil {
		return nil, err
	}
	return c.plan, nil
}

// planRestore makes the plan of a restore, with or without records to skip.
func (s *Service) planRestore(ctx context.Context, r *RestoreRequest) (*restorePlan, error) {
	if len(r.Skip) > 0 {
		return s.planSkip(ctx, r)
	}
	return s.newRestorePlan(ctx, &r.PlanRequest)
}

// newRestorePlan makes a plan. If the restore is impossible, the plan has the reason in Refused. An
// error means that the request is invalid or that the plan could not be made.
func (s *Service) newRestorePlan(ctx context.Context, r *PlanRequest) (*restorePlan, error) {
	if err := r.complete(); err != nil {
		return nil, err
	}
	h, err := s.look(ctx, r.App)
	if err != nil {
		return nil, err
	}
	target, err := parseTarget(r.Target, h.app.Partitions, s.cfg.Now())
	if err != nil {
		return nil, err
	}
	c := &restorePlan{h: h, target: target, look: r.Look, keep: r.KeepVersion, plan: &Plan{App: r.App, Target: target.text, Verify: r.Verify, After: r.After}}
	if c.scope, err = h.scope(r.Components, r.After); err != nil {
		return nil, err
	}
	if c.keep && c.scope.partial() {
		return nil, failure(control.CodeInvalid, "keep_version restores all state of the app, and cannot be combined with components or fork")
	}
	return c, c.fill(ctx, h.refs)
}

// complete fills in the defaults and checks the request.
func (r *PlanRequest) complete() error {
	r.Verify, r.After = cmp.Or(r.Verify, VerifyChecksum), cmp.Or(r.After, AfterResume)
	if !slices.Contains([]string{VerifyNone, VerifyChecksum, VerifyFull}, r.Verify) {
		return failure(control.CodeInvalid, "verify %.40q is not one of none, checksum, full", r.Verify)
	}
	if !slices.Contains([]string{AfterResume, AfterHold, AfterFork}, r.After) {
		return failure(control.CodeInvalid, "after %.40q is not one of resume, hold, fork", r.After)
	}
	return nil
}

// fill chooses one of the checkpoints, newest first, and fills in the plan.
func (c *restorePlan) fill(ctx context.Context, refs []control.CheckpointRef) error {
	var err error
	if c.from, c.others, err = c.choose(ctx, c.target, refs); err != nil {
		return err
	}
	if c.from == nil {
		return nil // choose has refused the plan
	}
	c.from = c.from.skipping(c.skipped)
	if c.from.manifest == nil && !c.scope.partial() && !c.look {
		if len(c.h.refs) == 0 {
			c.refuse(fmt.Sprintf("a restore loads a checkpoint, and app %s has none yet", c.h.plan.Name), "eventflux checkpoint trigger "+c.h.plan.Name)
		} else {
			c.refuse(fmt.Sprintf("a restore loads a checkpoint, and app %s has none at or before %s", c.h.plan.Name, c.target.text), c.insteadOf(ctx, 0))
		}
		return nil
	}
	if c.scope.partial() {
		if c.onto, _, err = c.choose(ctx, &target{}, c.h.refs); err != nil {
			return err
		}
		if c.onto == nil || c.onto.manifest == nil {
			c.refuse(fmt.Sprintf("components are replaced in a checkpoint, and app %s has no usable one", c.h.plan.Name),
				"eventflux checkpoint trigger "+c.h.plan.Name)
			return nil
		}
		c.plan.Onto = c.onto.epoch()
	}
	if c.target.results != nil {
		if err := c.locateResults(ctx); errors.Is(err, checkpoint.ErrCorrupt) && c.from.manifest != nil {
			return c.fallBack(ctx, err.Error())
		} else if err != nil {
			return err
		}
	}
	if c.plan.Refused != "" {
		return nil
	}
	return c.describe(ctx)
}

func (c *restorePlan) refuse(why, next string) { c.plan.Refused, c.plan.Next = why, next }

func (c *restorePlan) passOver(epoch state.Epoch, why string) {
	if slices.ContainsFunc(c.plan.PassedOver, func(p PassedOver) bool { return p.Epoch == epoch }) {
		return
	}
	c.plan.PassedOver = append(c.plan.PassedOver, PassedOver{epoch, why})
}

// choose picks the newest usable checkpoint at or before the target. If there is none but
// the logs are complete, it returns the zero value: the start of the log. Otherwise it
// refuses the plan and returns nil.
func (c *restorePlan) choose(ctx context.Context, m *target, refs []control.CheckpointRef) (*basis, []control.CheckpointRef, error) {
	found := m.epoch == 0
	for i, ref := range refs {
		if m.epoch > 0 && ref.Epoch != m.epoch {
			continue
		}
		found = true
		one, err := c.h.open(ctx, ref)
		if err == nil {
			if ok, why := m.before(one); !ok {
				c.passOver(ref.Epoch, why)
				continue
			}
			err = c.h.checkBehind(ctx, one)
		}
		var wrong *unusable
		if errors.As(err, &wrong) {
			c.passOver(ref.Epoch, wrong.why)
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		return one, refs[i+1:], nil
	}
	app := c.h.plan.Name
	switch {
	case !found:
		c.refuse(fmt.Sprintf("app %s has no checkpoint %d, or it is no longer retained", app, m.epoch), "eventflux checkpoint ls "+app)
	case m.epoch > 0:
		c.refuse(fmt.Sprintf("checkpoint %d cannot be used: %s", m.epoch, c.plan.PassedOver[len(c.plan.PassedOver)-1].Why), c.insteadOf(ctx, m.epoch))
	case c.replacesAll() && c.h.app.Generation <= 1: // later generations may not follow from the log alone
		return &basis{}, nil, nil
	case m.text == latest || m.text == "":
		c.refuse(fmt.Sprintf("no checkpoint of app %s can be used, and the start of the log was trimmed", app), c.insteadOf(ctx, 0))
	default:
		c.refuse(fmt.Sprintf("no checkpoint at or before %s can be used, and the start of the log was trimmed", m.text), c.insteadOf(ctx, 0))
	}
	return nil, nil, nil
}

// replacesAll reports whether all logs still have their first frames.
func (c *restorePlan) replacesAll() bool {
	for i := range c.h.logs {
		if !c.h.logs[i].complete() {
			return false
		}
	}
	return true
}

// insteadOf returns the next best command: a restore to the usable checkpoint nearest to
// epoch.
func (c *restorePlan) insteadOf(ctx context.Context, epoch state.Epoch) string {
	app := c.h.plan.Name
	var best *basis
	for _, ref := range c.h.refs { // newest first
		if ref.Epoch == epoch {
			continue
		}
		one, err := c.h.open(ctx, ref)
		if err != nil || c.h.checkBehind(ctx, one) != nil {
			continue
		}
		best = one
		if ref.Epoch < epoch {
			break // the newest usable checkpoint before it
		}
	}
	switch {
	case best != nil:
		return fmt.Sprintf("eventflux recover %s --to %d", app, best.epoch())
	case epoch > 0:
		return fmt.Sprintf("eventflux checkpoint verify %s %d", app, epoch)
	}
	return "eventflux checkpoint ls " + app
}

// describe fills in the plan once the checkpoint and the target are known.
func (c *restorePlan) describe(ctx context.Context) error {
	p := c.plan
	p.Checkpoint, p.Generation, p.Time = c.from.epoch(), c.from.ref.Generation, c.from.ref.Time
	p.Components, p.Warnings = c.scope.describe(c.h)
	p.Settings, p.Skipped = c.h.app.Settings, c.skipped
	if damaged, err := c.measureStore(ctx); err != nil {
		return err
	} else if damaged != "" {
		return c.fallBack(ctx, damaged)
	}
	if err := c.measureLogs(ctx); err != nil {
		return err
	}
	if p.Refused == "" && c.scope.partial() {
		c.checkOnto()
	}
	if p.Refused == "" && c.keep {
		if err := c.keepVersion(ctx); err != nil {
			return err
		}
	}
	c.estimate()
	return nil
}

// checkOnto refuses to put state into a checkpoint that was cut before the target. The
// events between the two would be applied to that state twice, and state that it depends on
// would be missing.
func (c *restorePlan) checkOnto() {
	for i := range c.plan.Partitions {
		part := &c.plan.Partitions[i]
		cut := c.onto.part(part.Partition)
		ahead := part.Target.Compare(rebuild.Position{Sequence: cut.Log.Sequence}) > 0
		if !part.Exact && c.target.timed {
			ahead = cut.Clock <= c.target.time
		}
		if ahead && len(c.scope.replaced(part.Partition)) > 0 {
			c.refuse(fmt.Sprintf("the target is after the newest checkpoint, %d, which the components go into: that was cut at %d in the log of partition %d",
				c.onto.epoch(), cut.Log.Sequence, part.Partition), "eventflux checkpoint trigger "+c.h.plan.Name)
			return
		}
	}
}

// measureStore counts what the restore reads from the store. If something there is damaged,
// it returns a description of the damage.
func (c *restorePlan) measureStore(ctx context.Context) (damaged string, err error) {
	if c.from.manifest == nil {
		return "", nil
	}
	var runs []*checkpoint.Run
	for i := range c.from.manifest.Partitions {
		for k := range c.from.manifest.Partitions[i].Components {
			of := &c.from.manifest.Partitions[i].Components[k]
			for r := range of.Runs {
				runs = append(runs, &of.Runs[r])
			}
		}
	}
	s := checkpoint.SharedReads(c.h.s.cfg.Store, c.from.manifest.Chains()...)
	objects := make([][]string, len(runs))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(c.h.s.cfg.Workers)
	for i, run := range runs {
		group.Go(func() (err error) {
			objects[i], err = checkpoint.ReadObjects(reading, s, run)
			return err
		})
	}
	if err := group.Wait(); errors.Is(err, checkpoint.ErrCorrupt) {
		return err.Error(), nil
	} else if err != nil {
		return "", err
	}
	names := map[string]bool{}
	for i, run := range runs {
		c.plan.Bytes, c.plan.RawBytes = c.plan.Bytes+run.Bytes, c.plan.RawBytes+run.RawBytes
		for _, name := range objects[i] {
			names[name] = true
		}
	}
	c.plan.Runs, c.plan.Objects = len(runs), len(names)
	return "", nil
}

// fallBack chooses an older checkpoint than the one that turned out to be damaged.
func (c *restorePlan) fallBack(ctx context.Context, why string) error {
	damaged := c.from.epoch()
	c.passOver(damaged, why)
	p := c.plan
	c.plan = &Plan{App: p.App, Target: p.Target, Verify: p.Verify, After: p.After, PassedOver: p.PassedOver}
	if c.target.epoch > 0 {
		c.refuse(fmt.Sprintf("checkpoint %d cannot be used: %s", damaged, why), c.insteadOf(ctx, damaged))
		return nil
	}
	return c.fill(ctx, c.others)
}

// scanFor bounds how long a plan reads a log to count its events. After that it extrapolates.
const scanFor = 2 * time.Second

// measureLogs finds where the replay of each partition ends, and how much it reads.
func (c *restorePlan) measureLogs(ctx context.Context) error {
	parts := make([]PlanPartition, len(c.h.logs))
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(c.h.s.cfg.Workers)
	for i := range parts {
		group.Go(func() (err error) {
			parts[i], err = c.measureLog(reading, uint32(i))
			return err
		})
	}
	err := group.Wait()
	c.plan.Partitions = parts
	var wrong *unusable
	if errors.As(err, &wrong) {
		next := wrong.next
		if next == "" {
			next = c.insteadOf(ctx, c.from.epoch())
		}
		c.refuse(wrong.why, next)
		return nil
	}
	return err
}

// toWholeFrame returns the command that restores to the end of the target's frames instead
// of an event in them.
func (c *restorePlan) toWholeFrame() string {
	frames := make([]string, len(c.target.places))
	for p, at := range c.target.places {
		frames[p] = strconv.FormatUint(at.Sequence, 10)
	}
	return fmt.Sprintf("eventflux recover %s --at %s%s", c.h.plan.Name, rebuild.Prefix, strings.Join(frames, ","))
}

func (c *restorePlan) measureLog(ctx context.Context, p uint32) (PlanPartition, error) {
	log := &c.h.logs[p]
	out := PlanPartition{Partition: p, Barrier: c.from.barrier(p), LogEnd: log.last, Exact: true}
	if part := c.from.part(p); part != nil {
		out.Clock = part.Clock
	}
	to := c.target.of(p, c.from, log.last)
	out.Target = to.Position
	if !to.Timed && to.Sequence > log.last {
		return out, &unusable{
			why:  fmt.Sprintf("partition %d: the log ends at %d, before the target %s", p, log.last, to),
			next: "eventflux recover " + c.h.plan.Name, // to the ends of all logs
		}
	}
	if !to.Timed && to.Compare(rebuild.Position{Sequence: out.Barrier}) <= 0 {
		return out, nil
	}
	frames, done, err := c.h.openLog(ctx, c.from, p, log.last)
	if err != nil {
		return out, err
	}
	defer done()
	scanning, cancel := context.WithTimeout(ctx, scanFor)
	defer cancel()
	d, err := rebuild.Scan(scanning, frames, c.h.plan, rebuild.Position{Sequence: out.Barrier}, to)
	if err != nil && scanning.Err() != nil && ctx.Err() == nil {
		c.extrapolate(&out, log, d, to)
		return out, nil
	}
	if errors.Is(err, rebuild.ErrNoEvent) {
		return out, &unusable{why: fmt.Sprintf("partition %d: %v", p, err), next: c.toWholeFrame()}
	}
	if err != nil {
		return out, err
	}
	out.Target, out.Frames, out.Events, out.Bytes = d.At, d.Frames, d.Events, d.Bytes
	return out, nil
}

// extrapolate estimates the rest of the log from the part that was read, as if all frames
// were alike.
func (c *restorePlan) extrapolate(out *PlanPartition, log *logState, d rebuild.Done, to rebuild.Target) {
	out.Exact = false
	all := log.last - out.Barrier // an instant may be anywhere in the log
	if !to.Timed {
		all = to.Sequence - out.Barrier
	}
	out.Frames = all
	if d.Frames > 0 {
		out.Events, out.Bytes = d.Events*all/d.Frames, int64(float64(d.Bytes)*float64(all)/float64(d.Frames))
	}
}

// estimate estimates how long the restore will take.
func (c *restorePlan) estimate() {
	var events uint64
	for i := range c.plan.Partitions {
		events += c.plan.Partitions[i].Events
	}
	load, replay, basis := c.h.s.rates.now()
	seconds := float64(c.plan.RawBytes)/load + float64(events)/replay
	switch c.plan.Verify {
	case VerifyChecksum:
		seconds += float64(c.plan.RawBytes) / load
	case VerifyFull:
		seconds += 3 * float64(c.plan.RawBytes) / load
		basis += "; without the replay that proves the checkpoint"
	}
	c.plan.Seconds, c.plan.Basis = seconds, basis
}

// replayed returns how much is replayed in all partitions.
func (p *Plan) replayed() (frames, events uint64, bytes int64) {
	for i := range p.Partitions {
		part := &p.Partitions[i]
		frames, events, bytes = frames+part.Frames, events+part.Events, bytes+part.Bytes
	}
	return frames, events, bytes
}

// String returns the plan in one line, for logs.
func (p *Plan) String() string {
	frames, events, _ := p.replayed()
	from := "the start of the log"
	if p.Checkpoint > 0 {
		from = fmt.Sprintf("checkpoint %d", p.Checkpoint)
	}
	return strings.TrimSpace(fmt.Sprintf("%s to %s from %s, %d frames with %d events after it %s", p.App, p.Target, from, frames, events, p.Refused))
}
