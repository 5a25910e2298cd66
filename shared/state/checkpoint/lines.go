package checkpoint

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Line is a line of history of a component, such as a fork's: a chain, oldest first.
type Line struct {
	Runs []Run
	// Time is the time of the whole line, for TimestampPriority: the Time of the manifest
	// that the chain is from. If entries have a time, only their component can read it.
	Time time.Time
}

// Strategy decides between lines of history that have different entries under a key, or if
// one of them deleted it. Entries that are in only one line, or the same in all, are no
// conflict. If a strategy finds no difference, the later line in the list wins; with
// FirstWriteWins, the earlier one.
//
// A line knows of a deletion while it has the delta of the deletion. A fold removes the
// entry and the deletion, and then the line does not know the key.
type Strategy int

// The strategies.
const (
	// LastWriteWins takes the change of the newest epoch.
	LastWriteWins Strategy = iota + 1
	// FirstWriteWins takes the change of the oldest epoch.
	FirstWriteWins
	// TimestampPriority takes the change of the line with the latest Time.
	TimestampPriority
)

// String returns the strategy's name.
func (s Strategy) String() string {
	switch s {
	case LastWriteWins:
		return "LastWriteWins"
	case FirstWriteWins:
		return "FirstWriteWins"
	case TimestampPriority:
		return "TimestampPriority"
	}
	return fmt.Sprintf("Strategy(%d)", int(s))
}

// MergeLines merges lines of history into one run, in bounded memory, as MergeRuns
// does. Inside a line newer epochs win, and a contradiction is a *CorruptError; between
// lines the strategy decides.
func MergeLines(ctx context.Context, s store.Store, opt WriterOptions, lines []Line, strategy Strategy) (Run, error) {
	order, err := strategy.order(lines)
	if err != nil {
		return Run{}, err
	}
	choose := func(versions []version) version { return slices.MaxFunc(versions, order) }
	return mergeInto(ctx, s, opt, merging{lines: lines, choose: choose})
}

// order compares versions: the largest one wins.
func (s Strategy) order(lines []Line) (func(a, b version) int, error) {
	byLine := func(a, b version) int { return cmp.Compare(a.line, b.line) }
	byEpoch := func(a, b version) int { return cmp.Or(cmp.Compare(a.epoch, b.epoch), byLine(a, b)) }
	switch s {
	case LastWriteWins:
		return byEpoch, nil
	case FirstWriteWins:
		return func(a, b version) int { return -byEpoch(a, b) }, nil
	case TimestampPriority:
		return func(a, b version) int {
			return cmp.Or(lines[a.line].Time.Compare(lines[b.line].Time), byLine(a, b))
		}, nil
	}
	return nil, fmt.Errorf("%w: %s is no strategy for lines of history", state.ErrInvalid, s)
}
