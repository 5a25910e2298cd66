package cli

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/build"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/shared/ops/secret"
)

func newRunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [APP.siddhi…]",
		Short: "Run apps: everything in one process",
		Long: `Runs apps with everything in one process, including a NATS server, until SIGINT or
SIGTERM. Then it stops accepting events, makes the accepted ones durable, makes a last
checkpoint, publishes the results and exits with code 0. After any other end, such as a
kill, the next start on the same data folder continues from the newest checkpoint. Apps
that were deployed before, by run or by app deploy, run as well. Without APP.siddhi only
these run, and app deploy adds others.`,
		Example: `  eventflux run examples/flights.siddhi --data /var/lib/eventflux --listen 127.0.0.1:4222`,
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
	if apps == nil && len(files) > 0 {
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
	log := obs.NewLogger(cmd.ErrOrStderr(), cfg.Log.Level, cfg.Log.Format == config.JSON)
	n, err := node.Open(ctx, cfg, services, texts, build.Read().Semver(), log)
	if err != nil {
		return err
	}
	g := &greeter{out: cmd.OutOrStdout(), known: map[string]string{}}
	err = n.Run(ctx, func(plans []*siddhiql.Plan) { g.greet(n, cfg, plans) })
	if closing := n.Close(); err == nil {
		err = closing
	}
	return err
}

// checkNames refuses apps without a name or with the same name: streams, subjects and files are
// named after apps, so the names keep their states apart.
func checkNames(apps []app) error {
	files := map[string]string{}
	for _, a := range apps {
		name := a.plan.Name
		if name == "" {
			return fmt.Errorf("%s: the app has no name, and would not find its log again; start it with @app:name('…')", a.file)
		}
		if other, taken := files[name]; taken {
			return fmt.Errorf("%s and %s are both called %s; change one @app:name", other, a.file, name)
		}
		files[name] = a.file
	}
	return nil
}

// greeter prints what runs and how to use it: everything at the start, and afterwards only changes.
type greeter struct {
	out   io.Writer
	known map[string]string // digests of the apps that were printed, by name
	begun bool
}

func (g *greeter) greet(n *node.Node, cfg *config.Config, apps []*siddhiql.Plan) {
	if !g.begun {
		where := "data in " + cfg.Data
		if cfg.NATS.URL != "" {
			where = "external"
		}
		fmt.Fprintf(g.out, "NATS on %s (%s)\n", secret.URL(n.URL()), where)
		fmt.Fprintf(g.out, "durability %s: %s\n", n.Durability(), n.Durability().Guarantee())
	}
	g.changes(apps)
	if !g.begun && len(apps) == 0 {
		server := "--server " + secret.URL(n.URL())
		if cfg.NATS.Context != "" { // which has the user, too
			server = "--nats.context " + cfg.NATS.Context
		}
		fmt.Fprintf(g.out, "no app is deployed; deploy one: eventflux app deploy APP.siddhi %s\n", server)
	}
	if !g.begun {
		g.begun = true
		fmt.Fprintln(g.out, "ready; Ctrl-C ends it")
	}
}

// changes prints the apps that are new, and those that are gone.
func (g *greeter) changes(apps []*siddhiql.Plan) {
	now := map[string]string{}
	for _, p := range apps {
		now[p.Name] = p.Digest
		if g.known[p.Name] == p.Digest {
			continue
		}
		fmt.Fprintf(g.out, "app %s\n", p.Name)
		for _, s := range p.Streams {
			if s.Defined && s.Subject != "" {
				fmt.Fprintf(g.out, "  publish to   %s\n", s.Subject)
			}
			if s.Origin != nil || s.ReadsBucket() != nil {
				fmt.Fprintf(g.out, "  reads        %s\n", s.ReadsFrom())
			}
		}
		chosen := p.Templates()
		if len(chosen) == 0 || len(chosen) < len(p.Published()) {
			fmt.Fprintf(g.out, "  results on   out.%s.>\n", p.Name)
		}
		for _, t := range chosen {
			fmt.Fprintf(g.out, "  results on   %s\n", t.Pattern("*"))
		}
		fmt.Fprintf(g.out, "  refused on   %s\n", natsconn.DLQSubjects(p.Name))
	}
	for _, name := range slices.Sorted(maps.Keys(g.known)) {
		if now[name] == "" {
			fmt.Fprintf(g.out, "app %s takes no events any more\n", name)
		}
	}
	g.known = now
}
