package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRootCommand builds the tree of commands. onStart is called once the command line is parsed,
// before the command runs.
func newRootCommand(onStart func()) *cobra.Command {
	root := &cobra.Command{
		Use:   "eventflux",
		Short: "Stateful, exactly-once stream processing on NATS",
		Long: `EventFlux runs apps written in SiddhiQL: events are published to NATS subjects,
and results are read from NATS subjects.`,
		SilenceUsage:     true,
		SilenceErrors:    true, // execute prints them
		PersistentPreRun: func(*cobra.Command, []string) { onStart() },
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		newRunCommand(),
		newServeCommand(),
		newAppCommand(),
		newCheckpointCommand(),
		newRecoverCommand(),
		newCheckpointerCommand(),
		newStateCommand(),
		newStoreCommand(),
		newReplayCommand(),
		newPublishCommand(),
		newSubscribeCommand(),
		newDoctorCommand(),
		newDebugCommand(),
		newHealthCommand(),
		newCertsCommand(),
		newConfigCommand(),
		newVersionCommand(),
	)
	return root
}

// newGroup returns a command that only holds subcommands.
func newGroup(use, short string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			var names []string
			for _, c := range cmd.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			known := strings.Join(names, ", ")
			if len(args) == 0 {
				return usagef("%q needs one of: %s", cmd.CommandPath(), known)
			}
			return usagef("unknown command %q for %q; it has: %s", args[0], cmd.CommandPath(), known)
		},
	}
	group.AddCommand(commands...)
	return group
}

// exactArgs names the expected arguments if their number is wrong.
func exactArgs(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) > 0 && len(names) == 0 {
			return fmt.Errorf("takes no arguments, and has %q", args[0])
		}
		if len(args) != len(names) {
			return fmt.Errorf("needs %s; the number of arguments is %d", strings.Join(names, " and "), len(args))
		}
		return nil
	}
}

// someArgs is exactArgs for one or more arguments of the same kind.
func someArgs(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("needs at least one %s", name)
		}
		return nil
	}
}
