package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"eventflux/shared/checkpoint"
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
	client := newClient(nc)
	service := control.Service
	if of, what, ok := strings.Cut(verb, "."); ok { // not the checkpointer's
		service, verb = of, what
	}
	return answer, client.Ask(ctx, service, verb, request, answer)
}

func newCheckpointCommand() *cobra.Command {
	return newGroup("checkpoint", "Work with the checkpoints of an app",
		newCheckpointListCommand(), newCheckpointShowCommand(), newCheckpointTriggerCommand(), newCheckpointVerifyCommand(),
		newCheckpointChainCommand(), newCheckpointDiffCommand(), newCheckpointExportCommand())
}

func newCheckpointListCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "ls APP", Short: "List the checkpoints of an app, newest first",
		Long: `Lists the checkpoints that are retained, the one that is under way, and the last that
were aborted, with the reason.`,
		Example: `  eventflux checkpoint ls Flights`,
		Args:    exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbCheckpoints, control.AppRequest{App: args[0]}, printCheckpoints)
			return err
		},
	}, 10*time.Second)
}

func printCheckpoints(w io.Writer, l *control.CheckpointList) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "EPOCH\tSTATE\tTIME\tTOOK\tWRITTEN\tSTATE SIZE\tREASON")
	for _, c := range l.Checkpoints {
		fmt.Fprintf(t, "%d\t%s\t%s\t%.1f ms\t%s\t%s\t%s\n", c.Epoch, c.State, c.Time.Local().Format(time.DateTime),
			c.Milliseconds, bytesText(c.Bytes), bytesText(c.StateBytes), c.Reason)
	}
	_ = t.Flush()
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

func newCheckpointShowCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "show APP [EPOCH]", Short: "Show what is in a checkpoint, by default the newest",
		Args: oneOrTwoArgs("APP", "EPOCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := checkpointRequest(args)
			if err != nil {
				return err
			}
			_, err = ask(cmd, &a, control.VerbCheckpoint, request, printManifest)
			return err
		},
	}, 10*time.Second)
}

func printManifest(w io.Writer, m *checkpoint.Manifest) {
	fmt.Fprintf(w, "checkpoint %d of app %s, generation %d, term %d, opened %s\n",
		m.Epoch, m.App, m.Generation, m.Term, m.Time.Local().Format(time.RFC3339))
	for i := range m.Partitions {
		p := &m.Partitions[i]
		fmt.Fprintf(w, "partition %d: barrier at %d of %s, clock %d, results in %s up to message %d\n",
			p.Partition, p.Log.Sequence, p.Log.Stream, p.Clock, p.Output.Stream, p.Output.Sequence)
		printComponents(w, p)
	}
}

func printComponents(w io.Writer, p *checkpoint.Partition) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COMPONENT\tTYPE\tVERSION\tRUNS\tENTRIES\tSTATE\tSTORED\tDIGEST")
	for _, c := range p.Components {
		var entries, raw, bytes int64
		for _, r := range c.Runs {
			entries, raw, bytes = entries+r.Entries, raw+r.RawBytes, bytes+r.Bytes
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", c.ID, c.Type, c.Version, len(c.Runs), entries, bytesText(raw), bytesText(bytes), c.Digest)
	}
	_ = t.Flush()
}

func newCheckpointTriggerCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "trigger APP", Short: "Make a checkpoint now, and wait until it is committed",
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := ask(cmd, &a, control.VerbTrigger, control.AppRequest{App: args[0]}, func(w io.Writer, o *control.Outcome) {
				if o.Committed {
					fmt.Fprintf(w, "checkpoint %d committed in %.1f ms\n", o.Epoch, o.Milliseconds)
				}
			})
			if err == nil && !o.Committed {
				err = fmt.Errorf("checkpoint %d aborted: %s; nothing is lost by it, try again", o.Epoch, o.Reason)
			}
			return err
		},
	}, 2*time.Minute)
}

func newCheckpointVerifyCommand() *cobra.Command {
	var a asking
	var full bool
	cmd := a.add(&cobra.Command{
		Use: "verify APP [EPOCH]", Short: "Read all that a checkpoint refers to, and check it",
		Long: `Reads the manifest and every run and block that it names, compares checksums, counts and
the digest of each component, and names all damage. By default the newest checkpoint.

With --full it also proves that the checkpoint is what the log gives: it replays the log
from the checkpoint before, and compares every component.`,
		Args: oneOrTwoArgs("APP", "EPOCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := checkpointRequest(args)
			if err != nil {
				return err
			}
			if full {
				return verifyFull(cmd, &a, request)
			}
			r, err := ask(cmd, &a, control.VerbVerify, request, printVerified)
			if err == nil && !r.Sound {
				err = fmt.Errorf("checkpoint %d is damaged; a start uses the one before (eventflux checkpoint ls %s)", r.Epoch, r.App)
			}
			return err
		},
	}, 10*time.Minute)
	cmd.Flags().BoolVar(&full, "full", false, "replay from the checkpoint before, and compare")
	return cmd
}

func printVerified(w io.Writer, r *control.VerifyReport) {
	if r.Sound {
		fmt.Fprintf(w, "checkpoint %d of %s is sound: %d runs, %d blocks, %d entries, %s read\n",
			r.Epoch, r.App, r.Runs, r.Blocks, r.Entries, bytesText(r.Bytes))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "%s: %s %s\n", p.Object, p.Component, p.What)
	}
}

func newCheckpointChainCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "chain APP", Short: "Show what merging the chains of an app would save",
		Long: `Lists the chain of each component as of the newest checkpoint: a base and the deltas
behind it, what merging them would leave, and how much less the store would hold once the
older checkpoints are retired. All of it is measured, by merging and storing nothing, so
it reads all state. DUE is why the merger merges a chain by itself.`,
		Example: `  eventflux checkpoint chain Flights`,
		Args:    exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.MergerService+"."+control.VerbChains, control.AppRequest{App: args[0]}, printChains)
			return err
		},
	}, 10*time.Minute)
}

func printChains(w io.Writer, r *control.ChainReport) {
	fmt.Fprintf(w, "checkpoint %d of app %s\n", r.Epoch, r.App)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PARTITION\tCOMPONENT\tDELTAS\tBASE\tDELTAS SIZE\tSTORED\tMERGED\tSAVES\tDUE")
	for _, c := range r.Chains {
		fmt.Fprintf(t, "%d\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Partition, c.Component, c.Deltas, bytesText(c.BaseBytes),
			bytesText(c.DeltaBytes), bytesText(c.Stored), bytesText(c.MergedStored), bytesText(c.Saved), c.Due)
	}
	_ = t.Flush()
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

// oneOrTwoArgs is exactArgs where the second may be left out.
func oneOrTwoArgs(first, second string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 || len(args) > 2 {
			return fmt.Errorf("needs %s, and takes %s; the number of arguments is %d", first, second, len(args))
		}
		return nil
	}
}

func newStateCommand() *cobra.Command {
	return newGroup("state", "Look at the state of an app", newStateListCommand(), newStateGetCommand())
}

func newStateListCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "ls APP", Short: "List the components of an app and their sizes, as of the newest checkpoint",
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbCheckpoint, control.CheckpointRequest{App: args[0]}, func(w io.Writer, m *checkpoint.Manifest) {
				for i := range m.Partitions {
					fmt.Fprintf(w, "partition %d as of checkpoint %d\n", i, m.Epoch)
					printComponents(w, &m.Partitions[i])
				}
			})
			return err
		},
	}, 10*time.Second)
}
