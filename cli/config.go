package cli

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/shared/ops/config"
)

func newConfigCommand() *cobra.Command {
	return newGroup("config", "Look at the configuration", newConfigPrintCommand())
}

func newConfigPrintCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print every setting, its value and where that comes from",
		Long: `Prints the configuration that a command would use with the same file,
environment and flags: defaults < YAML file (--config or EVENTFLUX_CONFIG) <
environment (EVENTFLUX_WAL_DURABILITY) < flags (--wal.durability). The output is a
configuration file itself.`,
		Args: exactArgs(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			if !asJSON {
				return c.WriteYAML(cmd.OutOrStdout())
			}
			return printJSON(cmd.OutOrStdout(), c.Settings())
		},
	}
	config.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// loadConfig reads the configuration for cmd, which must have the flags of config.AddFlags. A wrong
// setting is a usage error.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	c, err := config.Load(cmd.Flags(), os.Environ())
	if err != nil {
		return nil, usagef("the configuration is refused:\n%w", err)
	}
	return c, nil
}
