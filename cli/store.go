package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

func newStoreCommand() *cobra.Command {
	return newGroup("store", "Move checkpoints between stores", newStoreCopyCommand())
}

const (
	switchTimeout  = 5 * time.Minute
	copyWorkers    = 4
	copyPauseShort = 100 * time.Millisecond
)

func newStoreCopyCommand() *cobra.Command {
	var apps []string
	var follow, change bool
	var every time.Duration
	var a asking
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy the checkpoints of apps to another store, and verify the copy",
		Long: `Copies the checkpoints of all apps, or of those that --app names, from one store to another.
Both are URLs as in store.url. Each checkpoint is read back and verified before it counts in
the other store. The apps may keep running. A later copy continues where this one ended, and
with --follow, it copies each new checkpoint until it is interrupted. Nothing else may write to
the other store.

With --switch, the cluster uses the other store from then on, without a restart: after the copy,
the checkpointers copy what is new, and every process changes to the other store. If a process
cannot reach it, nothing changes. docs/stores.md has the steps.`,
		Example: `  eventflux store copy file:data/checkpoints s3://my-bucket/eventflux?region=eu-central-1 --switch
  eventflux store copy redis://127.0.0.1:6379/0 azblob://my-container/eventflux?account=myaccount --app Flights --follow`,
		Args: exactArgs("FROM", "TO"),
		RunE: func(cmd *cobra.Command, args []string) error {
			for i, name := range []string{"FROM", "TO"} {
				if err := stores.Check(args[i]); err != nil {
					return usagef("%s %w", name, err)
				}
			}
			if args[0] == args[1] {
				return usagef("FROM and TO are the same store")
			}
			switch {
			case change && (follow || len(apps) > 0):
				return usagef("--switch moves all apps after one copy; --follow and --app do not go with it")
			case change:
				if err := control.CheckSwitchURL(args[1]); err != nil {
					return usagef("TO %w", err)
				}
			}
			if every < copyPauseShort {
				return usagef("--every is %s, and the least is %s", every, copyPauseShort)
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			err := copyStores(ctx, cmd.OutOrStdout(), args[0], args[1], apps, follow, every)
			if err != nil && !errors.Is(err, errNoCheckpoints) || !change {
				return err
			}
			_, err = ask(cmd, &a, control.VerbSwitch, control.SwitchRequest{URL: args[1]}, printSwitched)
			return err
		},
	}
	cmd.Flags().StringSliceVar(&apps, "app", nil, "an app whose checkpoints are copied; can be repeated (default: all)")
	cmd.Flags().BoolVar(&follow, "follow", false, "continue until interrupted, and copy each new checkpoint")
	cmd.Flags().BoolVar(&change, "switch", false, "make the cluster use the store TO from then on")
	addServerFlags(cmd.Flags(), &a.server, &a.wait)
	cmd.Flags().DurationVar(&a.timeout, "timeout", switchTimeout, "with --switch: how long the checkpointers may take")
	a.once = true
	cmd.Flags().DurationVar(&every, "every", 5*time.Second, "with --follow: how often to look for new checkpoints")
	return cmd
}

var errNoCheckpoints = errors.New("the store FROM has no checkpoints")

func copyStores(ctx context.Context, w io.Writer, fromURL, toURL string, apps []string, follow bool, every time.Duration) (err error) {
	quiet := slog.New(slog.DiscardHandler)
	if err := stores.Exists(fromURL); err != nil {
		return fmt.Errorf("FROM: %w", err)
	}
	from, err := stores.Open(ctx, fromURL, quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := stores.Open(ctx, toURL, quiet)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	waits := copyWaits{w: w, every: every, said: map[string]string{}}
	for {
		names := apps
		if len(names) == 0 {
			names, err = appsIn(ctx, from)
			if follow && ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
		}
		if len(names) == 0 && !follow {
			return errNoCheckpoints
		}
		if len(names) == 0 {
			waits.say("", "the store FROM has no checkpoints yet: waiting for the first one")
		}
		for _, name := range names {
			done, err := (&checkpoint.Copier{From: from, To: to, App: name, Workers: copyWorkers}).Copy(ctx)
			switch {
			case follow && ctx.Err() != nil:
				return nil
			case follow && errors.Is(err, checkpoint.ErrReplaced):
				continue // the next look finds another state
			case follow && errors.Is(err, checkpoint.ErrNoCheckpoint):
				there, err := appsIn(ctx, from)
				if err != nil && ctx.Err() == nil {
					return err
				}
				waits.say(name, fmt.Sprintf("app %s: the store FROM has no checkpoint of it: waiting for the first one%s", name, others(there)))
				continue
			}
			if err != nil {
				return fmt.Errorf("app %s: %w", name, err)
			}
			if !follow || done.Checkpoints > 0 {
				fmt.Fprintf(w, "app %s: %d checkpoints copied and verified, with %d objects, %d bytes; the newest is %d\n", name, done.Checkpoints, done.Objects, done.Bytes, done.Newest)
			}
			if follow {
				waits.say(name, fmt.Sprintf("app %s: the copy is up to date: waiting for new checkpoints", name))
			}
		}
		if !follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// printSwitched says which store the cluster uses, and which settings still name another one.
func printSwitched(w io.Writer, s *control.Switched) {
	fmt.Fprintf(w, "the cluster uses %s from now on\n", s.URL)
	for i := range s.Processes {
		p := &s.Processes[i]
		switch {
		case p.Number < s.Number:
			fmt.Fprintf(w, "%s: it still uses %s, and its checkpoints are aborted until it follows\n", p.Name(), p.URL)
		case p.Setting != s.URL:
			fmt.Fprintf(w, "%s: change its setting store.url from %s\n", p.Name(), p.Setting)
		}
	}
}

// copyWaits says what a copy that follows waits for: once, until it waits for something else.
type copyWaits struct {
	w     io.Writer
	every time.Duration
	said  map[string]string // by app
}

func (c *copyWaits) say(app, text string) {
	if c.said[app] != text {
		c.said[app] = text
		fmt.Fprintf(c.w, "%s; looking every %s until interrupted\n", text, c.every)
	}
}

// others names the apps that a store has, for somebody who has mistyped one.
func others(apps []string) string {
	if len(apps) == 0 {
		return "; it has no other app, either"
	}
	return "; it has checkpoints of " + strings.Join(apps, ", ")
}

// appsIn returns the apps that have checkpoints in a store.
func appsIn(ctx context.Context, s store.Store) (names []string, err error) {
	err = s.List(ctx, "apps/", func(o store.Object) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(o.Name, "apps/"), "/")
		if _, ok := checkpoint.EpochOf(o.Name); ok && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	})
	slices.Sort(names)
	return names, err
}
