package processor

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// versionOf returns a version of the app. The digest of its text must be the given one.
func (t *task) versionOf(ctx context.Context, number uint32, digest string) (app, error) {
	if number == 1 && t.made.number == 1 {
		return t.made, nil
	}
	ctx, cancel := context.WithTimeout(ctx, heartbeatWait)
	defer cancel()
	v, err := t.service.cfg.Control.Version(ctx, control.VersionRequest{App: t.plan.Name, Number: number})
	if err != nil {
		return app{}, fmt.Errorf("version %d of the app: %w", number, err)
	}
	if v.Plan != digest || v.Text == "" {
		return app{}, fmt.Errorf("version %d of the app has plan %s, and %s is needed, with its text", number, v.Plan, digest)
	}
	plan, err := engine.Compile(&frame.Version{Text: v.Text, Change: v.Change})
	if err != nil {
		return app{}, fmt.Errorf("the text of version %d of the app is refused: %w", number, err)
	}
	return app{plan: plan, settings: v.Settings, number: number, first: t.made.first}, nil
}

// applyVersion applies a deploy frame. It may start another version of the app.
func (t *task) applyVersion(ctx context.Context, seq uint64, f *frame.Frame) (engine.Applied, error) {
	// The change may replace components that are frozen.
	if err := t.thawAll(ctx); err != nil {
		return engine.Applied{}, err
	}
	return t.core.Apply(seq, f)
}

// change switches the task to the version that a frame has put in force. The results before
// that frame are published, or in the outbox.
func (t *task) change(m *engine.Migration) {
	number, _ := t.core.Deployed()
	t.follow(t.core.Plan())
	if s := t.saver; s != nil {
		before := s.registry
		s.registry = m.Registry(before, t.core.Components())
		s.holders = s.registry.List()
		for _, h := range s.holders {
			if was, ok := before.ByID(h.Info().ID); !ok || was != h {
				s.remade[h.Info().ID] = s.epoch
			}
		}
	}
	t.log.Info("the app was changed", "version", number, "kept", m.Count(engine.OutcomeKept), "adapted", m.Count(engine.OutcomeAdapted),
		"new", m.Count(engine.OutcomeNew), "dropped", m.Count(engine.OutcomeDropped))
	faultpoint.Reach(faultpoint.UpgradeApplied)
	t.noteVersion()
}

// noteVersion puts the version in force into the status.
func (t *task) noteVersion() {
	number, _ := t.core.Deployed()
	t.renderer.version = uint32(number)
	if t.status.version.Swap(number) != number {
		t.service.wake()
	}
}
