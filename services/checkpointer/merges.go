package checkpointer

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// merges answers mergers: which of them works, what a sweep may delete, and whether shorter
// chains replace a checkpoint. It owns the lease and the pending swaps.
type merges struct {
	*leadership
	committer  *committer
	references *references
	projection *projection
	active     lease
	sweeps     sweeps
	swapping   sync.Mutex
	wall       time.Time // start of the leadership, by the machine's clock
	started    time.Time // the same instant, by the monotonic clock
}

func newMerges(base *leadership, c *committer, r *references, p *projection) *merges {
	grace, _ := base.cfg.grace()
	wall := base.cfg.Now().Round(0)
	return &merges{leadership: base, committer: c, references: r, projection: p, sweeps: newSweeps(wall.Add(-grace)), wall: wall, started: time.Now()}
}

// leaseTime is how long a merger works before it has to ask again.
const leaseTime = 15 * time.Second

// lease says which merger is active. It is lost with the leadership: it only saves work, and
// correctness does not depend on it.
type lease struct {
	mu sync.Mutex
	control.Lease
}

func (mg *merges) lease(_ context.Context, r *control.LeaseRequest) (any, error) {
	if r.ID == "" {
		return nil, failure(control.CodeInvalid, "a lease for a merger without an id")
	}
	now := mg.cfg.Now()
	mg.active.mu.Lock()
	defer mg.active.mu.Unlock()
	if mg.active.Holder == r.ID || !now.Before(mg.active.Expires) {
		mg.active.Holder, mg.active.Expires = r.ID, now.Add(cmp.Or(mg.cfg.Lease, leaseTime))
	}
	return mg.active.Lease, nil
}

// sweeps keeps sweeps from deleting objects of pending swaps. Nothing refers to the objects
// that a merge puts until its swap is in Raft. So
//
//   - a swap is refused if a sweep may already have deleted objects that were last used after
//     its merge started, and
//   - a sweep keeps objects that were used since the merge of a pending swap started.
//
// A former leader has allowed no later time than the start of this leadership.
type sweeps struct {
	mu      sync.Mutex
	allowed time.Time // sweeps may delete objects that were not used since then
	last    int
	started map[int]time.Time // when the merges of pending swaps started
}

func newSweeps(allowed time.Time) sweeps {
	return sweeps{allowed: allowed, started: map[int]time.Time{}}
}

// allow returns a time at or before before: a sweep may delete objects that were not used
// since then.
func (s *sweeps) allow(before time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.started {
		before = earliest(before, t)
	}
	if before.After(s.allowed) {
		s.allowed = before
	}
	return before
}

// startSwap registers a swap whose merge started at a time, or refuses it. The caller calls
// end when the swap is over.
func (s *sweeps) startSwap(merge time.Time) (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if merge.Before(s.allowed) {
		return nil, false
	}
	s.last++
	key := s.last
	s.started[key] = merge
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.started, key)
	}, true
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// live returns the manifests that are in use, and what a sweep may delete. It checks at the
// end that this member still leads: otherwise a former leader could let a sweep delete what
// its successor has committed.
func (mg *merges) live(ctx context.Context, r *control.LiveRequest) (any, error) {
	answer := control.Live{Time: mg.clock(), Apps: []control.LiveApp{}}
	if r.Sweep {
		if err := mg.committer.claim(ctx); err != nil {
			return nil, err
		}
		grace, slack := mg.cfg.grace()
		before := answer.Time.Add(-grace)
		for _, a := range mg.cfg.FSM.apps() {
			if a.Open != nil { // tasks have put objects for the epoch only after it was opened
				before = earliest(before, a.Open.Time.Add(-slack))
			}
		}
		// Call allow before reading the state: a swap that is no longer pending is in Raft then.
		answer.Before = mg.sweeps.allow(before)
	}
	for _, a := range mg.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		app := control.LiveApp{App: a.Name, Generation: a.Generation, Base: a.Base, Checkpoints: []control.CheckpointRef{}}
		for _, k := range slices.Backward(a.Committed) {
			app.Checkpoints = append(app.Checkpoints, k.CheckpointRef)
		}
		for _, k := range a.Kept {
			app.Kept = append(app.Kept, k.CheckpointRef)
		}
		answer.Apps = append(answer.Apps, app)
	}
	if err := mg.cfg.Raft.VerifyLeader(ctx); err != nil {
		return nil, err
	}
	return answer, nil
}

// swap replaces a committed manifest with one that has shorter chains: first in the store,
// then in Raft, which decides.
func (mg *merges) swap(ctx context.Context, r *control.SwapRequest) (any, error) {
	mg.swapping.Lock()
	defer mg.swapping.Unlock()
	k, err := mg.cfg.FSM.ref(&control.CheckpointRequest{App: r.App, Epoch: r.Epoch})
	if err != nil {
		return nil, err
	}
	digest := checkpoint.SHA256(r.Manifest)
	switch k.Digest {
	case digest:
		return k.CheckpointRef, nil
	case r.Digest:
	default:
		return nil, failure(control.CodeFenced, "checkpoint %d of app %s now has the manifest %s instead of %s", r.Epoch, r.App, k.Digest, r.Digest)
	}
	_, slack := mg.cfg.grace()
	end, ok := mg.sweeps.startSwap(r.Begun.Add(-slack))
	if !ok {
		return nil, failure(control.CodeFenced, "a sweep may have deleted objects of the merge, which started at %s; merge again", r.Begun)
	}
	defer end()
	name := checkpoint.SwappedName(r.App, r.Epoch, digest)
	m, err := mg.checkSwap(ctx, k, r, name)
	if err != nil {
		return nil, err
	}
	objects, err := mg.references.objects(ctx, m)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return nil, failure(control.CodeInvalid, "checkpoint %d of app %s is not replaced: %v", r.Epoch, r.App, err)
	}
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwapBefore)
	err = mg.committer.commitToStore(ctx, store.Commit{
		App: r.App, Term: uint64(mg.termOf(r.App)), Epoch: uint64(r.Epoch), Name: name, Manifest: r.Manifest,
		Objects: objects, Replaces: k.Manifest,
	})
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwapStored)
	c := &command{Kind: kindSwap, App: r.App, Commit: mg.committer.record(m, name, r.Manifest), Replaces: r.Digest}
	// Sweeps keep the objects of the merge until the outcome is known.
	if err := mg.decide(ctx, c); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwapDone)
	mg.projection.checkpointsSoon()
	return c.Commit.CheckpointRef, nil
}

// checkSwap returns the new manifest, if it may replace the old one.
func (mg *merges) checkSwap(ctx context.Context, k *committed, r *control.SwapRequest, name string) (*checkpoint.Manifest, error) {
	before, err := checkpoint.ReadManifest(ctx, mg.cfg.Store, k.Manifest, k.Digest)
	if err != nil {
		return nil, err
	}
	after, err := checkpoint.DecodeManifest(name, r.Manifest)
	if err == nil {
		err = checkpoint.CheckSwap(before, after)
	}
	if err == nil {
		if err = checkpoint.CheckNew(ctx, mg.cfg.Store, before, after); err != nil && !errors.Is(err, checkpoint.ErrCorrupt) {
			return nil, err
		}
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "the manifest for checkpoint %d of app %s: %v", r.Epoch, r.App, err)
	}
	return after, nil
}

// clock returns a time that never goes back, for events that only this leader orders. If
// the machine's clock were used and set back, all later merges would seem to have started
// before the last allowed sweep.
func (mg *merges) clock() time.Time { return mg.wall.Add(time.Since(mg.started)) }
