package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/replay"
	"github.com/eventflux/eventflux/shared/lang/engine"
)

// compared is what replay --compare asks for.
type compared struct {
	file    string
	compare bool
	drop    bool
	json    bool
}

func (c *compared) any() bool { return c.compare || c.file != "" || c.drop || c.json }

// run compares the results of an export with those of another version of its app.
func (c *compared) run(cmd *cobra.Command, from string, opt replay.Options) error {
	switch {
	case !c.compare:
		return usagef("--app, --drop and --json go with --compare")
	case c.file == "":
		return usagef("--app NEW.siddhi is missing: the version to compare with")
	}
	apps, err := loadApps(cmd.ErrOrStderr(), []string{c.file})
	if err != nil {
		return err
	}
	ctx, stop := interruptible(cmd)
	defer stop()
	done, err := replay.CompareExport(ctx, from, apps[0].text, engine.MigrateOptions{Drop: c.drop}, opt)
	if done != nil && done.Changes != nil && !c.json {
		fmt.Fprint(cmd.OutOrStdout(), done.Changes)
	}
	if err != nil {
		var changes *engine.Migration
		if done != nil {
			changes = done.Changes
		}
		return withDrop(changes, err)
	}
	if c.json {
		err = printJSON(cmd.OutOrStdout(), done)
	} else {
		err = done.Print(cmd.OutOrStdout())
	}
	if err == nil && done.Differs() {
		return fmt.Errorf("the results of the two versions differ")
	}
	return err
}

// withDrop adds to a refusal that --drop helps, if only components were refused.
func withDrop(changes *engine.Migration, err error) error {
	if !errors.Is(err, engine.ErrRefused) || changes == nil || len(changes.Refusals) > 0 {
		return err
	}
	return fmt.Errorf("%w; --drop compares without the state that cannot go on", err)
}
