package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/log/output"
)

func newSubscribeCommand() *cobra.Command {
	var server endpoint
	var count int
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "subscribe SUBJECT",
		Short: "Print the messages of a subject as they arrive",
		Long: `Prints messages as subject, tab, payload until it is interrupted. Like every plain
NATS subscription it shows what is published while it runs; earlier results are
in the JetStream stream EFO_<app>_<partition>. The payload of a result in protobuf or
Avro is in base64, after its Content-Type.`,
		Example: `  eventflux subscribe 'out.Flights.>'`,
		Args:    exactArgs("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 0 {
				return usagef("--count is not negative")
			}
			return connected(cmd, server, wait, func(ctx context.Context, nc *nats.Conn) error {
				return printMessages(ctx, cmd, nc, args[0], count)
			})
		},
	}
	f := cmd.Flags()
	addServerFlags(f, &server, &wait)
	f.IntVar(&count, "count", 0, "end after this many messages (default never)")
	return cmd
}

func printMessages(ctx context.Context, cmd *cobra.Command, nc *nats.Conn, subject string, count int) error {
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "listening on %s, Ctrl-C ends it\n", subject)
	for n := 0; count == 0 || n < count; n++ {
		m, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		} else if err != nil {
			return fmt.Errorf("receive from %s: %w", subject, err)
		}
		data := m.Data
		if is := m.Header.Get(output.HeaderFormat); is != "" && !strings.Contains(is, "json") {
			data = fmt.Appendf(nil, "%s\t%s", is, base64.StdEncoding.EncodeToString(m.Data))
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\t%s\n", m.Subject, data); err != nil {
			return err
		}
	}
	return nil
}
