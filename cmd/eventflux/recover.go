package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"eventflux/cmd/eventflux/export"
	"eventflux/services/recovery"
	"eventflux/shared/bus"
	"eventflux/shared/control"
	"eventflux/shared/state"
)

// recovering asks the recovery service. Answers may take as long as a replay does.
func recovering(nc *nats.Conn, timeout time.Duration) *control.Client {
	c := newClient(nc)
	c.Service, c.Attempt = recovery.ServiceName, timeout
	return c
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
	list, err := newClient(nc).Apps(ctx)
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

func epochArgument(text, app string) (state.Epoch, error) {
	r, err := checkpointRequest([]string{app, text})
	return r.Epoch, err
}

func newRecoverCommand() *cobra.Command {
	var a asking
	var r recovery.RestoreRequest
	var to uint64
	var at string
	var hold, fork, release, adopt bool
	cmd := a.add(&cobra.Command{
		Use: "recover [APP]", Short: "Take an app back to a checkpoint or an instant",
		Long: `Takes the state of an app back to a checkpoint, an instant or a place in its log, and
begins a new generation of it there. Without --to and --at the target is the end of the
log. The newest checkpoint at or before the target that is sound, whose log is there and
whose results are out, is loaded, and the log is replayed up to the target; what was
passed over is said.

Afterwards the app follows its log again, and its results from there on come once more, in
the new generation; with --hold it waits at the target until --release; with --fork it goes
on from its newest checkpoint with the state of the target, and with --components only with
theirs, and of what they depend on.

--adopt is for a cluster that was lost with its logs, when its store is left: deploy the
same app to a new cluster over that store, and it goes on with the state of the newest
sound checkpoint, or that of --to. Events since that checkpoint have to be published
again.

--dry-run says what would be done, what it costs and what would be refused. APP may be
left out if one app is deployed.`,
		Example: `  eventflux recover Flights --at 2026-03-01T12:00:00Z --dry-run
  eventflux recover Flights --to 41 --verify full
  eventflux recover Flights --at seq:1207.3 --components airport --hold`,
		Args: upToArgs(0, "APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case adopt && (at != "" || hold || fork || release || r.DryRun || len(r.Components) > 0):
				return usagef("--adopt takes all state of a checkpoint: only --to goes with it")
			case adopt:
				return adoptState(cmd, &a, argument(args, 0), state.Epoch(to))
			case release:
				return releaseApp(cmd, &a, argument(args, 0))
			case hold && fork:
				return usagef("--hold and --fork: only one of them can follow")
			case to > 0 && at != "":
				return usagef("--to and --at: only one of them can be the target")
			case hold:
				r.After = recovery.AfterHold
			case fork:
				r.After = recovery.AfterFork
			}
			r.App, r.To, r.At = argument(args, 0), state.Epoch(to), recovery.At(at)
			if r.DryRun {
				return planRecovery(cmd, &a, &r)
			}
			return runRecovery(cmd, &a, &r)
		},
	}, 24*time.Hour)
	f := cmd.Flags()
	f.Uint64Var(&to, "to", 0, "checkpoint to go back to")
	f.StringVar(&at, "at", "", "instant (RFC 3339 or ms), or seq:N or seq:N.EVENT in the log of each partition, to go back to")
	f.StringSliceVar(&r.Components, "components", nil, "only these, such as query1/window, query1 for both of its, or 0/query1 in one partition")
	f.StringVar(&r.Verify, "verify", recovery.VerifyChecksum, "how the checkpoint is verified first: none, checksum or full")
	f.BoolVar(&hold, "hold", false, "wait at the target, until --release")
	f.BoolVar(&release, "release", false, "let an app go on that waits")
	f.BoolVar(&adopt, "adopt", false, "take the state that a lost cluster has left in the store")
	f.BoolVar(&fork, "fork", false, "go on from the newest checkpoint with the state of the target")
	f.BoolVar(&r.DryRun, "dry-run", false, "only say what would be done")
	f.IntVar(&r.Parallel, "parallel", 0, "blocks that are fetched and decoded at once; 0 as configured")
	return cmd
}

