package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/replay"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state/compress"
)

func newReplayCommand() *cobra.Command {
	var events, from string
	var until int64
	var opt replay.Options
	var what compared
	var codec string
	memory := config.Size(replay.MemoryMaxDefault).String()
	cmd := &cobra.Command{
		Use:   "replay APP.siddhi… --events FILE|-",
		Short: "Run apps offline over events in a file",
		Long: `Runs apps without a server over lines of events and prints every row that a query
emits, in order. The lines' own times are the only clock, so the output is always
the same. A line is one of

  {"stream":"S","ts":1000,"data":[1,"a"]}          one event, or an object by name
  {"stream":"S","ts":1000,"rows":[[1,"a"],[2,"b"]]} events that arrive together
  {"ts":2000}                                      time passes
  {"op":"persist","ts":2000}                       the state is taken out and kept;
                                                   reset drops the apps with their
                                                   memory, restore loads what was kept
  {"op":"upgrade","app":"NEW.siddhi","ts":2000}    the app is changed to another text,
                                                   with its state; "drop":true, or a list
                                                   of components, gives state up;
                                                   "backfill":true builds new state from
                                                   the lines before. The path is relative
                                                   to the events file

with "event_ts" (ms, or a list) where an event's own time is not its arrival. An app on
arrival time takes an own time after the arrival as that of the arrival. In a playback
app "event_ts", or the attribute of @source(timestamp=), drives the clock, else "ts".
With --stream and --ts every line is a plain event instead, such as eventflux
publish sends.

With --from it runs a file that eventflux checkpoint export wrote: it starts with the
checkpoint, and the log after it has the events.

With --from, --app NEW.siddhi and --compare it shows what an upgrade would change: it runs
the export as it is, and again with the app changed to NEW.siddhi right after the
checkpoint, and compares the results of each stream by cause, the event or the timer that
they follow from. It ends with code 0 if all results are equal, and with 1 otherwise.`,
		Example: `  eventflux replay examples/flights.siddhi --events examples/data/flights.ndjson --stream Flights --ts time
  eventflux replay --from flights.efx --app examples/flights.siddhi --compare`,
		Args: func(cmd *cobra.Command, files []string) error {
			if from != "" {
				return exactArgs()(cmd, files)
			}
			return someArgs("APP.siddhi")(cmd, files)
		},
		RunE: func(cmd *cobra.Command, files []string) error {
			if cmd.Flags().Changed("until") {
				opt.Until = &until
			}
			if from != "" {
				size, err := config.ParseSize(memory)
				if err != nil {
					return usagef("--memory-max: %w", err)
				}
				opt.MemoryMax = uint64(size)
				return replayExport(cmd, from, opt, &what)
			}
			switch {
			case what.any():
				return usagef("--app, --compare, --drop and --json go with --from")
			case cmd.Flags().Changed("memory-max"):
				return usagef("--memory-max goes with --from")
			case events == "":
				return usagef("--events FILE is missing; --events - reads the standard input")
			case (opt.Stream == "") != (opt.TimeAttr == ""):
				return usagef("--stream NAME and --ts ATTRIBUTE go together")
			}
			if opt.RestartEvery < 0 {
				return usagef("--restart-every %d: expected a number of lines", opt.RestartEvery)
			}
			var err error
			if opt.Codec, err = compress.ParseChoice(codec); err != nil {
				return usagef("--codec: %w", err)
			}
			return replayFiles(cmd, files, events, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&events, "events", "", "file with events, - for the standard input")
	f.StringVar(&from, "from", "", "file that eventflux checkpoint export has written, instead of apps and events")
	f.Int64Var(&until, "until", 0, "let time pass to this ms at the end")
	f.StringVar(&opt.Stream, "stream", "", "lines are plain events of this stream")
	f.IntVar(&opt.RestartEvery, "restart-every", 0, "take all state out after so many event lines, drop the apps, put it back; the output does not change")
	f.StringVar(&codec, "codec", "auto", "how that state is compressed: none, lz4, snappy, zstd or auto")
	f.BoolVar(&opt.Incremental, "incremental", false, "save changes as deltas on a base, and merge them every few steps")
	f.BoolVar(&opt.Digests, "digest", false, "print the digest of each component's state at the end")
	f.StringVar(&memory, "memory-max", memory, "memory that --from may take: an export from elsewhere can be small and hold much")
	f.StringVar(&what.file, "app", "", "with --from: file with the next version of the app, for --compare")
	f.BoolVar(&what.compare, "compare", false, "with --from: compare the results of the exported app with those of --app")
	f.BoolVar(&what.drop, "drop", false, "with --compare: give up the state that cannot go on")
	f.BoolVar(&what.json, "json", false, "with --compare: print JSON")
	f.StringVar(&opt.TimeAttr, "ts", "", "attribute of plain events that has their time (ms)")
	return cmd
}

// replayExport replays a checkpoint and the log after it.
func replayExport(cmd *cobra.Command, file string, opt replay.Options, what *compared) error {
	for _, other := range []string{"events", "stream", "ts", "restart-every", "codec", "incremental"} {
		if cmd.Flags().Changed(other) {
			return usagef("--from and --%s do not go together", other)
		}
	}
	if what.any() {
		if cmd.Flags().Changed("digest") {
			return usagef("--compare and --digest do not go together")
		}
		return what.run(cmd, file, opt)
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	return replay.RunExport(ctx, file, cmd.OutOrStdout(), opt)
}

func replayFiles(cmd *cobra.Command, files []string, events string, opt replay.Options) error {
	apps, err := loadKnownApps(cmd.ErrOrStderr(), files)
	if apps == nil {
		return err
	}
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: a deploy refuses this, so it has no effect:\n%v\n", err)
	}
	var plans []*siddhiql.Plan
	for _, a := range apps {
		plans = append(plans, a.plan)
	}
	name, in, err := openInput(cmd, events)
	if err != nil {
		return err
	}
	defer in.Close()
	opt.Live, opt.Notes = events == "-", cmd.ErrOrStderr()
	if events != "-" {
		opt.Dir = filepath.Dir(events)
		opt.Again = func() (io.ReadCloser, error) { return os.Open(events) }
	}
	err = replay.Run(plans, name, in, cmd.OutOrStdout(), opt)
	var bad *replay.LineError
	if errors.As(err, &bad) {
		fmt.Fprintln(cmd.ErrOrStderr(), err)
		return reportedError{err}
	}
	return err
}

// openInput opens file for reading, or the standard input for "-". The name is
// for messages.
func openInput(cmd *cobra.Command, file string) (name string, in io.ReadCloser, err error) {
	if file == "-" {
		return "stdin", io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(file)
	return file, f, err
}
