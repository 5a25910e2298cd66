package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

func newDebugCommand() *cobra.Command {
	return newGroup("debug", "Print what is on the disk, for people who debug EventFlux",
		newDebugFramesCommand(), newDebugFenceCommand(), newDebugRunCommand(), newDebugRaftCommand())
}

// newDebug returns a command that reads the data folder of the settings.
func newDebug(use, short, long string, args cobra.PositionalArgs, run func(cmd *cobra.Command, cfg *config.Config, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(cmd)
			if err != nil {
				return err
			}
			return run(cmd, cfg, args)
		},
	}
	config.AddFlags(cmd.Flags())
	return cmd
}

func newDebugFramesCommand() *cobra.Command {
	return newDebug("frames APP [PARTITION]", "Print the frames of a log, one line each",
		`Reads the log of a partition in the files of the embedded NATS server (--data), whether a
process runs or not, and prints a line for each frame and for each damaged range of bytes.
Nothing is changed.`, upToArgs(1, "APP", "PARTITION"),
		func(cmd *cobra.Command, cfg *config.Config, args []string) error {
			p, err := partitionArgument(args)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			var d frame.Decoder
			return eachMessage(cfg, natsconn.WALStream(args[0], p), w, func(m *streamfiles.Message) {
				fmt.Fprintf(w, "%d\t%s\t%s\n", m.Sequence, timeText(m.Time), frameText(&d, m.Data))
			})
		})
}

// frameText describes a frame in one line.
func frameText(d *frame.Decoder, data []byte) string {
	f, err := d.Decode(data)
	if err != nil {
		return fmt.Sprintf("no frame: %v (%d bytes)", err, len(data))
	}
	text := fmt.Sprintf("%s\twriter %x\tnumber %d\tstamp %d\tcrc %08x\tprev %08x\t%d bytes", f.Kind, f.Writer, f.Number, f.Stamp, f.CRC, f.Prev, len(data))
	switch f.Kind {
	case frame.Events:
		for i := range f.Blocks {
			b := f.Blocks[i].Batch
			text += fmt.Sprintf("\t%s %d", b.Schema.Name, b.Len())
		}
	case frame.Tick:
		if f.HasClock {
			text += fmt.Sprintf("\tclock %d", f.Clock)
		}
	case frame.Barrier:
		text += fmt.Sprintf("\tepoch %d\tterm %d\tid %x", f.Cut.Epoch, f.Cut.Term, f.Cut.ID)
	case frame.Deploy:
		text += fmt.Sprintf("\tversion %d\tlevel %d\tbuild %s\tsettings %s", f.Deploy.Number, f.Deploy.Level, f.Deploy.Build, f.Deploy.Settings)
	}
	return text
}

func newDebugFenceCommand() *cobra.Command {
	var results bool
	cmd := newDebug("fence APP [PARTITION]", "Print the fences of an output stream, one line each",
		`Reads the output stream of a partition in the files of the embedded NATS server (--data),
whether a process runs or not, and prints a line for each fence and for each damaged range
of bytes. Nothing is changed.`, upToArgs(1, "APP", "PARTITION"),
		func(cmd *cobra.Command, cfg *config.Config, args []string) error {
			p, err := partitionArgument(args)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			return eachMessage(cfg, natsconn.OutStream(args[0], p), w, func(m *streamfiles.Message) {
				isFence := m.Subject == natsconn.FenceSubject(args[0], p)
				if isFence || results {
					fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", m.Sequence, timeText(m.Time), m.Subject, outputText(m, isFence))
				}
			})
		})
	cmd.Flags().BoolVar(&results, "results", false, "print the results between the fences, too")
	return cmd
}

// outputText describes a message of an output stream in one line.
func outputText(m *streamfiles.Message, fence bool) string {
	if fence {
		if _, err := output.ParseFence(m.Data); err != nil {
			return fmt.Sprintf("no fence: %v", err)
		}
		return string(m.Data)
	}
	h, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return fmt.Sprintf("no headers: %v", err)
	}
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name+" "+strings.Join(h[name], ","))
	}
	slices.Sort(names)
	return fmt.Sprintf("%s\t%d bytes", strings.Join(names, "\t"), len(m.Data))
}

