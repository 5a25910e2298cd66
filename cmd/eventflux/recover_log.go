package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"eventflux/cmd/eventflux/node"
	"eventflux/shared/streamfiles"
)

// recoverLogs repairs the files of a data folder whose process does not run.
func recoverLogs(cmd *cobra.Command, a *asking) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	report, err := node.RecoverLogs(cfg)
	if err != nil {
		return err
	}
	found := append(report.Old, report.New...)
	return a.show(cmd, found, func(w io.Writer) { printDamage(w, cfg.Data, found) })
}

func printDamage(w io.Writer, data string, found []streamfiles.Finding) {
	for i := range found {
		fmt.Fprintln(w, found[i].String())
	}
	if len(found) == 0 {
		fmt.Fprintf(w, "the streams in %s are whole: nothing was changed\n", data)
		return
	}
	fmt.Fprintln(w, "the next start of eventflux goes on with the streams as they are now; a task that needs a missing sequence halts, and names it")
}
