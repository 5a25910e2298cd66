// Package cli is the command line of eventflux: its commands, and how they start the services in
// one process. A program that imports its own windows, functions or aggregators and calls Main is
// eventflux with those built in; see examples/custom.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/shared/ops/secret"
)

// Exit codes of every command.
const (
	exitOK     = 0
	exitFailed = 1 // it was tried and failed
	exitUsage  = 2 // nothing was tried: the command line or a setting is wrong
)

// Main runs the command line of the process, and exits with its exit code.
func Main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute runs the command line without the program's name. It returns the exit code.
func execute(args []string, in io.Reader, out, errOut io.Writer) int {
	out, errOut = terminal.For(out), terminal.For(errOut)
	defer flush(out, errOut)
	started := false
	root := newRootCommand(func() { started = true })
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	cmd, err := root.ExecuteC()
	if err == nil {
		return exitOK
	}
	var reported reportedError
	if !errors.As(err, &reported) {
		fmt.Fprintf(errOut, "eventflux: %v\n", secret.Error(err))
	}
	var usage usageError
	if started && !errors.As(err, &usage) {
		return exitFailed
	}
	fmt.Fprintf(errOut, "Run '%s --help' to see how it is used.\n", cmd.CommandPath())
	return exitUsage
}

// flush writes what terminal writers have kept back.
func flush(writers ...io.Writer) {
	for _, w := range writers {
		if w, ok := w.(*terminal.Writer); ok {
			_ = w.Flush() // the terminal is gone, so there is nowhere to report it
		}
	}
}

// interruptible returns a context that SIGINT and SIGTERM cancel, for commands that shut down
// cleanly. A second signal kills the process. Commands that do not use it are killed by the first
// one.
func interruptible(cmd *cobra.Command) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from now on, signals have their default effect
	return ctx, stop
}

// usageError is a wrong command line or setting.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// reportedError is an error that is already on the error output.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }
