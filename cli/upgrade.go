package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/control"
)

// changing holds what the commands that change an app share.
type changing struct {
	asking
	request  control.UpgradeRequest
	planOnly bool
	yes      bool
}

func (c *changing) flags(cmd *cobra.Command) *cobra.Command {
	c.add(cmd, 2*time.Minute)
	cmd.Flags().BoolVar(&c.planOnly, "plan", false, "only print what would happen to each component")
	cmd.Flags().BoolVar(&c.request.Drop, "drop", false, "give up state that cannot be kept")
	cmd.Flags().BoolVar(&c.request.Backfill, "backfill", false, "build state that would start empty from the log, as far as it is retained")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask")
	return cmd
}

func newAppUpgradeCommand() *cobra.Command {
	c := &changing{}
	cmd := c.flags(&cobra.Command{
		Use: "upgrade FILE", Short: "Change a deployed app, with its state",
		Long: `Makes the text in FILE the next version of the app that it names. Its components
keep their state: the command prints what happens to each of them, asks, and returns when
all partitions run the new version. Events are accepted all the time, and the results of
each event come from exactly one version. --plan only prints the plan.
A change that would lose state is refused without --drop. --backfill builds new state from
the events that are still in the log; until that is done, there are no new results.
--shadowed makes the change only if eventflux app shadow FILE has compared all of the log,
and all that differs was approved.
eventflux app rollback goes back to the previous text.`,
		Example: `  eventflux app upgrade examples/flights.siddhi --plan
  eventflux app upgrade examples/flights.siddhi --yes`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			read, err := readApp(cmd, args[0])
			if err != nil {
				return err
			}
			c.request.Text = read.text
			return c.run(cmd)
		},
	})
	cmd.Flags().BoolVar(&c.request.Shadowed, "shadowed", false, "only if it ran as a shadow to the end of the log, and what differs was approved")
	return cmd
}

func newAppRollbackCommand() *cobra.Command {
	c := &changing{}
	cmd := c.flags(&cobra.Command{
		Use: "rollback APP", Short: "Go back to the text of an earlier version of an app",
		Long: `Upgrades an app to the text of an earlier version: the previous one, or the one in --to.
The state is kept as in any upgrade, so state that the later version dropped or cut off
starts empty; --plan prints what happens to each component, and which ones differ from a run
without the later versions. To go back to the state of
an earlier instant as well, use eventflux recover.`,
		Example: `  eventflux app rollback Flights --plan
  eventflux app rollback Flights --to 2 --yes`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.request.App = args[0]
			return c.run(cmd)
		},
	})
	cmd.Flags().Uint32Var(&c.request.To, "to", 0, "the version to go back to; 0 is the one before")
	return cmd
}

// run plans the change, asks for confirmation, and waits until all partitions run it.
func (c *changing) run(cmd *cobra.Command) error {
	var u control.Upgraded
	err := c.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		client := newClient(nc)
		plan := c.request
		plan.Plan = true
		if u, err = client.Upgrade(ctx, plan); err != nil {
			return err
		}
		if c.planOnly {
			return nil
		}
		if u.From != u.To && u.Changes != nil {
			if !c.json {
				printChange(cmd.OutOrStdout(), &u)
			}
			if u.Refused == "" {
				if err := confirm(cmd, c.yes, c.json, fmt.Sprintf("make version %d of app %s?", u.To, u.Name)); err != nil {
					return err
				}
			}
		}
		c.request.From = u.From
		if u, err = client.Upgrade(ctx, c.request); err != nil {
			return err
		}
		return awaitVersion(ctx, client, &u)
	})
	if err != nil {
		return err
	}
	err = c.show(cmd, &u, func(w io.Writer) {
		switch {
		case c.planOnly:
			printChange(w, &u)
		case u.From == u.To:
			fmt.Fprintf(w, "app %s has this text already, as version %d\n", u.Name, u.To)
		default:
			fmt.Fprintf(w, "app %s runs version %d\n", u.Name, u.To)
		}
		for _, text := range u.Warnings {
			fmt.Fprintln(w, "warning: "+text)
		}
	})
	if err == nil && u.Refused != "" {
		return fmt.Errorf("the change is not possible: %s", u.Refused)
	}
	return err
}

// printChange prints what a change does.
func printChange(w io.Writer, u *control.Upgraded) {
	if u.From == u.To {
		fmt.Fprintf(w, "app %s has this text already, as version %d\n", u.Name, u.To)
		return
	}
	fmt.Fprintf(w, "app %s, version %d to %d\n", u.Name, u.From, u.To)
	fmt.Fprint(w, u.Changes)
	for _, d := range u.Differs {
		fmt.Fprintf(w, "differs from a run without the later versions: %s: %s\n", d.ID, d.Reason)
	}
}

// confirm asks a question, unless the answer is known to be yes.
func confirm(cmd *cobra.Command, yes, json bool, question string) error {
	if yes {
		return nil
	}
	if f, ok := cmd.InOrStdin().(*os.File); !ok || json || !terminal.Is(f) {
		return fmt.Errorf("nothing was changed; repeat the command with --yes to %s", strings.TrimSuffix(question, "?"))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s [y/N] ", question)
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && line == "" {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return fmt.Errorf("nothing was changed")
	}
	return nil
}

// versionLookEvery is how often an upgrade checks whether it is complete.
const versionLookEvery = 50 * time.Millisecond

// awaitVersion waits until all partitions run the version, and all ingests serve it.
func awaitVersion(ctx context.Context, client *control.Client, u *control.Upgraded) error {
	for len(u.Missing) > 0 {
		select {
		case <-time.After(versionLookEvery):
		case <-ctx.Done():
			return fmt.Errorf("app %s is changed to version %d, and not all of it runs that yet: %s", u.Name, u.To, strings.Join(u.Missing, "; "))
		}
		now, err := client.App(ctx, control.AppRequest{App: u.Name})
		switch {
		case ctx.Err() != nil:
			continue
		case err != nil:
			return err
		case now.Index != u.Index:
			return fmt.Errorf("app %s was removed and deployed again in the meantime", u.Name)
		}
		now.Text = ""
		u.App = now
	}
	return nil
}

func newAppHistoryCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "history APP", Short: "List the versions of an app", Args: exactArgs("APP"),
		Example: `  eventflux app history Flights`,
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbHistory, control.AppRequest{App: args[0]}, func(w io.Writer, h *control.History) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "VERSION\tTIME\tPLAN\tBUILD\tWHAT")
				for _, v := range h.Versions {
					fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\n", v.Number, v.Time.Local().Format(time.DateTime), v.Plan, v.Build, versionText(h, &v))
				}
				_ = t.Flush()
				for p, runs := range h.Partitions {
					if runs != h.Current {
						fmt.Fprintf(w, "partition %d runs version %d\n", p, runs)
					}
				}
			})
			return err
		},
	}, 10*time.Second)
}

// versionText describes a version.
func versionText(h *control.History, v *control.Version) string {
	var what []string
	switch {
	case v.Number == h.Current:
		what = append(what, "current")
	case v.Number > h.Current:
		what = append(what, "being put in force")
	}
	if v.Number == 1 {
		what = append(what, "deployed")
	}
	if n := h.Scalings[v.Number]; n > 0 {
		what = append(what, "scaled to "+terminal.Count(n, "partition"))
	}
	if v.Of > 0 {
		what = append(what, fmt.Sprintf("rollback to version %d", v.Of))
	}
	if len(v.Dropped) > 0 {
		what = append(what, "dropped "+strings.Join(v.Dropped, ", "))
	}
	return strings.Join(what, "; ")
}
