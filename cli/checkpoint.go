package cli

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

func newCheckpointCommand() *cobra.Command {
	return newGroup("checkpoint", "Work with the checkpoints of an app",
		newCheckpointListCommand(), newCheckpointShowCommand(), newCheckpointTriggerCommand(), newCheckpointVerifyCommand(),
		newCheckpointChainCommand(), newCheckpointDiffCommand(), newCheckpointExportCommand(), newCheckpointMergeCommand())
}

func newCheckpointListCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "ls APP", Short: "List the checkpoints of an app, newest first",
		Long: `Lists the retained checkpoints, the one in progress, and the last aborted ones with
the reason.`,
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

func newCheckpointShowCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "show APP [EPOCH]", Short: "Show what is in a checkpoint, by default the newest",
		Args: upToArgs(1, "APP", "EPOCH"),
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
		Use: "verify APP [EPOCH]", Short: "Verify everything that a checkpoint refers to",
		Long: `Reads the manifest and every run and block that it names, compares checksums, counts and
the digest of each component, and lists all damage. The default is the newest checkpoint.

With --full it also proves that the checkpoint matches the log: it replays the log from
the previous checkpoint, and compares every component.`,
		Args: upToArgs(1, "APP", "EPOCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request, err := checkpointRequest(args)
			if err != nil {
				return err
			}
			if full {
				return verifyFull(cmd, &a, request)
			}
			a.once = true
			r, err := ask(cmd, &a, control.VerbVerify, request, printVerified)
			if err == nil && !r.Sound {
				err = fmt.Errorf("checkpoint %d is damaged; a start uses the one before (eventflux checkpoint ls %s)", r.Epoch, r.App)
			}
			return err
		},
	}, 10*time.Minute)
	cmd.Flags().BoolVar(&full, "full", false, "replay from the previous checkpoint, and compare")
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

// verifyFull proves a checkpoint, and prints the findings.
func verifyFull(cmd *cobra.Command, a *asking, r control.CheckpointRequest) error {
	var report recovery.VerifyReport
	request := recovery.VerifyRequest{App: r.App, Epoch: r.Epoch, Level: recovery.VerifyFull}
	_, err := runJob(cmd, a, recovery.VerbVerify, &request.App, &request, &report)
	if err != nil {
		return err
	}
	if err := a.show(cmd, &report, func(w io.Writer) { printProof(w, &report) }); err != nil {
		return err
	}
	if !report.Sound {
		return fmt.Errorf("checkpoint %d is not what it should be; the one before can be recovered to (eventflux checkpoint ls %s)", report.Epoch, report.App)
	}
	return nil
}

func printProof(w io.Writer, r *recovery.VerifyReport) {
	for _, p := range r.Problems {
		fmt.Fprintf(w, "partition %d: %s%s: %s\n", p.Partition, p.Component, p.Object, p.What)
		if p.Key != "" {
			fmt.Fprintf(w, "  first entry that differs: %s %s\n", p.Key, p.Item)
		}
	}
	switch {
	case r.Proved && r.From > 0:
		fmt.Fprintf(w, "checkpoint %d of %s is proved: checkpoint %d and the %d events after it give exactly the same state\n", r.Epoch, r.App, r.From, r.Events)
	case r.Proved:
		fmt.Fprintf(w, "checkpoint %d of %s is proved: its whole log of %d events gives exactly the same state\n", r.Epoch, r.App, r.Events)
	case r.Sound:
		fmt.Fprintf(w, "checkpoint %d of %s is sound, but cannot be proved: %s\n", r.Epoch, r.App, r.Unproved)
	}
}

func newCheckpointChainCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "chain APP", Short: "Show what merging the chains of an app would save",
		Long: `Lists the chain of each component as of the newest checkpoint: a base and the deltas
after it, the size after a merge, and how much less the store would hold once the older
checkpoints are retired. The command measures this with a merge that stores nothing, so
it reads all state. DUE is the reason why the merger would merge the chain.`,
		Example: `  eventflux checkpoint chain Flights`,
		Args:    exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := askService(cmd, &a, control.MergerService, control.VerbChains, nil, control.AppRequest{App: args[0]}, printChains)
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
