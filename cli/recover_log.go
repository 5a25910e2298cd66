package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
)

// recoverLogs repairs the files of a data folder whose process is not running.
func recoverLogs(cmd *cobra.Command, a *asking, acceptLoss bool) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	report, err := node.RecoverLogs(cfg, acceptLoss)
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
	for i := range found {
		if found[i].Lost() && !found[i].Accepted {
			fmt.Fprintf(w, "a task that needs a missing sequence halts; restore the files from a copy, or go on without what is lost: eventflux recover --log --accept-loss --data %s\n", data)
			return
		}
	}
	fmt.Fprintln(w, "the next start of eventflux goes on with the streams as they are now")
}
