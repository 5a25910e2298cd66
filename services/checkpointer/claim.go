package checkpointer

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/eventflux/eventflux/shared/state/store"
)

// claim marks the store as owned by this cluster, before anything in it changes. If it
// belongs to another cluster, the service ends with that error.
func (l *leader) claim(ctx context.Context) error {
	claimer, ok := store.As[store.Claimer](l.s.cfg.Store)
	if !ok || l.claimed.Load() {
		return nil
	}
	name := l.s.cfg.FSM.cluster()
	if name == "" {
		if _, err := l.propose(ctx, &command{Kind: kindName, Cluster: rand.Text()}); err != nil {
			return err
		}
		name = l.s.cfg.FSM.cluster()
	}
	err := claimer.Claim(ctx, name)
	if errors.Is(err, store.ErrForeign) {
		select {
		case l.s.refused <- err:
		default: // the service is ending already
		}
	}
	l.claimed.Store(err == nil)
	return err
}

// cluster returns the name of the cluster; "" if it has none.
func (f *FSM) cluster() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data.Cluster
}
