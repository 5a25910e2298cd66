package cli

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func newDoctorCommand() *cobra.Command {
	var server endpoint
	var wait, timeout time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Examine a running system, and report what is wrong and how to fix it",
		Long: `Examines the NATS servers, the services, every app and its streams, the checkpoints, the
clocks and the store. Reports each finding with its meaning and the command that fixes it.
It changes nothing. It uses the services' settings: name their file with --config. With
--nats.monitor it also checks what NATS only reports on its monitoring port.

Exit code 1 means that there is an error: a promise is broken, or about to be.`,
		Example: `  eventflux doctor --server nats://127.0.0.1:4222 --nats.monitor http://127.0.0.1:8222`,
		Args:    exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return connected(cmd, server, wait, func(ctx context.Context, nc *nats.Conn) error {
				// Refused permissions become findings.
				nc.SetErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})
				return examine(ctx, cmd, nc, cfg, timeout, asJSON)
			})
		},
	}
	config.AddFlags(cmd.Flags())
	addServerFlag(cmd.Flags(), &server, &wait)
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to examine")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func examine(ctx context.Context, cmd *cobra.Command, nc *nats.Conn, cfg *config.Config, timeout time.Duration, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	findings, err := doctor.Examine(ctx, doctor.Config{Conn: nc, Settings: cfg})
	if err != nil {
		return fmt.Errorf("examine: %w", err)
	}
	if asJSON {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"findings": findings}); err != nil {
			return err
		}
	} else if err := printFindings(cmd.OutOrStdout(), findings); err != nil {
		return err
	}
	if n := countOf(findings, doctor.Error); n > 0 {
		return fmt.Errorf("%d problems need attention", n)
	}
	return nil
}

func countOf(findings []doctor.Finding, s doctor.Severity) (n int) {
	for _, f := range findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

func printFindings(w io.Writer, findings []doctor.Finding) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range findings {
		fmt.Fprintf(t, "%s\t%s\t%s: %s\n", f.Severity, f.Check, f.Subject, f.Meaning)
		if f.Fix != "" {
			fmt.Fprintf(t, "\t\tfix: %s\n", f.Fix)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s, %s, %d not known, %d in order\n", terminal.Count(countOf(findings, doctor.Error), "error"),
		terminal.Count(countOf(findings, doctor.Warning), "warning"), countOf(findings, doctor.Unknown), countOf(findings, doctor.OK))
	return err
}
