package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
)

func newRecoverCommand() *cobra.Command {
	var a asking
	var r recovery.RestoreRequest
	var to uint64
	var at string
	var hold, fork, release, adopt, logs, acceptLoss, keep bool
	cmd := a.add(&cobra.Command{
		Use: "recover [APP]", Short: "Restore an app to a checkpoint or an instant",
		Long: `Restores an app to a checkpoint, an instant or a position in its log, and starts a new
generation there. Without --to and --at the target is the end of the log. The command
loads the newest sound checkpoint at or before the target whose log exists and whose
results are out, and replays the log up to the target. It prints which newer checkpoints
it did not use, and why.

Afterwards the app follows its log again, and publishes its results from there once more,
in the new generation. With --hold it waits at the target until --release. With --fork it
continues from its newest checkpoint with the state of the target; with --components only
these components, and those that they depend on, get the state of the target.

Upgrades in the log after the target are applied again. With --keep-version the version
that is in force at the target stays: the log after it is applied by that version, and the
app gets one more version with its text.

--adopt is for a cluster that was lost with its logs but not its store: deploy the same
app to a new cluster with that store, and it continues with the state of the newest sound
checkpoint, or of the one in --to. Events after that checkpoint must be published again.

--log is for a single process that does not start because the files of its log are
damaged. It works on the data folder while the process is stopped: it restores the
settings of JetStream streams, accepts logs that were restored from an older copy, and
removes damaged records. Later records stay. It prints what is missing. With --accept-loss
the apps continue without it: a tick without effect replaces each lost frame.

--skip is for a log with a record that the task cannot apply, so that it halts: the app
continues in a new generation that skips the record. It refuses to skip a record that the
app can apply, or that later records refer to.

--dry-run prints what would be done, what it costs and what would be refused. APP may be
omitted if only one app is deployed.`,
		Example: `  eventflux recover Flights --at 2026-03-01T12:00:00Z --dry-run
  eventflux recover Flights --to 41 --verify full
  eventflux recover Flights --at 2026-03-01T12:00:00Z --keep-version
  eventflux recover Flights --at seq:1207.3 --components airport --hold
  eventflux recover --log --data /var/lib/eventflux`,
		Args: upToArgs(0, "APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			switch {
			case given("to") && to == 0: // not the end of the log, which was not requested
				return usagef("--to 0 is no checkpoint; eventflux checkpoint ls lists them")
			case given("at") && at == "":
				return usagef("--at is empty; leave it out to go to the end of the log")
			case logs && (len(args) > 0 || at != "" || to > 0 || hold || fork || keep || release || adopt || r.DryRun || len(r.Skip) > 0 || len(r.Components) > 0 || given("verify") || given("parallel") || given("server")):
				return usagef("--log works on the data folder of a stopped process: only --data, --wal.durability, --accept-loss and --json go with it")
			case logs:
				return recoverLogs(cmd, &a, acceptLoss)
			case given("data") || given("wal.durability") || acceptLoss:
				return usagef("--data, --wal.durability and --accept-loss go with --log; other recoveries ask the running services")
			case len(r.Skip) > 0 && (to > 0 || at != "" || fork || keep || release || adopt || len(r.Components) > 0):
				return usagef("--skip goes on at the records that are passed over, with all state: only --hold, --verify, --parallel and --dry-run go with it")
			case release && (to > 0 || at != "" || hold || fork || keep || adopt || r.DryRun || len(r.Components) > 0 || given("verify") || given("parallel")):
				return usagef("--release resumes an app where it is held: nothing else goes with it")
			case adopt && (at != "" || hold || fork || keep || r.DryRun || len(r.Components) > 0 || given("verify") || given("parallel")):
				return usagef("--adopt takes all state of a checkpoint: only --to goes with it")
			case adopt:
				return adoptState(cmd, &a, argument(args, 0), state.Epoch(to))
			case release:
				return releaseApp(cmd, &a, argument(args, 0))
			case hold && fork:
				return usagef("--hold and --fork: only one of them can follow")
			case keep && (fork || len(r.Components) > 0):
				return usagef("--keep-version restores all state: --fork and --components do not go with it")
			case keep && to == 0 && at == "":
				return usagef("--keep-version needs --to or --at: the version that is in force there stays")
			case to > 0 && at != "":
				return usagef("--to and --at: only one of them can be the target")
			case hold:
				r.After = recovery.AfterHold
			case fork:
				r.After = recovery.AfterFork
			}
			r.App, r.To, r.At, r.KeepVersion = argument(args, 0), state.Epoch(to), recovery.At(at), keep
			if r.DryRun {
				return planRecovery(cmd, &a, &r)
			}
			return runRecovery(cmd, &a, &r)
		},
	}, 24*time.Hour)
	f := cmd.Flags()
	f.Uint64Var(&to, "to", 0, "checkpoint to go back to")
	f.StringVar(&at, "at", "", "instant (RFC 3339 or ms), seq:N or seq:N.EVENT in the log of each partition, or a result as Ef-Position has it")
	f.StringSliceVar(&r.Components, "components", nil, "only these components, such as query1/window, query1 for all of a query's, or 0/query1 in one partition")
	f.StringVar(&r.Verify, "verify", recovery.VerifyChecksum, "how the checkpoint is verified first: none, checksum or full")
	f.BoolVar(&hold, "hold", false, "wait at the target, until --release")
	f.BoolVar(&release, "release", false, "continue a held app")
	f.BoolVar(&adopt, "adopt", false, "take the state that a lost cluster left in the store")
	f.BoolVar(&logs, "log", false, "repair the log files of a stopped process")
	f.BoolVar(&acceptLoss, "accept-loss", false, "with --log, continue without the lost frames")
	f.String("data", "data", "with --log, the process's data folder")
	f.String("wal.durability", "durable", "with --log, the process's durability: durable or fast")
	f.BoolVar(&keep, "keep-version", false, "keep the version of the app that is in force at the target")
	f.BoolVar(&fork, "fork", false, "continue from the newest checkpoint with the state of the target")
	f.StringSliceVar(&r.Skip, "skip", nil, "skip records of the log that cannot be applied, such as 17, or 2/17 in partition 2")
	f.BoolVar(&r.DryRun, "dry-run", false, "only print what would be done")
	f.IntVar(&r.Parallel, "parallel", 0, "blocks to fetch and decode in parallel; 0 as configured")
	return cmd
}

