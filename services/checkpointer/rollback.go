package checkpointer

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/state"
)

const (
	rolledBackWithin = 2 * time.Second // if the store is unavailable, another leader cannot check either
	headsAtOnce      = 16
)

// checkRollback returns an error if the store has a checkpoint that Raft never opened. Then
// the Raft folders of this member and of a majority are older copies, and later decisions,
// such as generations and commits, are unknown.
func (st *startup) checkRollback(ctx context.Context) error {
	for {
		older := st.unknownCheckpoint(ctx)
		if older == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		// A leader that was replaced does not know what its successor has opened.
		if st.cfg.Raft.VerifyLeader(ctx) == nil {
			return fmt.Errorf("the Raft folder %s is older than the store: %w; %s", st.cfg.Raft.Dir(), older, consensus.WayOut)
		}
		if !pauseFor(ctx, projectRetry) {
			return ctx.Err()
		}
	}
}

// unknownCheckpoint names a checkpoint in the store that Raft does not know.
func (st *startup) unknownCheckpoint(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rolledBackWithin)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(headsAtOnce)
	for _, a := range st.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		group.Go(func() error {
			head, err := st.cfg.Store.Head(ctx, a.Name)
			if err != nil {
				st.log.Warn("it is not known whether the store has checkpoints that Raft does not know", "app", a.Name, "err", err)
				return nil
			}
			if known := st.cfg.FSM.app(a.Name); known == nil || state.Epoch(head.Epoch) <= known.Newest {
				return nil
			}
			return fmt.Errorf("the store has checkpoint %d of app %s, and Raft knows none after %d", head.Epoch, a.Name, a.Newest)
		})
	}
	return group.Wait()
}
