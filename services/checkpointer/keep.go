package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// A restore that keeps a version has two parts. The state of log/version in the manifest makes
// tasks pass over the later versions in their logs. With the commit, the app gets one more
// version, with the text of the kept one: the change to it is completed like any other, and
// from then on ingest writes its schemas.

// keepVersion makes a manifest keep the version that a restore asks for, and returns the version
// that follows the restore; nil if it asks for none.
func (up *upgrader) keepVersion(ctx context.Context, r *control.RestoreRequest, m *checkpoint.Manifest) (*control.Version, error) {
	if r.Keep == 0 {
		return nil, nil
	}
	a := up.cfg.FSM.app(r.App)
	if a == nil || a.Removing {
		return nil, removed(r.App)
	}
	newest, kept := a.newest(), a.versionOf(r.Keep)
	switch {
	case r.Newest != newest.Number:
		return nil, failure(control.CodeFenced, "the restore was planned for version %d of app %s, and %d is the newest; plan it again", r.Newest, a.Name, newest.Number)
	case kept == nil || r.Keep >= newest.Number:
		return nil, failure(control.CodeInvalid, "app %s has no version %d before version %d; eventflux app history %[1]s lists them", a.Name, r.Keep, newest.Number)
	case kept.Text == "":
		return nil, failure(control.CodeInvalid, "the text of version %d of app %s is not kept any more; restore without keeping it, then upgrade to the text: eventflux app upgrade FILE", r.Keep, a.Name)
	}
	if err := up.levelKnown(ctx, engine.Level); err != nil {
		return nil, err
	}
	v, err := up.versionAfter(ctx, a, kept, newest)
	if err != nil {
		return nil, err
	}
	for p := range m.Partitions {
		if err := up.keepIn(ctx, &m.Partitions[p], m.Epoch, r); err != nil {
			return nil, fmt.Errorf("keep version %d in partition %d of checkpoint %d: %w", r.Keep, p, m.Epoch, err)
		}
	}
	return v, nil
}

// versionAfter returns the version that repeats the text of a kept one.
func (up *upgrader) versionAfter(ctx context.Context, a *appState, kept, newest *control.Version) (*control.Version, error) {
	was, err := engine.Compile(&frame.Version{Text: kept.Text, Change: kept.Change})
	if err != nil {
		return nil, err
	}
	now, err := engine.Compile(&frame.Version{Text: newest.Text, Change: newest.Change})
	if err != nil {
		return nil, err
	}
	next, err := siddhiql.CompileDeployed(kept.Text)
	if err != nil {
		return nil, err
	}
	plan, err := engine.Keep(was, now, next, kept.Number)
	if errors.Is(err, engine.ErrRefused) {
		return nil, failure(control.CodeInvalid, "version %d of app %s cannot be kept: %v", kept.Number, a.Name, err)
	}
	if err != nil {
		return nil, err
	}
	if _, err := up.admission.reachableFor(ctx, next); err != nil {
		return nil, err
	}
	v := &control.Version{
		Number: newest.Number + 1, Plan: next.Digest, Text: kept.Text, Of: kept.Number, Change: plan.Change.JSON(),
		Level: engine.Level, Build: up.cfg.Self.Version, Settings: up.cfg.Settings, Time: up.cfg.Now(),
	}
	v.Stamp = v.Time.UnixMilli()
	if err := up.admission.checkFrame(&a.App, v); err != nil {
		return nil, err
	}
	return v, up.streams.widenStreams(ctx, &change{app: a, plan: next, version: *v})
}

// keepIn writes the state that makes the task of a partition pass over later versions.
func (up *upgrader) keepIn(ctx context.Context, part *checkpoint.Partition, epoch state.Epoch, r *control.RestoreRequest) error {
	i := slices.IndexFunc(part.Components, func(c checkpoint.Component) bool { return c.ID == engine.VersionComponent })
	if i < 0 {
		return fmt.Errorf("it has no component %s", engine.VersionComponent)
	}
	c := &part.Components[i]
	entries, err := checkpoint.LoadChain(ctx, up.cfg.Store, c.Runs, 1)
	if err != nil {
		return err
	}
	if entries, err = engine.KeepVersion(entries, r.Keep, r.Newest); err != nil {
		return failure(control.CodeInvalid, "%v", err)
	}
	changes := make([]state.Change, len(entries))
	for i, e := range entries {
		changes[i] = state.Change{Key: e.Key, Value: e.Value}
	}
	run, err := checkpoint.WriteRun(ctx, up.cfg.Store, checkpoint.WriterOptions{
		Kind: checkpoint.Base, Epoch: epoch, Choice: compress.Choice{Codec: compress.LZ4},
	}, changes)
	if err != nil {
		return err
	}
	c.Runs, c.Digest = []checkpoint.Run{run}, state.DigestOf(entries)
	return nil
}
