package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/shadow"
)

// shadowing holds the flags of app shadow.
type shadowing struct {
	asking
	request control.ShadowRequest
	from    string
	watching
}

func newAppShadowCommand() *cobra.Command {
	c := &shadowing{}
	cmd := c.add(&cobra.Command{
		Use: "shadow FILE", Short: "Run a next version beside a deployed app, and compare the results",
		Long: `Runs the text in FILE beside the app that it names: from a checkpoint and the log after it,
with the app as it is, and with the app changed to FILE right after the checkpoint. It
compares the results of each stream by cause, the event or the timer that they follow
from. Nothing is published, and the deployed app does not change.
A recovery process runs the shadow until eventflux app shadow stop, or until the app is
changed, scaled or restored; it survives restarts. The command waits until the shadow has
caught up with the log, prints a report, and ends with code 0 if all results are equal
and with 1 otherwise. With --follow it goes on until it is interrupted.
Approve what differs in a stream with eventflux app shadow approve; eventflux app upgrade
FILE --shadowed makes the change only if all differences were approved.`,
		Example: `  eventflux app shadow examples/flights.siddhi
  eventflux app shadow examples/flights.siddhi --from 2026-03-01T12:00:00Z
  eventflux app shadow report Flights --follow
  eventflux app shadow approve Flights LateAirports
  eventflux app shadow stop Flights`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args[0]) },
	}, 10*time.Minute)
	c.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&c.request.Drop, "drop", false, "give up the state that cannot go on")
	f.StringVar(&c.from, "from", "", "epoch of the checkpoint to start from, or a time: the newest checkpoint at or before it (default the newest)")
	cmd.AddCommand(newShadowReportCommand(), newShadowApproveCommand(), newShadowStopCommand())
	return cmd
}

// parseFrom reads --from.
func (c *shadowing) parseFrom(app string) (err error) {
	if c.from == "" {
		return nil
	}
	if at, err := time.Parse(time.RFC3339Nano, c.from); err == nil {
		c.request.At = at
		return nil
	}
	if c.request.From, err = epochArgument(c.from, app); err != nil {
		return usagef("--from %q is neither the epoch of a checkpoint nor a time such as 2026-03-01T12:00:00Z; eventflux checkpoint ls %s lists both", c.from, app)
	}
	return nil
}

func (c *shadowing) run(cmd *cobra.Command, file string) error {
	apps, err := loadApps(cmd.ErrOrStderr(), []string{file})
	if err != nil {
		return err
	}
	if err := checkNames(apps); err != nil {
		return err
	}
	if err := errors.Join(c.check(), c.parseFrom(apps[0].plan.Name)); err != nil {
		return err
	}
	c.request.Text = apps[0].text
	var plan control.Upgraded
	err = connected(cmd, c.server, c.wait, func(ctx context.Context, nc *nats.Conn) error {
		client := newClient(nc)
		// The plan names what each component becomes, also where that is refused.
		if plan, err = client.Upgrade(ctx, control.UpgradeRequest{Text: c.request.Text, Drop: c.request.Drop, Plan: true}); err != nil {
			return err
		}
		started, err := client.StartShadow(ctx, c.request)
		if err != nil {
			return err
		}
		if c.changes = &started.Changes; !c.json {
			c.printStart(cmd.OutOrStdout(), &started)
		}
		return c.watch(ctx, cmd, client, started.App, started.Shadow.ID, c.timeout)
	})
	if err != nil && plan.Refused != "" && plan.Changes != nil && !c.json {
		fmt.Fprint(cmd.OutOrStdout(), plan.Changes)
	}
	return err
}

func (c *shadowing) printStart(w io.Writer, s *control.ShadowStarted) {
	if s.Replaced {
		fmt.Fprintf(w, "the shadow of another text has ended\n")
	}
	fmt.Fprint(w, &s.Changes)
	fmt.Fprintf(w, "the shadow of app %s starts from checkpoint %d, and compares with version %d\n", s.App, s.Shadow.Checkpoint, s.Shadow.Version)
}

func newShadowReportCommand() *cobra.Command {
	c := &struct {
		asking
		watching
	}{}
	cmd := c.add(&cobra.Command{
		Use: "report APP", Short: "Print how the shadow of an app compares",
		Long: `Prints what the shadow of an app has compared so far, and ends with code 0 if all results
are equal and with 1 otherwise. With --follow it prints reports until it is interrupted.`,
		Example: `  eventflux app shadow report Flights
  eventflux app shadow report Flights --json`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return connected(cmd, c.server, c.wait, func(ctx context.Context, nc *nats.Conn) error {
				client := newClient(nc)
				of, err := shadowOf(ctx, client, args[0])
				if err != nil {
					return err
				}
				return c.watch(ctx, cmd, client, args[0], of.ID, 0)
			})
		},
	}, 10*time.Second)
	c.flags(cmd)
	return cmd
}

func newShadowApproveCommand() *cobra.Command {
	c := &asking{}
	return c.add(&cobra.Command{
		Use: "approve APP STREAM", Short: "Approve what differs in a result stream",
		Long: `Approves all kinds of differences that a result stream of the shadow has had so far: rows
that only one version gives, and the attributes that differ. A kind that appears later
needs another approval. The approval belongs to the shadow and ends with it.
eventflux app upgrade FILE --shadowed makes the change once every difference is approved.`,
		Example: `  eventflux app shadow approve Flights LateAirports`,
		Args:    exactArgs("APP", "STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := control.ApproveRequest{App: args[0], Stream: args[1]}
			_, err := ask(cmd, c, control.VerbShadowApprove, request, func(w io.Writer, s *control.Shadow) {
				fmt.Fprintf(w, "approved in %s: %s\n", request.Stream, shadow.Text(s.Approved[request.Stream]))
			})
			return err
		},
	}, 30*time.Second)
}

