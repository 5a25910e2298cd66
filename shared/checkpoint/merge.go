package checkpoint

import (
	"context"
	"errors"

	"eventflux/shared/state"
	"eventflux/shared/store"
)

const blocksAhead = 2 // of each run that is merged

// MergeRuns folds a chain, oldest first, into one run: of a key's changes the newest
// stays. Into a base deletions do not go. It streams, so that memory does not depend on
// the size of the state: a few blocks of each run.
func MergeRuns(ctx context.Context, s store.Store, opt WriterOptions, chain []Run) (Run, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	cursors := make([]*cursor, len(chain))
	for i := range chain {
		var err error
		if cursors[i], err = openCursor(reading, s, &chain[i], blocksAhead); err != nil {
			return Run{}, err
		}
	}
	w := NewWriter(ctx, s, opt)
	for {
		c, err := nextOf(reading, cursors)
		if err == nil && c == nil {
			return w.Finish()
		}
		if err == nil && (!c.Deleted || opt.Kind == Delta) {
			err = w.Add(c)
		}
		if err != nil {
			return Run{}, errors.Join(err, w.group.Wait())
		}
	}
}

// nextOf takes the change with the smallest key, the newest of those, and drops the
// older ones; nil at the end.
func nextOf(ctx context.Context, cursors []*cursor) (*state.Change, error) {
	var least *state.Change
	for _, c := range cursors { // chains are short, so no heap
		head, err := c.head(ctx)
		if err != nil {
			return nil, err
		}
		if head != nil && (least == nil || string(head.Key) <= string(least.Key)) {
			least = head
		}
	}
	if least == nil {
		return nil, nil
	}
	for _, c := range cursors {
		if len(c.block) > 0 && string(c.block[0].Key) == string(least.Key) {
			c.next()
		}
	}
	return least, nil
}
