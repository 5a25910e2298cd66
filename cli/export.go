package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/cli/export"
	"github.com/eventflux/eventflux/shared/ops/build"
)

func newCheckpointExportCommand() *cobra.Command {
	var a asking
	var file string
	cmd := a.add(&cobra.Command{
		Use: "export APP [EPOCH] -o FILE", Short: "Write a checkpoint and the log after it into one file",
		Long: `Writes a checkpoint, by default the newest usable one, with the app and the log after it
into one file. eventflux replay --from runs that file anywhere.`,
		Example: `  eventflux checkpoint export Flights -o flights.efx
  eventflux replay --from flights.efx --digest`,
		Args: upToArgs(1, "APP", "EPOCH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usagef("-o FILE is missing")
			}
			r, err := checkpointRequest(args)
			if err != nil {
				return err
			}
			var done *export.Summary
			err = a.connected(cmd, func(ctx context.Context, nc *nats.Conn) (err error) {
				done, err = exportTo(ctx, nc, file, export.Options{App: r.App, Epoch: r.Epoch, Version: build.Read().Semver()})
				return err
			})
			if err != nil {
				return err
			}
			return a.show(cmd, done, func(w io.Writer) {
				fmt.Fprintf(w, "%s: checkpoint %d of %s, %d objects, %d frames, %s\n", file, done.Checkpoint, done.App, done.Objects, done.Frames, bytesText(done.Bytes))
			})
		},
	}, time.Hour)
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write")
	return cmd
}

// exportTo writes either a complete file or none.
func exportTo(ctx context.Context, nc *nats.Conn, file string, opt export.Options) (*export.Summary, error) {
	temp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temp.Name()) // unless it was renamed
	done, err := export.Write(ctx, nc, temp, opt)
	if err == nil {
		err = temp.Sync()
	}
	if err := errors.Join(err, temp.Close()); err != nil {
		return nil, err
	}
	return done, os.Rename(temp.Name(), file)
}
