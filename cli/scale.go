package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/control"
)

// scaling holds the flags of app scale.
type scaling struct {
	asking
	request control.ScaleRequest
	yes     bool
}

func newAppScaleCommand() *cobra.Command {
	c := &scaling{}
	cmd := c.add(&cobra.Command{
		Use: "scale APP", Short: "Change the number of partitions of a deployed app",
		Long: `Gives an app another number of partitions. Its state is divided by the partition keys;
windows, aggregates, patterns and message ids go on, and the results of each key keep
their order. Until that is done, publishers of the app get an error and must publish
again, and the app has no new results: the more state, the longer. The command prints
the progress and returns when all partitions run. Up to the last step --abort ends it,
and the app goes on as it was. --plan only says whether it is possible.
Queries must be in partition with, as @app:partitions demands. A restore to before a
scaling is not possible.`,
		Example: `  eventflux app scale Flights --partitions 8 --plan
  eventflux app scale Flights --partitions 8 --yes
  eventflux app scale Flights --abort`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.request.App = args[0]
			if c.request.Partitions == 0 && !c.request.Abort {
				return fmt.Errorf("--partitions says how many partitions app %s is to have", args[0])
			}
			return c.run(cmd)
		},
	}, 10*time.Minute)
	cmd.Flags().Uint32Var(&c.request.Partitions, "partitions", 0, "the new number of partitions")
	cmd.Flags().BoolVar(&c.request.Plan, "plan", false, "only say whether it is possible, and how much state there is")
	cmd.Flags().BoolVar(&c.request.Abort, "abort", false, "end a scaling that is not committed yet")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask")
	return cmd
}

func (c *scaling) run(cmd *cobra.Command) error {
	var s control.Scaled
	err := c.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		client := newClient(nc)
		if c.request.Plan || c.request.Abort {
			s, err = client.Scale(ctx, c.request)
			if err == nil && c.request.Abort {
				err = c.awaitEnd(ctx, client, &s)
			}
			return err
		}
		plan := c.request
		plan.Plan = true
		if s, err = client.Scale(ctx, plan); err != nil {
			return err
		}
		if s.Refused != "" {
			return fmt.Errorf("app %s keeps its %s: %s", s.Name, terminal.Count(s.From, "partition"), s.Refused)
		}
		if s.From != s.To {
			if !c.json {
				printScaling(cmd.OutOrStdout(), &s)
			}
			what := fmt.Sprintf("divide app %s among %s?", s.Name, terminal.Count(s.To, "partition"))
			if err := confirm(cmd, c.yes, c.json, what); err != nil {
				return err
			}
		}
		if s, err = client.Scale(ctx, c.request); err != nil {
			return err
		}
		return c.await(ctx, cmd, client, &s)
	})
	if err != nil {
		return err
	}
	err = c.show(cmd, &s, func(w io.Writer) {
		switch {
		case c.request.Plan && s.From != s.To:
			printScaling(w, &s)
		case c.request.Abort && s.Partitions == s.To:
			fmt.Fprintf(w, "it was too late: app %s has %s; eventflux app scale %[1]s --partitions %[3]d goes back\n", s.Name, terminal.Count(s.To, "partition"), s.From)
		case c.request.Abort:
			fmt.Fprintf(w, "app %s keeps its %s\n", s.Name, terminal.Count(s.Partitions, "partition"))
		default:
			fmt.Fprintf(w, "app %s has %s\n", s.Name, terminal.Count(s.To, "partition"))
		}
	})
	if err == nil && s.Refused != "" {
		return fmt.Errorf("app %s keeps its %s: %s", s.Name, terminal.Count(s.From, "partition"), s.Refused)
	}
	return err
}

func printScaling(w io.Writer, s *control.Scaled) {
	fmt.Fprintf(w, "app %s, %d to %s: %d bytes of state are divided by key\n", s.Name, s.From, terminal.Count(s.To, "partition"), s.Bytes)
}

// readEvery is how often the part of the state is printed that was read.
const readEvery = 2 * time.Second

// await waits until the app runs with its new number of partitions, and prints the steps.
func (c *scaling) await(ctx context.Context, cmd *cobra.Command, client *control.Client, s *control.Scaled) error {
	step, shown := "", time.Now()
	for len(s.Missing) > 0 || s.Scaling != nil {
		select {
		case <-time.After(versionLookEvery):
		case <-ctx.Done():
			return fmt.Errorf("app %s is not scaled yet: %s; eventflux app show %[1]s shows how far it is, and eventflux app scale %[1]s --abort ends it", s.Name, strings.Join(s.Missing, "; "))
		}
		now, err := client.App(ctx, control.AppRequest{App: s.Name})
		switch {
		case ctx.Err() != nil:
			continue
		case err != nil:
			return err
		case now.Index != s.Index:
			return fmt.Errorf("app %s was removed and deployed again in the meantime", s.Name)
		case now.Scaling == nil && now.Partitions != s.To:
			return fmt.Errorf("app %s keeps its %s: %s", s.Name, terminal.Count(now.Partitions, "partition"), now.ScalingFailed)
		}
		now.Text = ""
		s.App = now
		if p := now.Scaling; p != nil && !c.json && (p.Step != step || p.Read < p.Total && time.Since(shown) > readEvery) {
			step, shown = p.Step, time.Now()
			fmt.Fprintf(cmd.ErrOrStderr(), "%s%s\n", step, readText(p, time.Now()))
		}
	}
	return nil
}

// awaitEnd waits until a scaling that is to end has ended.
func (c *scaling) awaitEnd(ctx context.Context, client *control.Client, s *control.Scaled) error {
	for s.Scaling != nil {
		select {
		case <-time.After(versionLookEvery):
		case <-ctx.Done():
			return fmt.Errorf("app %s is still being scaled; eventflux app show %[1]s shows the step", s.Name)
		}
		now, err := client.App(ctx, control.AppRequest{App: s.Name})
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			now.Text, s.App = "", now
		}
	}
	return nil
}

// readText says how much state is divided, and how long the rest may take.
func readText(p *control.Scaling, now time.Time) string {
	if p.Total == 0 || p.Step != control.StepDivide {
		return ""
	}
	text := fmt.Sprintf(": %d of %d entries", p.Read, p.Total)
	if spent := now.Sub(p.Started); p.Read > 0 && p.Read < p.Total && spent > time.Second {
		left := time.Duration(float64(spent) / float64(p.Read) * float64(p.Total-p.Read))
		text += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return text
}
