package eventflux

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// UpgradeOptions are the options of Upgrade.
type UpgradeOptions struct {
	// Plan only asks what the change would do.
	Plan bool
	// Drop agrees to give up state that the new version cannot take over.
	Drop bool
	// Backfill builds the state of components that would start empty from the retained log.
	Backfill bool
	// From, if not 0, is the version that you expect in force: the change is refused if it is
	// another one. Set it to the From of a plan.
	From int
}

// Change is a change of an app, made or planned.
type Change struct {
	App App // without its text
	// From and To are the versions before and after the change. They are equal if the app has
	// the text already.
	From, To int
	// Components says what becomes of the parts of the app's state.
	Components []ComponentChange
	// Refused says why a planned change is not possible as it was asked for; "" if it is.
	Refused string
	// Warnings are those of Deploy.
	Warnings []string
}

// ComponentChange is what becomes of a part of the state, such as "totals/aggregate".
type ComponentChange struct {
	Name string
	// Outcome is "kept", "adapted", "new", "dropped" or "refused".
	Outcome string
	Reason  string
	Fix     string // what to do about a refusal
}

// String has a line for each component.
func (c *Change) String() string {
	var b strings.Builder
	for _, s := range c.Components {
		fmt.Fprintf(&b, "%s %s", s.Name, s.Outcome)
		if s.Reason != "" {
			b.WriteString(": " + s.Reason)
		}
		if s.Fix != "" {
			b.WriteString("; " + s.Fix)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// Upgrade makes text the next version of the deployed app that it names, and returns once all
// partitions run it. State is kept where it fits; a change that would lose state is refused
// without Drop. Events are accepted all the time, and each event's results come from exactly one
// version. The text that is in force already changes nothing. If ctx ends early, the change may
// still take place: repeat the call.
func (c *Client) Upgrade(ctx context.Context, text string, opt UpgradeOptions) (Change, error) {
	if _, err := siddhiql.Compile(text); err != nil {
		return Change{}, fmt.Errorf("upgrade: %w", err)
	}
	if opt.From < 0 {
		return Change{}, errors.New("upgrade: UpgradeOptions.From is negative")
	}
	u, err := c.control.Upgrade(ctx, control.UpgradeRequest{Text: text, Plan: opt.Plan, Drop: opt.Drop, Backfill: opt.Backfill, From: uint32(opt.From)})
	if err == nil && !opt.Plan {
		err = c.control.AwaitServed(ctx, &u.App)
	}
	if err != nil {
		return Change{}, fmt.Errorf("upgrade: %w", err)
	}
	out := Change{App: appOf(&u.App), From: int(u.From), To: int(u.To), Refused: u.Refused, Warnings: u.Warnings}
	out.App.Text = ""
	if u.Changes != nil {
		for _, s := range u.Changes.Steps {
			out.Components = append(out.Components, ComponentChange{Name: s.ID, Outcome: string(s.Outcome), Reason: s.Reason, Fix: s.Fix})
		}
	}
	return out, nil
}
