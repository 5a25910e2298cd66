package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
)

// asking holds what the commands that ask services share.
type asking struct {
	server  endpoint
	wait    time.Duration
	timeout time.Duration
	json    bool
	once    bool // a repeated request would start over
}

// add adds the flags. timeout is how long the answer may take by default.
func (a *asking) add(cmd *cobra.Command, timeout time.Duration) *cobra.Command {
	addServerFlags(cmd.Flags(), &a.server, &a.wait)
	cmd.Flags().DurationVar(&a.timeout, "timeout", timeout, "how long to wait for the answer")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

// ask sends a request to the checkpointer and prints the answer: as JSON, or as print does.
func ask[T any](cmd *cobra.Command, a *asking, verb string, request any, print func(io.Writer, *T)) (*T, error) {
	return askService(cmd, a, control.Service, verb, nil, request, print)
}

// askRecovery is ask for the recovery service. Without an app name it uses the only app.
func askRecovery[T any](cmd *cobra.Command, a *asking, verb string, app *string, request any, print func(io.Writer, *T)) (*T, error) {
	return askService(cmd, a, recovery.ServiceName, verb, app, request, print)
}

// askService asks any service. app points to the app name in the request if it may be empty; else
// it is nil.
func askService[T any](cmd *cobra.Command, a *asking, service, verb string, app *string, request any, print func(io.Writer, *T)) (*T, error) {
	answer := new(T)
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) error {
		if app != nil {
			if err := nameApp(ctx, nc, app); err != nil {
				return err
			}
		}
		return a.client(nc, service).Do(ctx, verb, request, answer)
	})
	if err != nil {
		return nil, err
	}
	return answer, a.show(cmd, answer, func(w io.Writer) { print(w, answer) })
}

// client returns a client of a service. Most slow requests to the checkpointer may be
// repeated; other services would start over.
func (a *asking) client(nc *nats.Conn, service string) *control.Client {
	c := newClient(nc)
	c.Service = service
	if a.once || service != control.Service {
		c.Attempt = a.timeout
	}
	return c
}

// connected calls work with a connection, and bounds it by the time that an answer may take.
func (a *asking) connected(cmd *cobra.Command, work func(context.Context, *nats.Conn) error) error {
	return connected(cmd, a.server, a.wait, func(ctx context.Context, nc *nats.Conn) error {
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		return work(ctx, nc)
	})
}

// show prints an answer as JSON, or as print does.
func (a *asking) show(cmd *cobra.Command, answer any, print func(io.Writer)) error {
	if !a.json {
		print(cmd.OutOrStdout())
		return nil
	}
	return printJSON(cmd.OutOrStdout(), answer)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// nameApp sets an empty app name to the name of the only deployed app.
func nameApp(ctx context.Context, nc *nats.Conn, app *string) error {
	if *app != "" {
		return nil
	}
	list, err := newClient(nc).Apps(ctx)
	if err != nil {
		return err
	}
	if len(list.Apps) == 1 {
		*app = list.Apps[0].Name
		return nil
	}
	var names []string
	for _, a := range list.Apps {
		names = append(names, a.Name)
	}
	return usagef("%d apps are deployed (%s), so APP is needed", len(names), strings.Join(names, ", "))
}

// upToArgs accepts up to len(names) arguments; the first needed ones are required.
func upToArgs(needed int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < needed || len(args) > len(names) {
			return fmt.Errorf("takes %s, the first %d are required; the number of arguments is %d", strings.Join(names, ", "), needed, len(args))
		}
		return nil
	}
}

func argument(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}

func checkpointRequest(args []string) (control.CheckpointRequest, error) {
	r := control.CheckpointRequest{App: args[0]}
	if len(args) == 2 {
		var err error
		r.Epoch, err = epochArgument(args[1], args[0])
		return r, err
	}
	return r, nil
}

func epochArgument(text, app string) (state.Epoch, error) {
	epoch, err := strconv.ParseUint(text, 10, 64)
	if err != nil || epoch == 0 {
		return 0, usagef("%q is no epoch; %s lists them", text, strings.TrimSpace("eventflux checkpoint ls "+app))
	}
	return state.Epoch(epoch), nil
}

// checkLimit refuses a limit that would otherwise be treated as the default.
func checkLimit(limit int) error {
	if limit < 0 {
		return usagef("--limit is not negative")
	}
	return nil
}

// bytesText formats a number of bytes for people.
func bytesText(n int64) string { return config.Size(n).Rounded() }

// printLine prints a value as one line of JSON.
func printLine(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
