package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func newAppDeployCommand() *cobra.Command {
	var a asking
	var from string
	cmd := a.add(&cobra.Command{
		Use: "deploy FILE", Short: "Deploy an app to running services",
		Long: `Checks the app and deploys it at the checkpointer, which tells every service. Returns
when all ingests accept its events and all of its partitions run. If that takes too long,
the command fails and names what is missing; the app stays deployed.
Deploying the same text again changes nothing. Another text under the name of a deployed
app is refused: use eventflux app upgrade. If another app reads the same subject with
another definition, the command prints a warning.

With --from, a new app starts with the state of a checkpoint: of EPOCH in the store of the
cluster, or of URL#EPOCH in another store, or of the newest one in the store URL. From another
store, the command copies the checkpoint to the one of the cluster, which --store.url names. The
text must be the one of the checkpoint. The app accepts no events until it has the state.`,
		Example: `  eventflux app deploy examples/flights.siddhi
  eventflux app deploy examples/flights.siddhi --from file:merged --store.url s3://my-bucket/eventflux`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			read, err := readApp(cmd, args[0])
			if err != nil {
				return err
			}
			if from != "" && !cmd.Flags().Changed("timeout") {
				a.timeout = bringTimeout
			}
			var d control.Deployed
			already := false // deployed, with this text
			err = a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
				client := newClient(nc)
				r := control.DeployRequest{Text: read.text}
				if from != "" {
					if r.From, err = bring(ctx, cmd, client, from, read.plan.Name); err != nil {
						return fmt.Errorf("--from: %w", err)
					}
				}
				before, err := client.App(ctx, control.AppRequest{App: read.plan.Name})
				already = err == nil && before.Plan == read.plan.Digest && !before.Removing
				if d, err = client.Deploy(ctx, r); err != nil {
					return err
				}
				if err := start(ctx, client, &d.App); err != nil {
					return err
				}
				return client.AwaitServed(ctx, &d.App)
			})
			if err != nil {
				return err
			}
			return a.show(cmd, &d, func(w io.Writer) {
				fmt.Fprintf(w, "app %s is deployed: %s, generation %d\n", d.Name, terminal.Count(d.Partitions, "partition"), d.Generation)
				if already {
					fmt.Fprintln(w, "it was before, with this text; nothing has changed")
				}
				if d.From > 0 {
					fmt.Fprintf(w, "it started with the state of checkpoint %d\n", d.From)
				}
				for _, text := range d.Warnings {
					fmt.Fprintln(w, "warning: "+text)
				}
			})
		},
	}, 30*time.Second)
	cmd.Flags().StringVar(&from, "from", "", "checkpoint that a new app starts from: EPOCH, URL#EPOCH or URL")
	cmd.Flags().String("store.url", "", "with --from URL: the store of the cluster (default: the setting store.url)")
	return cmd
}

func newAppListCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "ls", Short: "List the deployed apps", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := ask(cmd, &a, control.VerbApps, nil, func(w io.Writer, l *control.AppList) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				fmt.Fprintln(t, "APP\tPARTITIONS\tGENERATION\tCHECKPOINT\tDEPLOYED")
				for _, d := range l.Apps {
					fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\n", d.Name, d.Partitions, d.Generation, d.Checkpoint, d.Deployed.Local().Format(time.DateTime))
				}
				_ = t.Flush()
				for i := range l.Apps {
					printQuarantine(w, &l.Apps[i], "")
				}
			})
			return err
		},
	}, 10*time.Second)
}

func newAppShowCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "show APP", Short: "Show a deployed app: its text, its patterns as automata, its checkpoint, who runs it", Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbApp, control.AppRequest{App: args[0]}, func(w io.Writer, d *control.App) {
				fmt.Fprintf(w, "-- app %s, generation %d, deployed %s, newest checkpoint %d\n", d.Name, d.Generation, d.Deployed.Local().Format(time.RFC3339), d.Checkpoint)
				for _, o := range d.Owners {
					state := o.State
					if state == "" {
						state = "not heard of"
					}
					fmt.Fprintf(w, "-- partition %d: %s, by processor %s, assignment %d\n", o.Partition, state, o.Processor, o.Assignment)
				}
				printQuarantine(w, d, "-- ")
				for _, what := range d.Missing {
					fmt.Fprintln(w, "-- not served yet: "+what)
				}
				fmt.Fprintln(w, d.Text)
				printPatterns(w, d.Text)
			})
			return err
		},
	}, 10*time.Second)
}

// printPatterns draws the patterns of an app, as comments.
func printPatterns(w io.Writer, text string) {
	plan, err := siddhiql.CompileDeployed(text)
	if err != nil {
		return // the app is of another build
	}
	for i, q := range plan.Queries {
		drawn := q.Automaton()
		if drawn == "" {
			continue
		}
		name := q.Name
		if name == "" {
			name = fmt.Sprintf("query%d", i+1)
		}
		fmt.Fprintf(w, "-- the pattern of %s:\n", name)
		for line := range strings.Lines(drawn) {
			fmt.Fprint(w, "-- ", line)
		}
	}
}

// printQuarantine lists the quarantined partitions of an app, and how to release them.
func printQuarantine(w io.Writer, a *control.App, prefix string) {
	for _, d := range a.Deaths {
		if d.Quarantined() {
			fmt.Fprintf(w, "%sapp %s, partition %d is in quarantine: %d processes died while they applied log sequence %d; release it with: eventflux app resume %[2]s\n",
				prefix, a.Name, d.Partition, d.Count, d.Sequence)
		}
	}
}

func newAppResumeCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "resume APP", Short: "Run the quarantined partitions of an app again",
		Long: `A partition goes into quarantine when three processes in a row died while they applied
the same frame of its log. Then no processor runs it, and its events wait in the log.
This command runs it again, for example with more memory or with a fixed version. If the
frame kills three more processes, the partition goes back into quarantine.`,
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbResume, control.AppRequest{App: args[0]}, func(w io.Writer, d *control.App) {
				fmt.Fprintf(w, "no partition of app %s is in quarantine\n", d.Name)
			})
			return err
		},
	}, 30*time.Second)
}

func newAppRemoveCommand() *cobra.Command {
	var a asking
	var yes bool
	cmd := a.add(&cobra.Command{
		Use: "rm APP", Short: "Remove an app with its log, its results and its checkpoints",
		Long: `Stops the app and deletes its log, its results, the events that it refused, and its
checkpoints. This cannot be undone: without --yes the command only prints what it would delete.`,
		Example: `  eventflux app rm Flights --yes`,
		Args:    exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return fmt.Errorf("this would delete app %s for ever: its log (EFW_%[1]s_*), its results (EFO_%[1]s_*), the events that it refused (%s) and its checkpoints; repeat it with --yes",
					args[0], natsconn.DLQStream(args[0]))
			}
			_, err := ask(cmd, &a, control.VerbRemove, control.AppRequest{App: args[0]}, func(w io.Writer, d *control.App) {
				fmt.Fprintf(w, "app %s is removed\n", d.Name)
			})
			return err
		},
	}, 30*time.Second)
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// readApp returns the text of a file that holds an app which can be deployed.
func readApp(cmd *cobra.Command, file string) (app, error) {
	apps, err := loadApps(cmd.ErrOrStderr(), []string{file})
	if err == nil {
		err = checkNames(apps)
	}
	if err != nil {
		return app{}, err
	}
	return apps[0], nil
}
