package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"eventflux/cmd/eventflux/replay"
	"eventflux/shared/compress"
	"eventflux/shared/siddhiql"
)

func newReplayCommand() *cobra.Command {
	var events string
	var until int64
	var opt replay.Options
	var codec string
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

with "event_ts" (ms, or a list) where an event's own timestamp is not its arrival.
With --stream and --ts every line is a plain event instead, such as eventflux
publish sends.`,
		Example: `  eventflux replay examples/flights.siddhi --events examples/data/flights.ndjson --stream Flights --ts time`,
		Args:    someArgs("APP.siddhi"),
		RunE: func(cmd *cobra.Command, files []string) error {
			switch {
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
			if cmd.Flags().Changed("until") {
				opt.Until = &until
			}
			return replayFiles(cmd, files, events, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&events, "events", "", "file with events, - for the standard input")
	f.Int64Var(&until, "until", 0, "let time pass to this ms at the end")
	f.StringVar(&opt.Stream, "stream", "", "lines are plain events of this stream")
	f.IntVar(&opt.RestartEvery, "restart-every", 0, "take all state out after so many event lines, drop the apps, put it back; the output does not change")
	f.StringVar(&codec, "codec", "auto", "how that state is compressed: none, lz4, snappy, zstd or auto")
	f.BoolVar(&opt.Incremental, "incremental", false, "take out changes behind a base, and merge them every few steps")
	f.BoolVar(&opt.Digests, "digest", false, "print the digest of each component's state at the end")
	f.StringVar(&opt.TimeAttr, "ts", "", "attribute of plain events that has their time (ms)")
	return cmd
}

func replayFiles(cmd *cobra.Command, files []string, events string, opt replay.Options) error {
	apps, err := loadApps(cmd.ErrOrStderr(), files)
	if err != nil {
		return err
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
	opt.Live = events == "-"
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
