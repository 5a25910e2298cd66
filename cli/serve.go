package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func newServeCommand() *cobra.Command {
	var list string
	cmd := &cobra.Command{
		Use:   "serve --services LIST",
		Short: "Run some of the services of a cluster",
		Long: `Runs some of the services, until SIGINT or SIGTERM. They talk to the others over
NATS: nats.url names the server. All services share that server and the store of
checkpoints. Deploy apps with eventflux app deploy.

  checkpointer  keeps apps and orders checkpoints; run one, three or five, with raft.peers
  processor     runs tasks; partitions are spread over all that run, by processor.id
  ingest        accepts events; run any number
  merger        folds chains of checkpoints and deletes what nothing refers to; one works at a time
  recovery      plans and runs recoveries, verifies, shows state; one is enough, more share the work`,
		Example: `  eventflux serve --services checkpointer,processor,ingest,recovery --nats.url nats://127.0.0.1:4222 --store.url file:/var/lib/eventflux/checkpoints`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			services, err := parseServices(list)
			if err != nil {
				return err
			}
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if cfg.NATS.URL == "" {
				return usagef("services meet over NATS: name its server with --nats.url; eventflux run has one built in")
			}
			return runNode(cmd, cfg, services, nil)
		},
	}
	cmd.Flags().StringVar(&list, "services", "", "services to run, separated by commas: "+strings.Join(node.Services, ", "))
	config.AddFlags(cmd.Flags())
	return cmd
}

func parseServices(list string) ([]string, error) {
	var services []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		switch {
		case name == "" && list == "":
			return nil, usagef("no services; name some of %s with --services", strings.Join(node.Services, ", "))
		case !slices.Contains(node.Services, name):
			return nil, usagef("--services: there is no service %q; there are %s", name, strings.Join(node.Services, ", "))
		case slices.Contains(services, name):
			return nil, usagef("--services: %s is named twice", name)
		}
		services = append(services, name)
	}
	return services, nil
}
