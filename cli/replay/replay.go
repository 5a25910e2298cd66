// Package replay runs apps offline: lines of events in, lines of rows out, without a server and
// with no clock but that in the lines. The same lines always give the same output. Package
// shared/lang/engine computes the rows.
package replay

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/eventflux/eventflux/cli/lines"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// Options are the options of Run.
type Options struct {
	// Dir is the directory where the files of next versions are found; "" for the current one.
	Dir string
	// Again opens the lines again, for an upgrade that builds state from those before it; nil if that
	// is not possible.
	Again func() (io.ReadCloser, error)
	// Stream makes every line a plain event of this stream, an object or an array of its values, at
	// the time in attribute TimeAttr. Without it, every line names its stream and time.
	Stream   string
	TimeAttr string
	// Until, if not nil, advances the time to this ms at the end.
	Until *int64
	// RestartEvery saves all state after so many event lines, drops the apps and restores them; 0
	// means never. The output does not change.
	RestartEvery int
	// Codec compresses saved state; the zero value chooses a codec for each component.
	Codec compress.Choice
	// Incremental saves changes as deltas on a base, and merges them every few steps.
	Incremental bool
	// Digests writes the digest of every component at the end.
	Digests bool
	// MemoryMax bounds the memory of the process while an export is replayed, in bytes.
	MemoryMax uint64
	// Live writes the output of each line before the next one is read.
	Live bool
	// Notes receives, at the end, notes on events that were not applied at their own time; nil for
	// none.
	Notes io.Writer
}

// LineError is a refused line. The lines before it have been applied, and their output has been
// written.
type LineError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *LineError) Unwrap() error { return e.Err }

// Run applies the lines of in, which errors refer to as name, and writes each row that a query
// emits as a line to out, app by app for each input line. It stops at the first wrong line with a
// *LineError.
func Run(plans []*siddhiql.Plan, name string, in io.Reader, out io.Writer, opt Options) error {
	w := bufio.NewWriterSize(out, 64<<10)
	p, err := newPlayer(plans, w, opt)
	if err != nil {
		return err
	}
	// Output written before an error stays: it belongs to the lines before.
	err = errors.Join(p.playAll(name, in, opt), w.Flush())
	if opt.Notes != nil {
		p.notes(opt.Notes)
	}
	return err
}

func (p *player) playAll(name string, in io.Reader, opt Options) error {
	input := lines.New(in)
	for input.Scan() {
		p.number = input.Number()
		if err := p.play(input.Text()); err != nil {
			return &LineError{File: name, Line: input.Number(), Err: err}
		}
		if opt.Live {
			if err := p.out.Flush(); err != nil {
				return fmt.Errorf("write the output: %w", err)
			}
		}
	}
	if err := input.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &LineError{File: name, Line: input.Number() + 1, Err: fmt.Errorf("is longer than %d MiB; split it", lines.BytesMax>>20)}
	} else if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if opt.Until != nil {
		if err := p.advance(*opt.Until); err != nil {
			return err
		}
	}
	if opt.Digests {
		return p.writeDigests()
	}
	return nil
}

// writeDigests writes a line for each component of each app.
func (p *player) writeDigests() error {
	enc := json.NewEncoder(p.out)
	for _, a := range p.apps {
		for _, h := range a.snapshots.holders.List() {
			info := h.Info()
			err := enc.Encode(digestLine{a.plan.Name, info.ID, info.Type, info.Version.String(), h.Digest()})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
