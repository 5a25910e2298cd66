package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

func newStateCommand() *cobra.Command {
	return newGroup("state", "Look at the state of an app", newStateListCommand(), newStateGetCommand())
}

func newStateListCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "ls APP", Short: "List the components of an app and their sizes, as of the newest checkpoint",
		Args: exactArgs("APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbCheckpoint, control.CheckpointRequest{App: args[0]}, func(w io.Writer, m *checkpoint.Manifest) {
				for i := range m.Partitions {
					fmt.Fprintf(w, "partition %d as of checkpoint %d\n", i, m.Epoch)
					printComponents(w, &m.Partitions[i])
				}
			})
			return err
		},
	}, 10*time.Second)
}

func newStateGetCommand() *cobra.Command {
	var a asking
	var r recovery.StateRequest
	var at string
	cmd := a.add(&cobra.Command{
		Use: "get COMPONENT [APP]", Short: "Show what is in a window, an aggregate, a pattern or another component",
		Long: `Shows the content of a component: the rows of a window, the groups of an aggregate, by
default as of the end of the log, or as of an instant. Of a pattern it shows the partial
matches: their events so far, what they wait for, and until when. It is rebuilt from a checkpoint and
the log, without disturbing the running app. Attributes that no query needs are not kept.`,
		Example: `  eventflux state get airport/aggregate --key DTW
  eventflux state get unpaid/pattern Shop
  eventflux state get airport/window Flights --at 2026-03-01T12:00:00Z --json`,
		Args: upToArgs(1, "COMPONENT", "APP"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkLimit(r.Limit); err != nil {
				return err
			}
			r.Component, r.At, r.App = args[0], recovery.At(at), argument(args, 1)
			_, err := askRecovery(cmd, &a, recovery.VerbState, &r.App, &r, func(w io.Writer, s *recovery.State) { printState(w, s, r.Key) })
			return err
		},
	}, 10*time.Minute)
	f := cmd.Flags()
	f.StringVar(&r.Key, "key", "", "only the item of this key, as the list has it")
	f.StringVar(&at, "at", "", "instant (RFC 3339 or ms), seq:N or seq:N.EVENT in the log of each partition, or a result as Ef-Position has it")
	f.IntVar(&r.Limit, "limit", 0, "maximum number of items; 0 for 1,000")
	return cmd
}

// patternTypes is the start of the types of components with partial matches.
const patternTypes = "pattern/"

func printState(w io.Writer, s *recovery.State, key string) {
	for _, p := range s.Partitions {
		fmt.Fprintf(w, "%s in partition %d at %s, clock %d: %d entries, digest %s\n", s.Component, p.Partition, p.At, p.Clock, p.Entries, p.Digest)
		for _, i := range p.Items {
			if strings.HasPrefix(s.Type, patternTypes) && printMatch(w, i) {
				continue
			}
			fmt.Fprintf(w, "%s\t%s\n", i.Key, i.Value)
		}
		if key != "" && len(p.Items) == 0 {
			fmt.Fprintf(w, "nothing has the key %s\n", key)
		}
		if p.More {
			fmt.Fprintln(w, "and more; --limit N shows them, --key K one of them")
		}
	}
}
