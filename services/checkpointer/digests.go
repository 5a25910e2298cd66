package checkpointer

import (
	"context"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// digests compares the state of a standby at a barrier with the checkpoint that was cut
// there, once the epoch is decided.
func (s *Service) digests(ctx context.Context, l *leader, r *control.DigestsRequest) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	ctx, done := l.waits.add(ctx, waitKey{control.VerbDigests, slot{r.App, r.Partition}})
	defer done()
	answer := control.DigestsAnswer{Different: []string{}}
	for {
		a, err := s.cfg.FSM.known(r.App)
		if err != nil {
			return nil, err
		}
		o, decided := a.outcome(r.Epoch)
		if decided && !o.Committed || a.Generation != r.Generation {
			return answer, nil
		}
		if decided {
			break
		}
		select {
		case <-l.done:
			return nil, failure(control.CodeUnavailable, "the leader changed; ask again")
		default:
		}
		if !pauseFor(ctx, placeEvery) {
			return nil, ctx.Err()
		}
	}
	k, err := s.cfg.FSM.ref(&control.CheckpointRequest{App: r.App, Epoch: r.Epoch})
	if control.Code(err) == control.CodeNotFound {
		return answer, nil // the checkpoint was retired while this waited
	}
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, k.Manifest, k.Digest)
	if err != nil {
		return nil, err
	}
	if int(r.Partition) >= len(m.Partitions) {
		return nil, failure(control.CodeInvalid, "app %s has no partition %d", r.App, r.Partition)
	}
	for _, c := range m.Partitions[r.Partition].Components {
		if have, ok := r.Digests[c.ID]; !ok || have != c.Digest {
			answer.Different = append(answer.Different, c.ID)
		}
	}
	slices.Sort(answer.Different)
	if len(answer.Different) > 0 {
		l.log.Error("a standby has other state than the checkpoint", "app", r.App, "partition", r.Partition, "epoch", r.Epoch, "components", answer.Different)
	}
	return answer, nil
}
