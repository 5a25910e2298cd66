package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/certs"
)

func newCertsCommand() *cobra.Command {
	cfg := certs.Config{}
	var days int
	var hosts string
	var ifMissing bool
	cmd := &cobra.Command{
		Use:   "certs",
		Short: "Make keys and certificates for a cluster",
		Long: `Makes a development authority and the certificates that it signs, with a folder for
each process:

  nats-N          certificate of a NATS server, keys.conf with all users' public keys, and
                  servers.conf with the servers' keys: only these may connect as servers
  checkpointer-N  certificate of a Raft member (its raft.id), nkey, the store's password
  ingest, processor, merger, recovery, operator, publisher, subscriber, reader
                  nkey of the user, and the store's password if the user needs it
  redis           certificate, and the ACL with the password's hash
  authority       key and certificate of the authority; do not copy it to any process

Only their owner can read files with secrets. The command never overwrites a file and
prints no secret. If your organization has its own authority, put its files into the
same places.`,
		Example: `  eventflux certs --out secrets --hosts nats.example.com,10.0.0.5`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case cfg.Dir == "":
				return usagef("name the folder with --out")
			case cfg.Servers < 1 || cfg.Checkpointers < 1 || days < 1:
				return usagef("--nats, --checkpointers and --days are at least 1")
			}
			for h := range strings.SplitSeq(hosts, ",") {
				if h = strings.TrimSpace(h); h != "" {
					cfg.Hosts = append(cfg.Hosts, h)
				}
			}
			cfg.Valid = time.Duration(days) * 24 * time.Hour
			if ifMissing && certs.Made(cfg.Dir) {
				fmt.Fprintf(cmd.OutOrStdout(), "the keys in %s are kept\n", cfg.Dir)
				return nil
			}
			if err := certs.Make(cfg); err != nil {
				return fmt.Errorf("make keys: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "keys for %d NATS servers, %d checkpointers, Redis and %d users are in %s, valid for %d days\n",
				cfg.Servers, cfg.Checkpointers, len(certs.Users), cfg.Dir, days)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Dir, "out", "", "folder for the keys; made if missing")
	f.StringVar(&hosts, "hosts", "", "more host names and addresses of the NATS servers and Redis, separated by commas")
	f.IntVar(&cfg.Servers, "nats", 3, "NATS servers")
	f.IntVar(&cfg.Checkpointers, "checkpointers", 3, "checkpointers")
	f.IntVar(&days, "days", 365, "days that the certificates are valid")
	f.BoolVar(&ifMissing, "if-missing", false, "succeed if the keys exist already, and keep them")
	return cmd
}
