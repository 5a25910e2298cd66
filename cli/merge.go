package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/log/forks"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// mergeFlags are the flags of checkpoint merge.
type mergeFlags struct {
	text, base, strategy, store, to string
	take                            map[string]string
	samples                         int
	dryRun, json                    bool
}

func newCheckpointMergeCommand() *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge A B --base E --text FILE --strategy STRATEGY --to URL",
		Short: "Merge the checkpoints of two forks of an app",
		Long: `Merges two checkpoints, A and B, of forks of an app, by comparing both with the checkpoint E
that they come from. What only one fork has changed is taken from it. If both have changed a
row of a table, a group or a partition key, and differ, the strategy decides:

  last-write-wins      the change of the newer epoch; of equal epochs, the one of B
  first-write-wins     the change of the older epoch; of equal epochs, the one of A
  timestamp-priority   the change in the newer checkpoint of the two

The state of the winner counts as it is: two sums are not added. Windows, patterns and tables
without a primary key have no keys. If both forks have changed one, the command refuses, names
it, and --take decides. docs/stores.md has the rules.

A checkpoint is an EPOCH in the store that --store names, or URL#EPOCH in another store, or the
newest in the store URL. FILE has the text of the app. The result is written to the store in
--to, which must have no checkpoint of the app; eventflux app deploy --from starts the app from
it. --dry-run only reports. All state must fit into memory.`,
		Example: `  eventflux checkpoint merge file:a#57 file:b#63 --base file:a#41 --text flights.siddhi --strategy last-write-wins --to file:merged
  eventflux checkpoint merge 57 63 --base 41 --store file:data/checkpoints --text flights.siddhi --strategy timestamp-priority --take busiest/window=A --dry-run`,
		Args: exactArgs("A", "B"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd)
			defer stop()
			return f.run(ctx, cmd, args)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.base, "base", "", "the checkpoint that both forks come from")
	fs.StringVar(&f.text, "text", "", "file with the text of the app")
	fs.StringVar(&f.strategy, "strategy", "", "who wins a conflict: last-write-wins, first-write-wins or timestamp-priority")
	fs.StringVar(&f.store, "store", "", "URL of the store of checkpoints that are given by epoch alone")
	fs.StringVar(&f.to, "to", "", "URL of the store that gets the result")
	fs.StringToStringVar(&f.take, "take", nil, "take a component, and those that belong to it, whole from one fork: COMPONENT=A or COMPONENT=B")
	fs.IntVar(&f.samples, "samples", 5, "how many conflicts of a component are shown")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only report what a merge would do")
	fs.BoolVar(&f.json, "json", false, "print JSON")
	return cmd
}

func (f *mergeFlags) run(ctx context.Context, cmd *cobra.Command, args []string) (err error) {
	for _, flag := range []struct{ name, value string }{{"base", f.base}, {"text", f.text}, {"strategy", f.strategy}} {
		if flag.value == "" {
			return usagef("--%s is missing", flag.name)
		}
	}
	opt := forks.Options{Take: f.take, Samples: f.samples, Workers: copyWorkers}
	if opt.Strategy, err = checkpoint.ParseStrategy(f.strategy); err != nil {
		return usagef("--strategy: %w", err)
	}
	if err := checkLimit(f.samples); err != nil {
		return usagef("--samples is not negative")
	}
	if (f.to == "") != f.dryRun {
		return usagef("give --to URL for the result, or --dry-run for the report alone")
	}
	refs := make([]reference, 3)
	for i, text := range []string{f.base, args[0], args[1]} {
		if refs[i], err = parseReference(text); err != nil {
			return err
		}
		if refs[i].url == "" && f.store == "" {
			return usagef("--store is missing: checkpoint %s is given by its epoch alone", text)
		}
	}
	known, err := loadKnownApp(cmd, f.text)
	if err != nil {
		return err
	}
	opt.Plan = known.plan
	open := opened{}
	defer func() { err = errors.Join(err, open.close()) }()
	for i, fork := range []*forks.Fork{&opt.Base, &opt.A, &opt.B} {
		fork.Name = refs[i].shown()
		if fork.Store, fork.Manifest, err = open.find(ctx, refs[i], f.store, opt.Plan.Name); err != nil {
			return err
		}
	}
	if !f.dryRun {
		if opt.To, err = f.target(ctx, open, opt.Plan.Name); err != nil {
			return err
		}
	}
	report, err := forks.Merge(ctx, opt)
	if report == nil {
		return err
	}
	if f.json {
		return errors.Join(printJSON(cmd.OutOrStdout(), report), err)
	}
	printMerged(cmd.OutOrStdout(), report)
	if err == nil && !f.dryRun {
		fmt.Fprintf(cmd.OutOrStdout(), "checkpoint %d of app %s is written; eventflux app deploy %s --from URL#%[1]d starts the app from it\n", report.Epoch, report.App, f.text)
	}
	return err
}

// target opens the store of the result.
func (f *mergeFlags) target(ctx context.Context, open opened, app string) (store.Store, error) {
	to, err := open.open(ctx, f.to, true)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	head, err := to.Head(ctx, app)
	if err == nil && head.Epoch > 0 {
		err = usagef("--to: the store has checkpoint %d of app %s; write the result to another folder, bucket or prefix, so that no cluster is disturbed", head.Epoch, app)
	}
	return to, err
}

// loadKnownApp reads a text that is deployed somewhere.
func loadKnownApp(cmd *cobra.Command, file string) (app, error) {
	apps, refused := loadKnownApps(cmd.ErrOrStderr(), []string{file})
	if len(apps) == 0 {
		return app{}, refused
	}
	return apps[0], nil
}

func printMerged(w io.Writer, r *forks.Report) {
	for _, side := range []struct {
		name string
		forks.Ref
	}{{"base", r.Base}, {"A", r.A}, {"B", r.B}} {
		fmt.Fprintf(w, "%s: checkpoint %s, epoch %d, generation %d, %s\n", side.name, side.Name, side.Epoch, side.Generation, side.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "COMPONENT\tMERGED BY\tONLY A\tONLY B\tEQUAL\tDIFFERENT\tFROM A\tFROM B\tCONFLICTS\tA WON\tB WON")
	for _, c := range r.Components {
		by := string(c.Rule)
		switch {
		case c.From != "":
			by = "all of " + c.From
		case c.Key != "":
			by = c.Key
		}
		fmt.Fprintf(t, "%d/%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", c.Partition, c.ID, by, c.OnlyA, c.OnlyB, c.Equal, c.Different, c.FromA, c.FromB, c.Conflicts, c.WonA, c.WonB)
	}
	_ = t.Flush()
	for _, c := range r.Components {
		for _, x := range c.Samples {
			fmt.Fprintf(w, "%d/%s %s: A has %s, B has %s; %s won\n", c.Partition, c.ID, x.Item, orNone(x.A), orNone(x.B), x.Won)
		}
		if more := c.Conflicts - len(c.Samples); more > 0 && len(c.Samples) > 0 {
			fmt.Fprintf(w, "%d/%s: %d conflicts in all; --samples N shows more\n", c.Partition, c.ID, c.Conflicts)
		}
	}
}
