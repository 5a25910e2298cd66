package forks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// Errors of Merge.
var (
	// ErrRefused is returned if both forks have changed state that has no keys.
	ErrRefused = errors.New("the forks cannot be merged as they are")
	// ErrUnrelated is returned if the checkpoints do not belong to the same app.
	ErrUnrelated = errors.New("the checkpoints cannot be merged")
)

// Fork is a checkpoint, and where it is.
type Fork struct {
	Name     string // for people
	Store    store.Store
	Manifest *checkpoint.Manifest
}

// Options say what is merged.
type Options struct {
	Plan       *siddhiql.Plan // of the version of the app that all three checkpoints have
	Base, A, B Fork
	Strategy   checkpoint.Strategy
	// Take names components whose state is taken from one fork, "A" or "B", without a merge. It
	// includes the components that must fit to them.
	Take    map[string]string
	Samples int         // how many conflicts of a component are shown
	To      store.Store // gets the result; nil: nothing is written
	Workers int
}

// The places of the three checkpoints.
const (
	base = iota
	sideA
	sideB
)

var sideNames = [...]string{"the base", "A", "B"}

// Merge merges two forks. It reads all state into memory. The result is loaded once, to prove
// that an app can start from it, and committed to the other store as the newest checkpoint of the
// app, where nothing else may write. The report is complete even if the merge is refused.
func Merge(ctx context.Context, opt Options) (*Report, error) {
	m := &merger{opt: &opt, forks: [3]*Fork{&opt.Base, &opt.A, &opt.B}, to: opt.To}
	m.report = &Report{
		App: opt.Plan.Name, Strategy: opt.Strategy.String(), Components: []Component{},
		Base: refOf(&opt.Base), A: refOf(&opt.A), B: refOf(&opt.B),
	}
	if m.to == nil {
		m.to = memory.New()
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	head, err := m.to.Head(ctx, opt.Plan.Name)
	if err != nil {
		return nil, err
	}
	m.newManifest(head)
	for p := range m.result.Partitions {
		if err := m.partition(ctx, uint32(p)); err != nil {
			return nil, err
		}
	}
	if err := m.report.Err(); err != nil {
		return m.report, err
	}
	if opt.To == nil {
		return m.report, nil
	}
	return m.report, m.commit(ctx)
}

func refOf(f *Fork) Ref {
	return Ref{Name: f.Name, Epoch: f.Manifest.Epoch, Generation: f.Manifest.Generation, Time: f.Manifest.Time}
}

type merger struct {
	opt    *Options
	forks  [3]*Fork
	to     store.Store
	result *checkpoint.Manifest
	report *Report
}

// check refuses checkpoints of other apps or versions.
func (m *merger) check() error {
	for i, f := range m.forks {
		switch {
		case f.Manifest.App != m.opt.Plan.Name:
			return fmt.Errorf("%w: %s is of app %s, and the text is of app %s", ErrUnrelated, f.Name, f.Manifest.App, m.opt.Plan.Name)
		case len(f.Manifest.Partitions) != m.opt.Plan.Partitions:
			return fmt.Errorf("%w: %s has %d partitions, and the text has %d", ErrUnrelated, f.Name, len(f.Manifest.Partitions), m.opt.Plan.Partitions)
		case i > base && f.Manifest.Epoch < m.opt.Base.Manifest.Epoch:
			return fmt.Errorf("%w: %s has epoch %d, before the base with epoch %d", ErrUnrelated, f.Name, f.Manifest.Epoch, m.opt.Base.Manifest.Epoch)
		}
		for p := range f.Manifest.Partitions {
			if number, plan := f.Manifest.VersionOf(uint32(p)); plan != m.opt.Plan.Digest {
				return fmt.Errorf("%w: %s has version %d of the app in partition %d, with the digest %s, and the text has %s; give the text of that version, and bring both forks to the same version first", ErrUnrelated, f.Name, number, p, plan, m.opt.Plan.Digest)
			}
		}
	}
	return nil
}

// newManifest makes the manifest of the result from the manifest of A.
func (m *merger) newManifest(head store.Head) {
	a, b := m.opt.A.Manifest, m.opt.B.Manifest
	m.result = &checkpoint.Manifest{
		App: a.App, Plan: a.Plan, Generation: max(a.Generation, b.Generation), Time: a.Time,
		Epoch: max(a.Epoch, b.Epoch, state.Epoch(head.Epoch)) + 1,
		Term:  max(a.Term, b.Term, checkpoint.Term(head.Term)), Partitions: slices.Clone(a.Partitions),
	}
	if b.Time.After(a.Time) {
		m.result.Time = b.Time
	}
	for p := range m.result.Partitions {
		part := &m.result.Partitions[p]
		part.Start, part.Skipped, part.Components = nil, nil, nil
		part.Clock = max(part.Clock, b.Partitions[p].Clock)
		part.Output.Positions = map[string]string{}
	}
}

// settings are those of a deployment that sets none. A merge applies no events.
var settings = engine.Settings{DedupWindow: 1, Limits: engine.DefaultLimits()}

func (m *merger) partition(ctx context.Context, p uint32) error {
	t, err := rebuild.New(m.opt.Plan, p, settings)
	if err != nil {
		return err
	}
	w := &work{merger: m, p: p, part: &m.result.Partitions[p]}
	for _, f := range m.forks {
		for i := range f.Manifest.Partitions[p].Components {
			c := &f.Manifest.Partitions[p].Components[i]
			if !slices.ContainsFunc(t.Infos(), func(info state.Info) bool { return info.ID == c.ID }) {
				return fmt.Errorf("%w: %s has a component %q, which the text does not have: a change of the app gave it this id, and such checkpoints cannot be merged", ErrUnrelated, f.Name, c.ID)
			}
		}
	}
	sets := t.Core.ForkSets()
	for id, side := range m.opt.Take {
		if !slices.ContainsFunc(sets, func(s engine.ForkSet) bool { return slices.Contains(s.Components, id) }) || side != "A" && side != "B" {
			return fmt.Errorf("%w: --take %s=%s: give a component of the app, and A or B; eventflux state ls %s lists the components", state.ErrInvalid, id, side, m.opt.Plan.Name)
		}
	}
	if err := w.clocks(ctx); err != nil {
		return err
	}
	for i := range sets {
		if err := w.set(ctx, &sets[i]); err != nil {
			return err
		}
	}
	if len(m.report.Refused) > 0 {
		return nil
	}
	slices.SortFunc(w.part.Components, func(a, b checkpoint.Component) int { return cmp.Compare(a.ID, b.ID) })
	if err := t.Load(ctx, m.to, w.part, m.result.Epoch, m.opt.Workers); err != nil {
		return fmt.Errorf("partition %d of the result does not load: %w; take the component from one fork with --take", p, err)
	}
	return nil
}

// commit makes the result a checkpoint.
func (m *merger) commit(ctx context.Context) error {
	var objects []string
	for p := range m.result.Partitions {
		for _, c := range m.result.Partitions[p].Components {
			for i := range c.Runs {
				names, err := checkpoint.Objects(ctx, m.to, &c.Runs[i])
				if err != nil {
					return err
				}
				objects = append(objects, names...)
			}
		}
	}
	data, err := m.result.Encode()
	if err != nil {
		return err
	}
	m.report.Epoch = m.result.Epoch
	return m.to.Commit(ctx, store.Commit{
		App: m.result.App, Term: uint64(m.result.Term), Epoch: uint64(m.result.Epoch),
		Name: checkpoint.ManifestName(m.result.App, m.result.Epoch), Manifest: data, Objects: objects,
	})
}