// releaseApp lets a held app continue.
func releaseApp(cmd *cobra.Command, a *asking, app string) error {
	var released control.App
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		if err = nameApp(ctx, nc, &app); err == nil {
			released, err = newClient(nc).Release(ctx, control.AppRequest{App: app})
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.show(cmd, released, func(w io.Writer) {
		fmt.Fprintf(w, "app %s goes on in generation %d\n", released.Name, released.Generation)
	})
}

// adoptState gives an app the state that a former cluster left in the store. The state goes into
// the newest checkpoint, so adoptState makes one first.
func adoptState(cmd *cobra.Command, a *asking, app string, epoch state.Epoch) error {
	var done control.Restored
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		if err := nameApp(ctx, nc, &app); err != nil {
			return err
		}
		client := newClient(nc)
		o, err := firstCheckpoint(ctx, client, app, adoptWait)
		if err != nil {
			return err
		}
		if !o.Committed {
			return fmt.Errorf("checkpoint %d was aborted: %s", o.Epoch, o.Reason)
		}
		done, err = client.Adopt(ctx, control.AdoptRequest{App: app, Epoch: epoch})
		return err
	})
	if err != nil {
		return err
	}
	return a.show(cmd, done, func(w io.Writer) {
		fmt.Fprintf(w, "app %s goes on with the state of checkpoint %d of the former cluster, as checkpoint %d, in generation %d\n", app, done.Adopted, done.Epoch, done.Generation)
	})
}

// adoptWait bounds how long --adopt waits for the checkpoint that it starts from. The app
// was deployed a moment ago, so its tasks need seconds.
const adoptWait = time.Minute