// releaseApp lets an app go on that was held.
func releaseApp(cmd *cobra.Command, a *asking, app string) error {
	var released control.App
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		if app, err = appOr(ctx, nc, app); err == nil {
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

// adoptState gives an app the state that a former cluster has left in the store. It goes
// into the newest checkpoint, so one is made first.
func adoptState(cmd *cobra.Command, a *asking, app string, epoch state.Epoch) error {
	var done control.Restored
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
		if app, err = appOr(ctx, nc, app); err != nil {
			return err
		}
		client := newClient(nc)
		o, err := client.Trigger(ctx, control.AppRequest{App: app})
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

func planRecovery(cmd *cobra.Command, a *asking, r *recovery.RestoreRequest) error {
	p, err := askRecovery(cmd, a, recovery.VerbRestore, func(ctx context.Context, nc *nats.Conn) (_ any, err error) {
		r.App, err = appOr(ctx, nc, r.App)
		return r, err
	}, printPlan)
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
	at, err := runJob(cmd, a, recovery.VerbRestore, func(ctx context.Context, nc *nats.Conn) (_ any, err error) {
		r.App, err = appOr(ctx, nc, r.App)
		r.ID = nuid.Next()
		return r, err
	}, &result)
	if err != nil {
		return err
	}
	return a.show(cmd, at, func(w io.Writer) {
		printPlan(w, result.Plan)
		fmt.Fprintf(w, "done: generation %d of app %s begins with checkpoint %d\n", result.Generation, at.App, result.Epoch)
		if result.Plan.After == recovery.AfterHold {
			fmt.Fprintf(w, "it waits there; eventflux recover %s --release lets it go on\n", at.App)
		}
	})
}

// runJob starts a job, shows how far it is until it ends, and decodes its result.
func runJob(cmd *cobra.Command, a *asking, verb string, request func(context.Context, *nats.Conn) (any, error), result any) (*recovery.Job, error) {
	at := &recovery.Job{}
	err := a.connected(cmd, func(ctx context.Context, nc *nats.Conn) error {
		r, err := request(ctx, nc)
		if err != nil {
			return err
		}
		client := recovering(nc, a.timeout)
		if err := client.Do(ctx, verb, r, at); err != nil {
			return err
		}
		shown := showJob(cmd.ErrOrStderr(), a.json)
		defer shown.close()
		events, err := nc.SubscribeSync(bus.JobSubject(at.Job))
		if err != nil {
			return err
		}
		for at.State == "running" {
			shown.at(at)
			next, cancel := context.WithTimeout(ctx, time.Second)
			_, err := events.NextMsgWithContext(next) // or a second passes
			cancel()
			if err != nil && ctx.Err() != nil {
				return fmt.Errorf("the job goes on: nats req ef.recovery.job '{\"job\":%q}' tells how it is: %w", at.Job, ctx.Err())
			}
			now := &recovery.Job{}
			if err := client.Do(ctx, recovery.VerbJob, recovery.JobRequest{Job: at.Job}, now); err != nil {
				return err
			}
			at = now
		}
		shown.at(at)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if at.State == "failed" {
		if at.Next != "" && !strings.Contains(at.Error, at.Next) {
			return at, fmt.Errorf("%s; next: %s", at.Error, at.Next)
		}
		return at, errors.New(at.Error)
	}
	return at, json.Unmarshal(at.Result, result)
}

// shownJob shows a job as a bar on a terminal, else each phase as a line.
type shownJob struct {
	out   io.Writer
	bars  *mpb.Progress
	bar   *mpb.Bar
	phase string
	job   recovery.Job
}

func showJob(w io.Writer, quiet bool) *shownJob {
	s := &shownJob{out: w}
	if quiet {
		s.out = io.Discard
	}
	f, ok := w.(*os.File)
	if quiet || !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.bars = mpb.New(mpb.WithOutput(w), mpb.WithWidth(64))
	s.bar = s.bars.AddBar(1000,
		mpb.PrependDecorators(decor.Any(func(decor.Statistics) string { return s.job.Phase }, decor.WCSyncSpace)),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + jobText(&s.job) })))
	return s
}

func (s *shownJob) at(j *recovery.Job) {
	if s.bar != nil {
		s.job = *j
		s.bar.SetCurrent(int64(1000 * jobShare(j)))
		return
	}
	if j.Phase != s.phase {
		s.phase = j.Phase
		fmt.Fprintf(s.out, "%s: %s\n", j.Phase, jobText(j))
	}
}

// jobShare is how much of a job is done, as bytes and frames weigh alike.
func jobShare(j *recovery.Job) float64 {
	if j.State == "done" {
		return 1
	}
	var share, of float64
	if j.BytesTotal > 0 {
		share, of = share+min(float64(j.BytesDone)/float64(j.BytesTotal), 1), of+1
	}
	if j.FramesTotal > 0 {
		share, of = share+min(float64(j.FramesDone)/float64(j.FramesTotal), 1), of+1
	}
	return share / max(of, 1)
}

func jobText(j *recovery.Job) string {
	text := fmt.Sprintf("%s read, %d frames", bytesText(j.BytesDone), j.FramesDone)
	if j.State == "running" && j.ETASeconds > 0 {
		text += fmt.Sprintf(", %.0f s left", j.ETASeconds)
	}
	return text
}

func (s *shownJob) close() {
	if s.bars != nil {
		s.bar.Abort(false)
		s.bars.Wait()
	}
}

func newStateGetCommand() *cobra.Command {
	var a asking
	var r recovery.StateRequest
	var at string
	cmd := a.add(&cobra.Command{
		Use: "get COMPONENT [APP]", Short: "Show what is in a window, an aggregate or another component",
		Long: `Shows the content of a component: the rows of a window, the groups of an aggregate, by
default as of the end of the log, or as of an instant. It is rebuilt from a checkpoint and
the log; the running app does not notice. Attributes that no query needs are not kept.`,
		Example: `  eventflux state get airport/aggregate --key DTW
  eventflux state get airport/window Flights --at 2026-03-01T12:00:00Z --json`,
		Args: upToArgs(1, "COMPONENT", "APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.Component, r.At = args[0], recovery.At(at)
			_, err := askRecovery(cmd, &a, recovery.VerbState, func(ctx context.Context, nc *nats.Conn) (_ any, err error) {
				r.App, err = appOr(ctx, nc, argument(args, 1))
				return &r, err
			}, printState)
			return err
		},
	}, 10*time.Minute)
	f := cmd.Flags()
	f.StringVar(&r.Key, "key", "", "only the item of this key, as the list has it")
	f.StringVar(&at, "at", "", "instant (RFC 3339 or ms), or seq:N or seq:N.EVENT in the log")
	f.IntVar(&r.Limit, "limit", 0, "most items that are shown; 0 for 1,000")
	return cmd
}

func printState(w io.Writer, s *recovery.State) {
	for _, p := range s.Partitions {
		fmt.Fprintf(w, "%s in partition %d at %s, clock %d: %d entries, digest %s\n", s.Component, p.Partition, p.At, p.Clock, p.Entries, p.Digest)
		for _, i := range p.Items {
			fmt.Fprintf(w, "%s\t%s\n", i.Key, i.Value)
		}
		if p.More {
			fmt.Fprintln(w, "and more; --limit N shows them, --key K one of them")
		}
	}
}

func newCheckpointDiffCommand() *cobra.Command {
	var a asking
	var r recovery.DiffRequest
	cmd := a.add(&cobra.Command{
		Use: "diff A B [APP]", Short: "Show what changed from one checkpoint to a later one",
		Long: `Shows for each component how many entries were added, removed and changed, and what became
of its rows or groups. With --explain it replays the log between the two, and lists the
events that changed an item.`,
		Example: `  eventflux checkpoint diff 41 42 Flights
  eventflux checkpoint diff 41 42 --components airport --explain DTW`,
		Args: upToArgs(2, "A", "B", "APP"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if r.From, err = epochArgument(args[0], argument(args, 2)); err != nil {
				return err
			}
			if r.To, err = epochArgument(args[1], argument(args, 2)); err != nil {
				return err
			}
			_, err = askRecovery(cmd, &a, recovery.VerbDiff, func(ctx context.Context, nc *nats.Conn) (_ any, err error) {
				r.App, err = appOr(ctx, nc, argument(args, 2))
				return &r, err
			}, printDiff)
			return err
		},
	}, 10*time.Minute)
	f := cmd.Flags()
	f.StringSliceVar(&r.Components, "components", nil, "only these, such as query1/window, or query1 for both of its")
	f.StringVar(&r.Explain, "explain", "", "key of an item whose changes are explained by events")
	f.IntVar(&r.Limit, "limit", 0, "most changes of a component, and most causes; 0 for 100")
	return cmd
}

func printDiff(w io.Writer, d *recovery.Diff) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COMPONENT\tADDED\tREMOVED\tCHANGED\tSAME\tBYTES")
	for _, c := range d.Components {
		fmt.Fprintf(t, "%d/%s\t%d\t%d\t%d\t%d\t%s\n", c.Partition, c.Component, c.Added, c.Removed, c.Changed, c.Same, bytesText(c.Bytes))
	}
	_ = t.Flush()
	for _, c := range d.Components {
		for _, x := range c.Changes {
			fmt.Fprintf(w, "%d/%s %s: %s → %s\n", c.Partition, c.Component, x.Key, orNone(x.Before), orNone(x.After))
		}
		if c.More {
			fmt.Fprintf(w, "%d/%s and more; --limit N shows them\n", c.Partition, c.Component)
		}
	}
	for _, c := range d.Explained {
		what := "time passed"
		if len(c.Events) > 0 {
			var events []string
			for _, e := range c.Events {
				events = append(events, string(e))
			}
			what = c.Stream + " " + strings.Join(events, " ")
		}
		fmt.Fprintf(w, "log %d/%s, clock %d: %s: %s → %s\n", c.Partition, c.At, c.Clock, what, orNone(c.Before), orNone(c.After))
	}
	if d.More {
		fmt.Fprintln(w, "and more causes; --limit N shows them")
	}
}

func orNone(v json.RawMessage) string {
	if v == nil {
		return "none"
	}
	return string(v)
}

// verifyFull proves a checkpoint, and prints what was found.
func verifyFull(cmd *cobra.Command, a *asking, r control.CheckpointRequest) error {
	var report recovery.VerifyReport
	_, err := runJob(cmd, a, recovery.VerbVerify, func(context.Context, *nats.Conn) (any, error) {
		return recovery.VerifyRequest{App: r.App, Epoch: r.Epoch, Level: recovery.VerifyFull}, nil
	}, &report)
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
		fmt.Fprintf(w, "checkpoint %d of %s is proved: checkpoint %d and the %d events behind it give the same state, to the byte\n", r.Epoch, r.App, r.From, r.Events)
	case r.Proved:
		fmt.Fprintf(w, "checkpoint %d of %s is proved: all of its log, %d events, gives the same state, to the byte\n", r.Epoch, r.App, r.Events)
	case r.Sound:
		fmt.Fprintf(w, "checkpoint %d of %s is sound, but cannot be proved: %s\n", r.Epoch, r.App, r.Unproved)
	}
}

