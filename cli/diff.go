package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/recovery"
)

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
			if err := checkLimit(r.Limit); err != nil {
				return err
			}
			r.App = argument(args, 2)
			_, err = askRecovery(cmd, &a, recovery.VerbDiff, &r.App, &r, printDiff)
			return err
		},
	}, 10*time.Minute)
	f := cmd.Flags()
	f.StringSliceVar(&r.Components, "components", nil, "only these components, such as query1/window, or query1 for all of a query's")
	f.StringVar(&r.Explain, "explain", "", "key of an item whose changes are explained by events")
	f.IntVar(&r.Limit, "limit", 0, "maximum number of changes per component, and of causes; 0 for 100")
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
