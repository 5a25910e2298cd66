package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"eventflux/cmd/eventflux/node"
	"eventflux/shared/bus"
	"eventflux/shared/config"
	"eventflux/shared/control"
	"eventflux/shared/obs"
	"eventflux/shared/secret"
	"eventflux/shared/siddhiql"
)

func newRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run APP.siddhi…",
		Short: "Run apps: everything in one process",
		Long: `Runs apps with everything in one process, a NATS server among it, until SIGINT or
SIGTERM. Then it accepts no more events, makes durable what it has accepted, makes a
last checkpoint, puts out the results and ends with exit code 0. After any other end, a
kill among them, the next start on the same data folder goes on from the newest
checkpoint. Apps that were deployed before, by run or by app deploy, run as well.`,
		Example: `  eventflux run examples/flights.siddhi --data /var/lib/eventflux --listen 127.0.0.1:4222`,
		Args:    someArgs("APP.siddhi"),
		RunE:    runApps,
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func runApps(cmd *cobra.Command, files []string) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	apps, refused := loadKnownApps(cmd.ErrOrStderr(), files)
	if apps == nil {
		return refused
	}
	if err := checkNames(apps); err != nil {
		return err
	}
	texts := make([]string, len(apps))
	for i, a := range apps {
		texts[i] = a.text
	}
	err = runNode(cmd, cfg, node.Services, texts)
	if refused != nil && control.Code(err) == control.CodeInvalid { // not deployed before
		fmt.Fprintln(cmd.ErrOrStderr(), refused)
		return reportedError{err}
	}
	return err
}

// runNode runs services until the command is interrupted.
func runNode(cmd *cobra.Command, cfg *config.Config, services, texts []string) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	log := obs.NewLogger(cmd.ErrOrStderr(), cfg.Log)
	n, err := node.Open(ctx, cfg, services, texts, readVersion().semver(), log)
	if err != nil {
		return err
	}
	err = n.Run(ctx, func(plans []*siddhiql.Plan) { greet(cmd.OutOrStdout(), n, cfg, plans) })
	if closing := n.Close(); err == nil {
		err = closing
	}
	return err
}

// checkNames refuses apps that have no name or share one: streams, subjects and
// files are named after apps, so that the state of one is never another's.
func checkNames(apps []app) error {
	files := map[string]string{}
	for _, a := range apps {
		name := a.plan.Name
		if name == "" {
			return fmt.Errorf("%s: the app has no name, and would not find its log again; begin it with @app:name('…')", a.file)
		}
		if other, taken := files[name]; taken {
			return fmt.Errorf("%s and %s are both called %s; change one @app:name", other, a.file, name)
		}
		files[name] = a.file
	}
	return nil
}

// greet says what runs, and how to use it.
func greet(w io.Writer, n *node.Node, cfg *config.Config, apps []*siddhiql.Plan) {
	where := "data in " + cfg.Data
	if cfg.NATS.URL != "" {
		where = "external"
	}
	fmt.Fprintf(w, "NATS on %s (%s)\n", secret.URL(n.URL()), where)
	fmt.Fprintf(w, "durability %s: %s\n", n.Durability(), n.Durability().Guarantee())
	for _, p := range apps {
		fmt.Fprintf(w, "app %s\n", p.Name)
		for _, s := range p.Streams {
			if s.Defined && s.Subject != "" {
				fmt.Fprintf(w, "  publish to   %s\n", s.Subject)
			}
		}
		fmt.Fprintf(w, "  results on   out.%s.>\n", p.Name)
		fmt.Fprintf(w, "  refused on   %s\n", bus.DLQSubjects(p.Name))
	}
	fmt.Fprintln(w, "ready; Ctrl-C ends it")
}