func eachMessage(cfg *config.Config, stream string, w io.Writer, print func(*streamfiles.Message)) error {
	return streamfiles.Messages(filepath.Join(cfg.Data, "nats"), stream, print, func(file string, from, to int, why string) {
		fmt.Fprintf(w, "damaged\t%s\tbytes %d to %d: %s\n", file, from, to, why)
	})
}

func newDebugRunCommand() *cobra.Command {
	var partition uint32
	cmd := newDebug("run APP EPOCH COMPONENT", "Print the runs of a component in a checkpoint, one line for each change",
		`Reads the manifest of a checkpoint and the runs of one component in the store (--store.url,
or the folder checkpoints of --data), and prints a line for each run and for each key that
it puts or deletes. The value is given by its size and its first bytes.`, exactArgs("APP", "EPOCH", "COMPONENT"),
		func(cmd *cobra.Command, cfg *config.Config, args []string) error {
			epoch, err := epochArgument(args[1], args[0])
			if err != nil {
				return err
			}
			return printRuns(cmd.Context(), cmd.OutOrStdout(), cfg, checkpoint.ManifestName(args[0], epoch), partition, args[2])
		})
	cmd.Flags().Uint32Var(&partition, "partition", 0, "the partition")
	return cmd
}

func printRuns(ctx context.Context, w io.Writer, cfg *config.Config, manifest string, partition uint32, component string) error {
	s, err := stores.Open(ctx, cfg.StoreURL(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := checkpoint.ReadManifest(ctx, s, manifest, "")
	if err != nil {
		return err
	}
	if int(partition) >= len(m.Partitions) {
		return fmt.Errorf("checkpoint %d of app %s has %d partitions, so none with number %d", m.Epoch, m.App, len(m.Partitions), partition)
	}
	components := m.Partitions[partition].Components
	i := slices.IndexFunc(components, func(c checkpoint.Component) bool { return c.ID == component })
	if i < 0 {
		var names []string
		for _, c := range components {
			names = append(names, c.ID)
		}
		return fmt.Errorf("checkpoint %d of app %s has no component %q; it has %s", m.Epoch, m.App, component, strings.Join(names, ", "))
	}
	for _, run := range components[i].Runs {
		where := ""
		if run.Pack != "" {
			where = fmt.Sprintf("\tat byte %d of %s", run.Offset, run.Object())
		}
		fmt.Fprintf(w, "%s\tepoch %d\t%s\t%d entries\t%d bytes\t%d stored\t%d blocks%s\n", run.Kind, run.Epoch, run.Name, run.Entries, run.RawBytes, run.Bytes, run.Blocks, where)
		err := checkpoint.ReadRun(ctx, s, &run, func(c state.Change) {
			if c.Deleted {
				fmt.Fprintf(w, "\tdelete\t%q\n", c.Key)
				return
			}
			fmt.Fprintf(w, "\tput\t%q\t%d bytes\t%x\n", c.Key, len(c.Value), c.Value[:min(len(c.Value), 32)])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func newDebugRaftCommand() *cobra.Command {
	return newDebug("raft", "Print the entries of Raft's log, one line each",
		`Reads raft/log.db in --data, which no process may use at that time, and prints a line for
each entry: index, term, time, type and content. Nothing is changed.`, exactArgs(),
		func(cmd *cobra.Command, cfg *config.Config, _ []string) error {
			w := cmd.OutOrStdout()
			return consensus.Entries(filepath.Join(cfg.Data, "raft", "log.db"), func(e consensus.Entry) {
				if e.Err != nil {
					fmt.Fprintf(w, "%d\tdamaged: %v\n", e.Index, e.Err)
					return
				}
				text := string(e.Data) // a command is JSON
				if e.Type != raft.LogCommand.String() {
					text = fmt.Sprintf("%q", e.Data)
				}
				fmt.Fprintf(w, "%d\tterm %d\t%s\t%s\t%s\n", e.Index, e.Term, timeText(e.Time), e.Type, text)
			})
		})
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// partitionArgument parses the second argument; the default is partition 0.
func partitionArgument(args []string) (uint32, error) {
	text := cmp.Or(argument(args, 1), "0")
	p, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0, usagef("%q is not the number of a partition, such as 0", text)
	}
	return uint32(p), nil
}
