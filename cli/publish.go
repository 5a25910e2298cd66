package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/publish"
	"github.com/eventflux/eventflux/cli/terminal"
)

func newPublishCommand() *cobra.Command {
	var server endpoint
	var subject string
	var wait time.Duration
	opt := publish.Options{}
	cmd := &cobra.Command{
		Use:   "publish STREAM FILE|-",
		Short: "Publish events from a file to a stream",
		Long: `Publishes a file of JSON events, one to a line, and waits for the acknowledgement
of each. An event without an acknowledgement is sent again with the same message id, so
that it counts once. It may then arrive after later events, unless --in-flight is 1.
With --id-prefix the whole command may be repeated within the server's dedup.window.`,
		Example: `  eventflux publish Flights examples/data/flights.ndjson --ts time --rate 50`,
		Args:    exactArgs("STREAM", "FILE (or -)"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opt.Subject = subject; subject == "" {
				if opt.Subject, err = publish.Subject(args[0]); err != nil {
					return usageError{err}
				}
			}
			if err := checkPublish(opt); err != nil {
				return err
			}
			return publishFile(cmd, args[1], server, wait, opt)
		},
	}
	f := cmd.Flags()
	addServerFlags(f, &server, &wait)
	f.StringVar(&subject, "subject", "", "subject of the stream's @source (default events.STREAM)")
	f.IntVar(&opt.Batch, "batch", 1, "events in a message")
	f.IntVar(&opt.InFlight, "in-flight", 4096, "messages that wait for their acknowledgement")
	f.Float64Var(&opt.Rate, "rate", 0, "events per second (default as fast as they are accepted)")
	f.DurationVar(&opt.Timeout, "timeout", 30*time.Second, "how long an event is repeated until it counts as failed")
	f.StringVar(&opt.IDPrefix, "id-prefix", "", "start of the message ids, the line number being the rest (default unique to this run)")
	f.StringVar(&opt.IDAttr, "msg-id", "", "attribute that has the message id")
	f.StringVar(&opt.TimeAttr, "ts", "", "attribute that has the event's own time, ms or RFC 3339")
	f.BoolVar(&opt.Chunk, "chunk", false, "the events of a message arrive as one chunk")
	return cmd
}

func checkPublish(opt publish.Options) error {
	switch {
	case opt.Batch < 1 || opt.InFlight < 1:
		return usagef("--batch and --in-flight are at least 1")
	case opt.Rate < 0 || opt.Timeout <= 0:
		return usagef("--rate is not negative, and --timeout is more than 0")
	case opt.Batch > 1 && (opt.IDAttr != "" || opt.TimeAttr != ""):
		return usagef("--msg-id and --ts are for messages of one event; leave --batch out")
	case opt.IDAttr != "" && opt.IDPrefix != "":
		return usagef("--msg-id and --id-prefix exclude each other")
	}
	return nil
}

func publishFile(cmd *cobra.Command, file string, server endpoint, wait time.Duration, opt publish.Options) error {
	name, in, err := openInput(cmd, file)
	if err != nil {
		return err
	}
	defer in.Close()
	ctx, stop := interruptible(cmd)
	defer stop()
	nc, err := connect(ctx, server, wait)
	if err != nil {
		return err
	}
	defer nc.Close()

	size := int64(0)
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
	}
	progress := newProgress(cmd.ErrOrStderr(), name, size)
	started := time.Now()
	result, err := publish.Run(ctx, nc, in, opt, progress)
	progress.close(err == nil)
	printResult(cmd, result, time.Since(started))
	switch {
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted; the events that are not counted may have arrived")
	case err != nil:
		return fmt.Errorf("publish %s: %w", name, err)
	case result.Refused > 0:
		return fmt.Errorf("%s of %s not accepted", terminal.Count(result.Refused, "event"), name)
	case result.Partly > 0:
		return fmt.Errorf("%s of %s not accepted by some of the apps that read them; the other apps have them", terminal.Count(result.Partly, "event"), name)
	}
	return nil
}

func printResult(cmd *cobra.Command, r publish.Result, took time.Duration) {
	text := fmt.Sprintf("accepted %d", r.Accepted)
	if r.Duplicate > 0 {
		text += fmt.Sprintf(" (%d of them published before)", r.Duplicate)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s, refused %d events in %s\n", text, r.Refused, took.Round(time.Millisecond))
}
