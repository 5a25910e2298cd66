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

// ParseStrategy returns the strategy that a command names.
func ParseStrategy(name string) (Strategy, error) {
	switch name {
	case "last-write-wins":
		return LastWriteWins, nil
	case "first-write-wins":
		return FirstWriteWins, nil
	case "timestamp-priority":
		return TimestampPriority, nil
	}
	return 0, fmt.Errorf("%w: strategy %q is none of last-write-wins, first-write-wins and timestamp-priority", state.ErrInvalid, name)
}

// Written says when a line of history wrote what it has under a key.
type Written struct {
	Epoch state.Epoch // of the run that has it
	Time  time.Time   // of the line
	Line  int         // its place in the list of lines
}

// Compare compares what two lines have under a key: the larger one wins.
func (s Strategy) Compare(a, b Written) int {
	byLine := cmp.Compare(a.Line, b.Line)
	switch s {
	case FirstWriteWins:
		return -cmp.Or(cmp.Compare(a.Epoch, b.Epoch), byLine)
	case TimestampPriority:
		return cmp.Or(a.Time.Compare(b.Time), byLine)
	default:
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), byLine)
	}
}

// EachChange calls visit with the newest change of each key of a chain, deletions included, in
// the order of keys, and with the epoch of its run. visit owns the change.
func EachChange(ctx context.Context, s store.Store, chain []Run, visit func(state.Change, state.Epoch)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &line{runs: chain, taken: true}
	if err := l.open(ctx, s, nil, nil); err != nil {
		return err
	}
	for {
		head, err := l.head(ctx)
		if err != nil || head.Change == nil {
			return err
		}
		visit(*head.Change, head.epoch)
		l.taken = true
	}
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
	if s < LastWriteWins || s > TimestampPriority {
		return nil, fmt.Errorf("%w: %s is no strategy for lines of history", state.ErrInvalid, s)
	}
	written := func(v version) Written { return Written{v.epoch, lines[v.line].Time, v.line} }
	return func(a, b version) int { return s.Compare(written(a), written(b)) }, nil
}
