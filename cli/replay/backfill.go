package replay

import (
	"fmt"
	"slices"

	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/cli/lines"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// rerun applies the lines before the present one to a new engine of the next version of an app,
// for a change that builds state from them. Nothing that follows from it is written.
func (p *player) rerun(a *app, next *siddhiql.Plan, until int64) (*engine.Engine, error) {
	if p.again == nil {
		return nil, fmt.Errorf("a backfill reads the events again, and they do not come from a file; use --events FILE")
	}
	in, err := p.again()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	e, err := engine.New(next)
	if err != nil {
		return nil, err
	}
	r := rerun{player: &player{json: jx.DecodeBytes(nil), dir: p.dir}, past: &app{}, engine: e, alone: len(p.apps) == 1}
	r.past.use(a.first)
	input := lines.New(in)
	for input.Number() < p.number-1 && input.Scan() {
		if err := r.line.parse(r.json, input.Text()); err != nil {
			return nil, err
		}
		if err := r.apply(&r.line); err != nil {
			return nil, fmt.Errorf("line %d again: %w", input.Number(), err)
		}
		e.ResetOutputs()
	}
	if err := input.Err(); err != nil {
		return nil, err
	}
	return e, r.pass(until)
}

// rerun reads lines in the form that they had for the versions of an app so far, and applies them
// to an engine of the next one.
type rerun struct {
	*player
	past   *app
	engine *engine.Engine
	alone  bool // no other app is replayed
}

func (r *rerun) apply(l *line) error {
	switch {
	case l.op == opUpgrade:
		return r.use(l)
	case l.has&keyTable != 0:
		return fmt.Errorf("a backfill cannot read changes of table %s, which come from a KV bucket; change the app before them", l.table)
	case l.op == opReset, l.op == opRestore:
		return fmt.Errorf("a backfill cannot read across a %s", l.op)
	case l.has&keyStream == 0:
		return r.pass(l.ts)
	}
	in := r.past.inputs[l.stream]
	if in == nil {
		if r.past.plan.Playback {
			return nil
		}
		return r.pass(l.ts)
	}
	if err := r.past.read(in, l); err != nil || in.batch.Len() == 0 {
		return err
	}
	now := l.ts
	if r.past.plan.Playback {
		now = slices.Max(in.batch.TS)
	}
	if r.past.plan.Lateness == siddhiql.LatenessOff {
		if err := r.pass(now); err != nil {
			return err
		}
	}
	r.engine.BeginFrame()
	return r.engine.Try(func() { r.engine.SendEarlier(in.batch, now) })
}

// use makes an earlier change of the app the form of the lines after it.
func (r *rerun) use(l *line) error {
	plan, err := r.compile(l)
	if err != nil {
		return err
	}
	if plan.Name == r.past.plan.Name || r.alone {
		r.past.use(plan)
	}
	return r.pass(l.ts)
}

func (r *rerun) pass(now int64) error {
	r.engine.BeginFrame()
	return r.engine.Try(func() { r.engine.Advance(now) })
}
