package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/control"
)

func newCheckpointerCommand() *cobra.Command {
	return newGroup("checkpointer", "The group of checkpointers: members and leader",
		newCheckpointerStatusCommand(), newCheckpointerAddCommand(), newCheckpointerRemoveCommand(), newCheckpointerTransferCommand())
}

func printStatus(w io.Writer, s *control.Status) {
	fmt.Fprintf(w, "%s says: leader %s, term %d, index %d\n", s.ID, s.Leader, s.Term, s.Commit)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MEMBER\tADDRESS\tROLE")
	for _, p := range s.Peers {
		role := "voter"
		switch {
		case p.ID == s.Leader:
			role = "leader"
		case !p.Voter:
			role = "learner"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.ID, p.Address, role)
	}
	_ = t.Flush()
}

func newCheckpointerStatusCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "status", Short: "Show the members of the group and who leads", Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := ask(cmd, &a, control.VerbStatus, nil, printStatus)
			return err
		},
	}, 10*time.Second)
}

func newCheckpointerAddCommand() *cobra.Command {
	var a asking
	var learner bool
	cmd := a.add(&cobra.Command{
		Use: "add ID=HOST:PORT", Short: "Add a member to the group, or change its address",
		Long: `Adds a member to the group. Start it first with an empty data folder, its own raft.id
and raft.listen, and raft.peers of the whole group: it copies the log from the others. The
command refuses a change that would leave the group without a majority that answers.`,
		Example: `  eventflux checkpointer add c4=10.0.0.4:7000`,
		Args:    exactArgs("ID=HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, address, ok := strings.Cut(args[0], "=")
			if !ok || id == "" || address == "" {
				return usagef("%q is not of the form ID=HOST:PORT", args[0])
			}
			r := control.MembersRequest{Add: &control.Peer{ID: id, Address: address, Voter: !learner}}
			_, err := ask(cmd, &a, control.VerbMembers, r, printStatus)
			return err
		},
	}, 30*time.Second)
	cmd.Flags().BoolVar(&learner, "learner", false, "the member gets the log but has no vote")
	return cmd
}

func newCheckpointerRemoveCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "remove ID", Short: "Remove a member from the group",
		Long: `Removes a member from the group. Then stop its process: it cannot answer requests any
more, and delays the clients that ask it.`,
		Args: exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, err := ask(cmd, &a, control.VerbMembers, control.MembersRequest{Remove: args[0]}, printStatus)
			return err
		},
	}, 30*time.Second)
}

func newCheckpointerTransferCommand() *cobra.Command {
	var a asking
	return a.add(&cobra.Command{
		Use: "transfer [ID]", Short: "Hand the leadership to another member", Args: upToArgs(0, "ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var r control.TransferRequest
			if len(args) > 0 {
				r.To = args[0]
			}
			_, err := ask(cmd, &a, control.VerbTransfer, r, printStatus)
			return err
		},
	}, 30*time.Second)
}