func newCheckpointExportCommand() *cobra.Command {
	var a asking
	var file string
	cmd := a.add(&cobra.Command{
		Use: "export APP [EPOCH] -o FILE", Short: "Write a checkpoint and the log behind it into one file",
		Long: `Writes a checkpoint, by default the newest that is usable, with the app and the log
behind it into one file, which eventflux replay --from runs anywhere.`,
		Example: `  eventflux checkpoint export Flights -o flights.efx
  eventflux replay --from flights.efx --digest`,
		Args: oneOrTwoArgs("APP", "EPOCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("-o FILE is missing")
			}
			r, err := checkpointRequest(args)
			if err != nil {
				return err
			}
			var done *export.Summary
			err = a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
				done, err = exportTo(ctx, nc, file, export.Options{App: r.App, Epoch: r.Epoch, Version: readVersion().semver()})
				return err
			})
			if err != nil {
				return err
			}
			return a.show(cmd, done, func(w io.Writer) {
				fmt.Fprintf(w, "%s: checkpoint %d of %s, %d objects, %d frames, %s\n", file, done.Checkpoint, done.App, done.Objects, done.Frames, bytesText(done.Bytes))
			})
		},
	}, time.Hour)
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write")
	return cmd
}

// exportTo writes a file that is complete, or none.
func exportTo(ctx context.Context, nc *nats.Conn, file string, opt export.Options) (*export.Summary, error) {
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name()) // unless it was renamed
	done, err := export.Write(ctx, nc, temp, opt)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return nil, err
	}
	return done, os.Rename(temp.Name(), file)
}