// firstCheckpoint triggers the checkpoint that an adoption starts from. An app whose tasks
// have halted makes none.
func firstCheckpoint(ctx context.Context, client *control.Client, app string, wait time.Duration) (control.Outcome, error) {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	o, err := client.Trigger(waiting, control.AppRequest{App: app})
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("app %s made no checkpoint in %s, and --adopt needs one: %w; eventflux doctor says what keeps its tasks from running. If NATS or its streams were lost, start with an empty NATS and an empty raft folder over the same store, deploy the app, and try again", app, wait, err)
	}
	return o, err
}

func planRecovery(cmd *cobra.Command, a *asking, r *recovery.RestoreRequest) error {
	p, err := askRecovery(cmd, a, recovery.VerbRestore, &r.App, r, printPlan)
	if err == nil && p.Refused != "" {
		err = fmt.Errorf("%s; next: %s", p.Refused, p.Next)
	}
	return err
}

func printPlan(w io.Writer, p *recovery.Plan) {
	for _, o := range p.PassedOver {
		fmt.Fprintf(w, "checkpoint %d is passed over: %s\n", o.Epoch, o.Why)
	}
	if p.Refused != "" {
		return
	}
	from := "the beginning of the log"
	if p.Checkpoint > 0 {
		from = fmt.Sprintf("checkpoint %d of %s", p.Checkpoint, p.Time.Local().Format(time.RFC3339))
	}
	fmt.Fprintf(w, "app %s to %s, from %s, then %s\n", p.App, p.Target, from, p.After)
	fmt.Fprintf(w, "  reads %d runs in %d objects, %s stored, %s of state\n", p.Runs, p.Objects, bytesText(p.Bytes), bytesText(p.RawBytes))
	for _, part := range p.Partitions {
		about := ""
		if !part.Exact {
			about = "about "
		}
		if part.Exact && part.Frames == 0 {
			fmt.Fprintf(w, "  partition %d: replays nothing of the log, which ends at %d\n", part.Partition, part.LogEnd)
			continue
		}
		fmt.Fprintf(w, "  partition %d: replays the log from %d to %s: %s%d frames, %d events, %s; the log ends at %d\n",
			part.Partition, part.Barrier+1, part.Target, about, part.Frames, part.Events, bytesText(part.Bytes), part.LogEnd)
	}
	if p.Keeps > 0 {
		fmt.Fprintf(w, "  keeps version %d: versions %d to %d in the log do not come into force\n", p.Keeps, p.Keeps+1, p.Newest)
	}
	for _, part := range slices.Sorted(maps.Keys(p.Skipped)) {
		for _, s := range p.Skipped[part] {
			fmt.Fprintf(w, "  passes over record %d of partition %d: %s\n", s.Sequence, part, s.Reason)
		}
	}
	for _, c := range p.Components {
		if c.Role != "all" || p.Onto > 0 {
			fmt.Fprintf(w, "  component %s in partitions %v: %s %s\n", c.ID, c.Partitions, c.Role, c.Note)
		}
	}
	if p.Onto > 0 {
		fmt.Fprintf(w, "  all else stays as in checkpoint %d\n", p.Onto)
	}
	for _, warning := range p.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", warning)
	}
	fmt.Fprintf(w, "  takes about %.1f s (%s), with verification %s\n", p.Seconds, p.Basis, p.Verify)
}

func runRecovery(cmd *cobra.Command, a *asking, r *recovery.RestoreRequest) error {
	var result recovery.RestoreResult
	r.ID = nuid.Next()
	at, err := runJob(cmd, a, recovery.VerbRestore, &r.App, r, &result)
	if err != nil {
		return err
	}
	return a.show(cmd, at, func(w io.Writer) {
		printPlan(w, result.Plan)
		fmt.Fprintf(w, "done: generation %d of app %s starts from checkpoint %d\n", result.Generation, at.App, result.Epoch)
		if result.Version > 0 {
			fmt.Fprintf(w, "version %d of the app has the text of version %d\n", result.Version, result.Plan.Keeps)
		}
		if result.Plan.After == recovery.AfterHold {
			fmt.Fprintf(w, "it waits there; eventflux recover %s --release lets it go on\n", at.App)
		}
	})
}
