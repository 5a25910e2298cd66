package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

func (rs *restorer) adopt(ctx context.Context, r *control.AdoptRequest) (any, error) {
	return rs.inTurn(ctx, restore{adopt: r})
}

// adoption turns a request into the restore that carries it out: the newest checkpoint, with
// the components of the former cluster's checkpoint, except those that belong to its log.
func (rs *restorer) adoption(ctx context.Context, r *control.AdoptRequest) (*control.RestoreRequest, state.Epoch, error) {
	a, err := rs.cfg.FSM.known(r.App)
	if err != nil {
		return nil, 0, err
	}
	newest, err := rs.cfg.FSM.ref(&control.CheckpointRequest{App: r.App})
	if err != nil {
		return nil, 0, err
	}
	former, err := rs.former(ctx, a, r.Epoch)
	if err != nil {
		return nil, 0, err
	}
	now, err := checkpoint.ReadManifest(ctx, rs.cfg.Store, newest.Manifest, newest.Digest)
	if err != nil {
		return nil, 0, err
	}
	request := &control.RestoreRequest{App: r.App, ID: r.ID, Epoch: newest.Epoch, Components: map[uint32][]checkpoint.Component{}}
	for p := range former.Partitions {
		version, _ := former.VersionOf(uint32(p))
		for _, c := range former.Partitions[p].Components {
			there := slices.ContainsFunc(now.Partitions[p].Components, func(x checkpoint.Component) bool { return x.ID == c.ID })
			switch {
			case engine.OfOneLog(c.Type):
			case there:
				request.Components[uint32(p)] = append(request.Components[uint32(p)], c)
			case version > 1:
				return nil, 0, failure(control.CodeInvalid, "checkpoint %d has state of %s under the name from before a change of app %s; deploy the app with that name of the query in @info, and adopt the checkpoint", former.Epoch, c.ID, r.App)
			}
		}
	}
	return request, former.Epoch, nil
}

// former returns the checkpoint of a former cluster with that epoch, or the newest sound one.
func (rs *restorer) former(ctx context.Context, a *appState, epoch state.Epoch) (*checkpoint.Manifest, error) {
	var names []string
	err := rs.cfg.Store.List(ctx, "apps/"+a.Name+"/checkpoints/", func(o store.Object) error {
		if e, ok := checkpoint.EpochOf(o.Name); ok && e <= a.Base && (epoch == 0 || e == epoch) {
			names = append(names, o.Name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the checkpoints of app %s in the store: %w", a.Name, err)
	}
	slices.Sort(names) // by epoch; a merged manifest comes after the one it replaces
	var passed []error
	for _, name := range slices.Backward(names) {
		m, err := rs.sound(ctx, a, name)
		if err == nil {
			return m, nil
		}
		if errors.Is(err, checkpoint.ErrVersion) {
			return nil, failure(control.CodeInvalid, "%v; or continue from an older one: eventflux recover %s --adopt --to EPOCH", err, a.Name)
		}
		if !errors.Is(err, checkpoint.ErrCorrupt) {
			return nil, err
		}
		passed = append(passed, err)
		rs.log.Warn("a checkpoint of the former cluster cannot be used", "app", a.Name, "manifest", name, "err", err)
	}
	switch {
	case len(passed) > 0:
		return nil, failure(control.CodeInvalid, "no checkpoint of the former cluster can be used: %v", errors.Join(passed...))
	case epoch > 0:
		return nil, failure(control.CodeNotFound, "the store has no checkpoint %d of app %s from before it was deployed here", epoch, a.Name)
	}
	return nil, failure(control.CodeNotFound, "the store has no checkpoint of app %s from before it was deployed here; eventflux checkpoint ls %[1]s lists those since", a.Name)
}

// sound reads a manifest and checks all objects that it refers to.
func (rs *restorer) sound(ctx context.Context, a *appState, name string) (*checkpoint.Manifest, error) {
	m, err := checkpoint.ReadManifest(ctx, rs.cfg.Store, name, "")
	if err != nil {
		return nil, err
	}
	for p := range m.Partitions {
		if _, plan := m.VersionOf(uint32(p)); m.App != a.Name || plan != a.Plan || len(m.Partitions) != int(a.Partitions) {
			return nil, failure(control.CodeInvalid, "checkpoint %d is of another text of app %s (%s, and it is deployed with %s); deploy that text to continue from it", m.Epoch, a.Name, plan, a.Plan)
		}
	}
	report, err := checkpoint.Verify(ctx, rs.cfg.Store, m, 2)
	if err != nil {
		return nil, err
	}
	if len(report.Problems) > 0 {
		p := report.Problems[0]
		return nil, &checkpoint.CorruptError{Object: p.Object, What: p.What}
	}
	return m, nil
}
