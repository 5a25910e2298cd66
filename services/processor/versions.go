package processor

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
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
	return app{plan: plan, settings: v.Settings, number: number, first: t.made.first, scalings: t.made.scalings}, nil
}