func newShadowStopCommand() *cobra.Command {
	c := &asking{}
	return c.add(&cobra.Command{
		Use: "stop APP", Short: "End the shadow of an app",
		Long: `Ends the shadow of an app, with its approvals. The checkpoint that it started from, and the
log after it, are kept no longer than others.`,
		Example: `  eventflux app shadow stop Flights`,
		Args:    exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.connected(cmd, func(ctx context.Context, nc *nats.Conn) error {
				client := newClient(nc)
				if _, err := shadowOf(ctx, client, args[0]); err != nil {
					return err
				}
				a, err := client.StopShadow(ctx, control.AppRequest{App: args[0]})
				if err != nil {
					return err
				}
				return c.show(cmd, &a, func(w io.Writer) {
					fmt.Fprintf(w, "the shadow of app %s has ended, with its approvals\n", a.Name)
				})
			})
		},
	}, 30*time.Second)
}

// shadowOf returns the shadow of an app, as Raft has it.
func shadowOf(ctx context.Context, client *control.Client, app string) (*control.Shadow, error) {
	a, err := client.App(ctx, control.AppRequest{App: app})
	if err != nil {
		return nil, err
	}
	if a.Shadow == nil {
		return nil, fmt.Errorf("app %s has no shadow: none was started, or it ended when the app was changed, scaled or restored; eventflux app shadow FILE starts one", app)
	}
	return a.Shadow, nil
}

// watching prints the reports of a shadow.
type watching struct {
	follow  bool
	every   time.Duration
	changes *engine.Migration // for the first report in JSON
}

func (w *watching) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.follow, "follow", false, "go on until it is interrupted; with --json a line for each report")
	cmd.Flags().DurationVar(&w.every, "every", 10*time.Second, "how often --follow prints a report")
}

func (w *watching) check() error {
	if w.every <= 0 {
		return usagef("--every %s: want a time above 0", w.every)
	}
	return nil
}

// reportTimeout is how long a process may take to run the shadow, and to answer.
const reportTimeout = 30 * time.Second

// watch prints a report, or with --follow one after the other. If timeout is above 0, it first waits
// that long for the shadow to catch up.
func (w *watching) watch(ctx context.Context, cmd *cobra.Command, client *control.Client, app string, id uint64, timeout time.Duration) error {
	out := cmd.OutOrStdout()
	asJSON, _ := cmd.Flags().GetBool("json")
	if timeout > 0 && !w.follow {
		if err := awaitShadow(ctx, client, app, id, timeout); err != nil {
			return err
		}
	}
	for {
		r, err := reportOf(ctx, client, app, id)
		if err != nil && ctx.Err() != nil && w.follow {
			return nil
		}
		if err != nil {
			return err
		}
		if screen := terminal.Of(out); screen != nil && w.follow && !asJSON {
			fmt.Fprint(screen, "\x1b[H\x1b[J") // the report replaces the one before
		}
		switch {
		case asJSON && w.follow:
			err = printLine(out, shadowJSON{w.changes, r})
		case asJSON:
			err = printJSON(out, shadowJSON{w.changes, r})
		default:
			err = printShadow(out, &r)
		}
		w.changes = nil
		if err != nil {
			return err
		}
		if r.State == control.ShadowFailed {
			return fmt.Errorf("the shadow of app %s has failed: %s", app, r.Error)
		}
		if !w.follow {
			if r.Differs() {
				return fmt.Errorf("the results of the two versions differ")
			}
			return nil
		}
		select {
		case <-time.After(w.every):
		case <-ctx.Done():
			return nil
		}
	}
}

// awaitShadow waits until a shadow has compared all that the log has.
func awaitShadow(ctx context.Context, client *control.Client, app string, id uint64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	patient := *client
	patient.Attempt = reportTimeout
	_, err := patient.ShadowReport(ctx, app, control.ShadowReportRequest{ID: id, CaughtUp: true})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the shadow of app %s has not caught up with the log yet; it goes on, and eventflux app shadow report %[1]s shows how far it is (%v)", app, err)
	}
	return err
}

// reportOf asks for a report. It looks first whether there still is a shadow.
func reportOf(ctx context.Context, client *control.Client, app string, id uint64) (control.ShadowReport, error) {
	now, err := shadowOf(ctx, client, app)
	if err != nil {
		return control.ShadowReport{}, err
	}
	if now.ID != id {
		return control.ShadowReport{}, fmt.Errorf("another shadow of app %s was started in the meantime", app)
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	r, err := client.ShadowReport(ctx, app, control.ShadowReportRequest{ID: id})
	r.Shadow.Approved = now.Approved // the process that runs it learns of them later
	return r, err
}

// shadowJSON is a report, with what the change does to each component where the shadow starts.
type shadowJSON struct {
	Changes *engine.Migration `json:"changes,omitempty"`
	control.ShadowReport
}

// printShadow prints a report for people.
func printShadow(out io.Writer, r *control.ShadowReport) error {
	if err := r.Print(out); err != nil {
		return err
	}
	left := r.Shadow.Unapproved(&r.Report)
	for _, stream := range slices.Sorted(maps.Keys(r.Shadow.Approved)) {
		fmt.Fprintf(out, "approved in %s: %s\n", stream, shadow.Text(r.Shadow.Approved[stream]))
	}
	for _, stream := range slices.Sorted(maps.Keys(left)) {
		fmt.Fprintf(out, "not approved in %s: %s\n", stream, shadow.Text(left[stream]))
	}
	_, err := fmt.Fprintf(out, "%s, from checkpoint %d, %d frames behind\n", r.State, r.Shadow.Checkpoint, r.Behind)
	return err
}
