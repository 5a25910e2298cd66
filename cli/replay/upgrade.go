package replay

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/eventflux/eventflux/cli/appfile"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// upgrade changes an app to its next version, as an upgrade of a deployed app does. Time
// passes until the line first, by the rules of the version before.
func (p *player) upgrade(l *line) error {
	if err := p.advance(l.ts); err != nil {
		return err
	}
	next, err := p.compile(l)
	if err != nil {
		return fmt.Errorf("upgrade: %w", err)
	}
	i := slices.IndexFunc(p.apps, func(a *app) bool { return a.plan.Name == next.Name })
	if i < 0 && len(p.apps) == 1 {
		i = 0 // the migration says what is wrong
	}
	if i < 0 {
		return fmt.Errorf("upgrade: %s is of app %q, which is not replayed", l.app, next.Name)
	}
	a := p.apps[i]
	o := engine.MigrateOptions{Drop: l.dropAll, Components: l.drop}
	if l.backfill {
		o.Backfill = []uint64{1}
	}
	m, err := engine.Migrate(a.plan, next, o)
	if err == nil {
		err = m.Err()
	}
	var again *engine.Engine
	if err == nil && m.FromLog() {
		again, err = p.rerun(a, next, l.ts)
	}
	if err == nil {
		err = a.engine.Upgrade(next, m, again)
	}
	if err != nil {
		return fmt.Errorf("upgrade: %s: %w", l.app, err)
	}
	a.use(next)
	a.snapshots.change(next, m.Registry(a.snapshots.holders, a.engine.Components()))
	p.write(a, p.input)
	return nil
}

// compile compiles the text in the file that an upgrade names.
func (p *player) compile(l *line) (*siddhiql.Plan, error) {
	file := l.app
	if !filepath.IsAbs(file) {
		file = filepath.Join(p.dir, file)
	}
	text, err := appfile.Read(file)
	if err != nil {
		return nil, err
	}
	plan, err := siddhiql.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.app, err)
	}
	return plan, nil
}
