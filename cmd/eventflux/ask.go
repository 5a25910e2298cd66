package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"eventflux/services/recovery"
	"eventflux/shared/control"
	"eventflux/shared/state"
)

// asking is what the commands that ask the checkpointer have in common.
type asking struct {
	server  endpoint
	wait    time.Duration
	timeout time.Duration
	json    bool
}

// add adds the flags. timeout is how long the answer may take by default.
func (a *asking) add(cmd *cobra.Command, timeout time.Duration) *cobra.Command {
	addServerFlags(cmd.Flags(), &a.server, &a.wait)
	cmd.Flags().DurationVar(&a.timeout, "timeout", timeout, "how long to wait for the answer")
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

// ask sends a request and prints the answer: as JSON, or as print does.
func ask[T any](cmd *cobra.Command, a *asking, verb string, request any, print func(io.Writer, *T)) (*T, error) {
	ctx, stop := interruptible(cmd)
	defer stop()
	nc, err := connect(ctx, a.server, a.wait)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	answer, err := request1[T](ctx, nc, a.timeout, verb, request)
	if err != nil {
		return nil, err
	}
	if !a.json {
		print(cmd.OutOrStdout(), answer)
		return answer, nil
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return answer, enc.Encode(answer)
}

func request1[T any](ctx context.Context, nc *nats.Conn, timeout time.Duration, verb string, request any) (*T, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := new(T)
	client := &control.Client{Conn: nc}
	service := control.Service
	if of, what, ok := strings.Cut(verb, "."); ok { // not the checkpointer's
		service, verb = of, what
	}
	return answer, client.Ask(ctx, service, verb, request, answer)
}

// recovering asks the recovery service. Answers may take as long as a replay does.
func recovering(nc *nats.Conn, timeout time.Duration) *control.Client {
	return &control.Client{Conn: nc, Service: recovery.ServiceName, Attempt: timeout}
}

// askRecovery sends a request to the recovery service and prints the answer.
func askRecovery[T any](cmd *cobra.Command, a *asking, verb string, request func(ctx context.Context, nc *nats.Conn) (any, error), print func(io.Writer, *T)) (*T, error) {
	var answer *T
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) error {
		r, err := request(ctx, nc)
		if err != nil {
			return err
		}
		answer = new(T)
		return recovering(nc, a.timeout).Do(ctx, verb, r, answer)
	})
	if err != nil {
		return nil, err
	}
	return answer, a.show(cmd, answer, func(w io.Writer) { print(w, answer) })
}

// connected calls work with a connection, for as long as an answer may take.
func (a *asking) connected(cmd *cobra.Command, work func(context.Context, *nats.Conn) error) error {
	ctx, stop := interruptible(cmd)
	defer stop()
	nc, err := connect(ctx, a.server, a.wait)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return work(ctx, nc)
}

// show prints an answer as JSON, or as print does.
func (a *asking) show(cmd *cobra.Command, answer any, print func(io.Writer)) error {
	if !a.json {
		print(cmd.OutOrStdout())
		return nil
	}
	enc := json.NewEncoder(cmd.OutOrStdout())
	enc.SetIndent("", "  ")
	return enc.Encode(answer)
}

// appOr returns the app that is named, or the only one that is deployed.
func appOr(ctx context.Context, nc *nats.Conn, name string) (string, error) {
	if name != "" {
		return name, nil
	}
	list, err := (&control.Client{Conn: nc}).Apps(ctx)
	if err != nil {
		return "", err
	}
	if len(list.Apps) == 1 {
		return list.Apps[0].Name, nil
	}
	var names []string
	for _, a := range list.Apps {
		names = append(names, a.Name)
	}
	return "", usagef("%d apps are deployed (%s), so APP is needed", len(names), strings.Join(names, ", "))
}

// upToArgs takes some arguments, of which the first so many are needed.
func upToArgs(needed int, names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < needed || len(args) > len(names) {
			return fmt.Errorf("takes %s, of which %d must be there; the number of arguments is %d", strings.Join(names, ", "), needed, len(args))
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

// oneOrTwoArgs is exactArgs where the second may be left out.
func oneOrTwoArgs(first, second string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 || len(args) > 2 {
			return fmt.Errorf("needs %s, and takes %s; the number of arguments is %d", first, second, len(args))
		}
		return nil
	}
}

func checkpointRequest(args []string) (control.CheckpointRequest, error) {
	r := control.CheckpointRequest{App: args[0]}
	if len(args) == 2 {
		var epoch uint64
		if _, err := fmt.Sscanf(args[1], "%d", &epoch); err != nil || epoch == 0 {
			return r, usagef("%q is no epoch; eventflux checkpoint ls %s lists them", args[1], args[0])
		}
		r.Epoch = state.Epoch(epoch)
	}
	return r, nil
}

func epochArgument(text, app string) (state.Epoch, error) {
	r, err := checkpointRequest([]string{app, text})
	return r.Epoch, err
}

// bytesText writes a number of bytes for a person.
func bytesText(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
