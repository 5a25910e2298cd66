package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/cli/export"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
)

// shadowing runs the next version of a deployed app beside it.
type shadowing struct {
	server endpoint
	wait   time.Duration
	json   bool
	drop   bool
	follow bool
	every  time.Duration
	from   string

	text string
	mu   sync.Mutex // guards pairs and logs while they run
	done shadowed
	runs []*shadowRun
}

// shadowed is what the shadow of an app tells.
type shadowed struct {
	Checkpoint state.Epoch       `json:"checkpoint"` // where the change is made; 0: at the start of the log
	Changes    *engine.Migration `json:"changes"`
	Behind     uint64            `json:"behind"` // frames of the log that are not compared yet
	shadow.Report
}

// shadowRun is one partition.
type shadowRun struct {
	pair *shadow.Pair
	log  *wal.Reader
	end  uint64 // of the log at the start
}

func newAppShadowCommand() *cobra.Command {
	s := &shadowing{}
	cmd := &cobra.Command{
		Use: "shadow FILE", Short: "Compare the results of a deployed app with those of a next version",
		Long: `Runs the text in FILE beside the app that it names, in this process: from a checkpoint and
the log after it, with the app as it is, and with the app changed to FILE right after the
checkpoint. It compares the results of each stream by cause, the event or the timer that
they follow from. Nothing is published, and the deployed app does not change.
It ends at the present end of the log, with code 0 if all results are equal and with 1
otherwise. With --follow it goes on until it is interrupted.`,
		Example: `  eventflux app shadow examples/flights.siddhi
  eventflux app shadow examples/flights.siddhi --follow --every 1m`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	addServerFlags(f, &s.server, &s.wait)
	f.BoolVar(&s.json, "json", false, "print JSON; with --follow a line for each report")
	f.BoolVar(&s.drop, "drop", false, "give up the state that cannot go on")
	f.BoolVar(&s.follow, "follow", false, "go on after the end of the log")
	f.DurationVar(&s.every, "every", 10*time.Second, "how often --follow prints a report")
	f.StringVar(&s.from, "from", "", "epoch of the checkpoint to start from (default the newest)")
	return cmd
}

func (s *shadowing) run(cmd *cobra.Command, file string) error {
	apps, err := loadApps(cmd.ErrOrStderr(), []string{file})
	if err != nil {
		return err
	}
	if err := checkNames(apps); err != nil {
		return err
	}
	if s.every <= 0 {
		return usagef("--every %s: want a time above 0", s.every)
	}
	name, epoch := apps[0].plan.Name, state.Epoch(0)
	if s.from != "" {
		if epoch, err = epochArgument(s.from, name); err != nil {
			return err
		}
	}
	s.text = apps[0].text
	err = connected(cmd, s.server, s.wait, func(ctx context.Context, nc *nats.Conn) error {
		defer s.close()
		if err := s.open(ctx, nc, name, epoch); err != nil {
			return err
		}
		if !s.json {
			fmt.Fprint(cmd.OutOrStdout(), s.done.Changes)
		}
		return s.compare(ctx, cmd.OutOrStdout())
	})
	if errors.Is(err, engine.ErrRefused) && s.done.Changes != nil && !s.json {
		fmt.Fprint(cmd.OutOrStdout(), s.done.Changes)
	}
	if err == nil && s.done.Differs() {
		return fmt.Errorf("the results of the two versions differ")
	}
	return withDrop(s.done.Changes, err)
}

// open loads each partition twice, and opens its log.
func (s *shadowing) open(ctx context.Context, nc *nats.Conn, app string, epoch state.Epoch) error {
	source, err := export.Open(ctx, nc, app, epoch)
	if err != nil {
		return err
	}
	s.done.Checkpoint = source.Plan.Checkpoint
	for p, at := range source.Plan.Partitions {
		log, err := source.Log(ctx, uint32(p))
		if err != nil {
			return err
		}
		run := &shadowRun{log: log, end: at.LogEnd}
		s.runs = append(s.runs, run)
		old, err := source.Task(ctx, uint32(p))
		if err != nil {
			return err
		}
		copied, err := source.Task(ctx, uint32(p))
		if err != nil {
			return err
		}
		pair, m, err := shadow.NewPair(shadow.NewComparer(app), p, old, copied, s.text, engine.MigrateOptions{Drop: s.drop})
		if s.done.Changes == nil {
			s.done.Changes = m
		}
		if err != nil {
			return err
		}
		run.pair = pair
	}
	return nil
}

// compare follows the logs, and prints reports.
func (s *shadowing) compare(ctx context.Context, out io.Writer) error {
	group, within := errgroup.WithContext(ctx)
	for _, run := range s.runs {
		group.Go(func() error { return s.follows(within, run) })
	}
	ended := make(chan error, 1)
	go func() { ended <- group.Wait() }()
	var tick <-chan time.Time
	if s.follow {
		t := time.NewTicker(s.every)
		defer t.Stop()
		tick = t.C
	}
	for {
		select {
		case err := <-ended:
			if err != nil {
				return err
			}
			for _, run := range s.runs {
				run.pair.Close()
			}
			return s.print(out)
		case <-tick:
			if err := s.print(out); err != nil {
				return err
			}
		}
	}
}

// follows applies the log of a partition up to its present end, or until ctx ends.
func (s *shadowing) follows(ctx context.Context, run *shadowRun) error {
	defer context.AfterFunc(ctx, run.pair.Old.Core.Interrupt)()
	defer context.AfterFunc(ctx, run.pair.New.Core.Interrupt)()
	for s.follow || run.log.Position() <= run.end {
		record, err := run.log.Next(ctx)
		if err == nil {
			s.mu.Lock()
			err = run.pair.Step(record)
			s.mu.Unlock()
		}
		if ctx.Err() != nil && s.follow {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// print prints a report.
func (s *shadowing) print(out io.Writer) error {
	s.mu.Lock()
	var reports []shadow.Report
	s.done.Behind = 0
	for _, run := range s.runs {
		reports = append(reports, run.pair.Report())
		if at := run.pair.Old.Position().Sequence; run.log.Tail() > at {
			s.done.Behind += run.log.Tail() - at
		}
	}
	s.mu.Unlock()
	s.done.Report = shadow.Merge(reports...)
	switch {
	case s.json && s.follow:
		return printLine(out, &s.done)
	case s.json:
		return printJSON(out, &s.done)
	}
	if err := s.done.Print(out); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "from checkpoint %d, %d frames behind\n", s.done.Checkpoint, s.done.Behind)
	return err
}

func (s *shadowing) close() {
	for _, run := range s.runs {
		run.log.Close()
	}
}
