package merging

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// tiny is a component with one entry. It changes seldom, so that packs live long for its sake.
type tiny struct {
	value  string
	stored string // in runs, which are of the newest checkpoint that its task knows of
	runs   []checkpoint.Run
}

func (y *tiny) entries() []state.Entry {
	return []state.Entry{{Key: []byte("tiny"), Value: []byte(y.value)}}
}

func (y *tiny) component() checkpoint.Component {
	return checkpoint.Component{ID: "tiny", Type: "tiny", Version: "1.0.0", Digest: state.DigestOf(y.entries()), Runs: y.runs}
}

// store stores the component as of an epoch, if it changed or its runs are gone.
func (y *tiny) store(ctx context.Context, s store.Store, epoch state.Epoch, whole bool) (tiny, error) {
	next := *y
	if y.value == y.stored && !whole && len(y.runs) > 0 {
		return next, nil
	}
	next.stored = y.value
	e := next.entries()[0]
	run, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: epoch}, []state.Change{{Key: e.Key, Value: e.Value}})
	next.runs = []checkpoint.Run{run}
	return next, err
}

func restoreTiny(ctx context.Context, s store.Store, c *checkpoint.Component) (tiny, error) {
	entries, err := checkpoint.LoadChain(ctx, s, c.Runs, 1)
	if err != nil || len(entries) != 1 {
		return tiny{}, fmt.Errorf("%d entries: %w", len(entries), err)
	}
	value := string(entries[0].Value)
	return tiny{value, value, c.Runs}, nil
}
