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

	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

func newStoreCommand() *cobra.Command {
	return newGroup("store", "Move checkpoints between stores", newStoreCopyCommand())
}

const (
	copyWorkers    = 4
	copyPauseShort = 100 * time.Millisecond
)

func newStoreCopyCommand() *cobra.Command {
	var apps []string
	var follow bool
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "copy FROM TO",
		Short: "Copy the checkpoints of apps to another store, and verify the copy",
		Long: `Copies the checkpoints of all apps, or of those that --app names, from one store to another.
Both are URLs as in store.url. Each checkpoint is read back and verified before it counts in
the other store. The apps may keep running. A later copy continues where this one ended, and
with --follow, it copies each new checkpoint until it is interrupted. Nothing else may write to
the other store. docs/stores.md has the steps to move a cluster to another store.`,
		Example: `  eventflux store copy file:data/checkpoints s3://my-bucket/eventflux?region=eu-central-1
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
			if every < copyPauseShort {
				return usagef("--every is %s, and the least is %s", every, copyPauseShort)
			}
			ctx, stop := interruptible(cmd)
			defer stop()
			return copyStores(ctx, cmd.OutOrStdout(), args[0], args[1], apps, follow, every)
		},
	}
	cmd.Flags().StringSliceVar(&apps, "app", nil, "an app whose checkpoints are copied; can be repeated (default: all)")
	cmd.Flags().BoolVar(&follow, "follow", false, "continue until interrupted, and copy each new checkpoint")
	cmd.Flags().DurationVar(&every, "every", 5*time.Second, "with --follow: how often to look for new checkpoints")
	return cmd
}

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
	for {
		names := apps
		if len(names) == 0 {
			if names, err = appsIn(ctx, from); err != nil {
				return err
			}
		}
		if len(names) == 0 && !follow {
			return errors.New("the store FROM has no checkpoints")
		}
		for _, name := range names {
			done, err := (&checkpoint.Copier{From: from, To: to, App: name, Workers: copyWorkers}).Copy(ctx)
			switch {
			case follow && ctx.Err() != nil:
				return nil
			case follow && (errors.Is(err, checkpoint.ErrNoCheckpoint) || errors.Is(err, checkpoint.ErrReplaced)):
				continue // the next look finds another state
			}
			if err != nil {
				return fmt.Errorf("app %s: %w", name, err)
			}
			if !follow || done.Checkpoints > 0 {
				fmt.Fprintf(w, "app %s: %d checkpoints copied and verified, with %d objects, %d bytes; the newest is %d\n", name, done.Checkpoints, done.Objects, done.Bytes, done.Newest)
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
