package checkpointer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// leaseTime is how long a merger works before it has to ask again.
const leaseTime = 15 * time.Second

// lease says which merger is active. It is lost with the leadership: it only saves work, and
// correctness does not depend on it.
type lease struct {
	mu sync.Mutex
	control.Lease
}

func (s *Service) lease(_ context.Context, l *leader, r *control.LeaseRequest) (any, error) {
	if r.ID == "" {
		return nil, failure(control.CodeInvalid, "a lease for a merger without an id")
	}
	now := s.cfg.Now()
	l.lease.mu.Lock()
	defer l.lease.mu.Unlock()
	if l.lease.Holder == r.ID || !now.Before(l.lease.Expires) {
		l.lease.Holder, l.lease.Expires = r.ID, now.Add(cmp.Or(s.cfg.Lease, leaseTime))
	}
	return l.lease.Lease, nil
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
func (s *Service) live(ctx context.Context, l *leader, r *control.LiveRequest) (any, error) {
	answer := control.Live{Time: l.clock(), Apps: []control.LiveApp{}}
	if r.Sweep {
		if err := l.claim(ctx); err != nil {
			return nil, err
		}
		grace, slack := s.cfg.grace()
		before := answer.Time.Add(-grace)
		for _, a := range s.cfg.FSM.apps() {
			if a.Open != nil { // tasks have put objects for the epoch only after it was opened
				before = earliest(before, a.Open.Time.Add(-slack))
			}
		}
		// Call allow before reading the state: a swap that is no longer pending is in Raft then.
		answer.Before = l.sweeps.allow(before)
	}
	for _, a := range s.cfg.FSM.apps() {
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
	if err := s.cfg.Raft.VerifyLeader(ctx); err != nil {
		return nil, err
	}
	return answer, nil
}

// swap replaces a committed manifest with one that has shorter chains: first in the store,
// then in Raft, which decides.
func (s *Service) swap(ctx context.Context, l *leader, r *control.SwapRequest) (any, error) {
	l.swapping.Lock()
	defer l.swapping.Unlock()
	k, err := s.ref(&control.CheckpointRequest{App: r.App, Epoch: r.Epoch})
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
	_, slack := s.cfg.grace()
	end, ok := l.sweeps.startSwap(r.Begun.Add(-slack))
	if !ok {
		return nil, failure(control.CodeFenced, "a sweep may have deleted objects of the merge, which started at %s; merge again", r.Begun)
	}
	defer end()
	name := checkpoint.SwappedName(r.App, r.Epoch, digest)
	m, err := l.checkSwap(ctx, k, r, name)
	if err != nil {
		return nil, err
	}
	objects, err := l.objectsOf(ctx, m)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return nil, failure(control.CodeInvalid, "checkpoint %d of app %s is not replaced: %v", r.Epoch, r.App, err)
	}
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwapBefore)
	err = l.commitToStore(ctx, store.Commit{
		App: r.App, Term: uint64(l.termOf(r.App)), Epoch: uint64(r.Epoch), Name: name, Manifest: r.Manifest,
		Objects: objects, Replaces: k.Manifest,
	})
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwapStored)
	c := &command{Kind: kindSwap, App: r.App, Commit: l.record(m, name, r.Manifest), Replaces: r.Digest}
	// Sweeps keep the objects of the merge until the outcome is known.
	for {
		_, err := l.propose(ctx, c)
		if err == nil {
			break
		}
		var no *control.Error
		if errors.As(err, &no) || errors.Is(err, consensus.ErrNotLeader) || !l.pause(ctx) {
			return nil, err
		}
	}
	faultpoint.Reach(faultpoint.SwapDone)
	l.projectSoon()
	return c.Commit.CheckpointRef, nil
}

// pause waits a moment, and returns false if the leadership has ended.
func (l *leader) pause(ctx context.Context) bool {
	select {
	case <-l.done:
		return false
	default:
		return pauseFor(ctx, effectRetry)
	}
}

// checkSwap returns the new manifest, if it may replace the old one.
func (l *leader) checkSwap(ctx context.Context, k *committed, r *control.SwapRequest, name string) (*checkpoint.Manifest, error) {
	before, err := checkpoint.ReadManifest(ctx, l.s.cfg.Store, k.Manifest, k.Digest)
	if err != nil {
		return nil, err
	}
	after, err := checkpoint.DecodeManifest(name, r.Manifest)
	if err == nil {
		err = checkpoint.CheckSwap(before, after)
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "the manifest for checkpoint %d of app %s: %v", r.Epoch, r.App, err)
	}
	return after, nil
}

// errGone says that a task builds on runs that may already be deleted.
var errGone = errors.New("a task builds on a checkpoint that is gone")

// checkInherited refuses a manifest with a run from before its epoch that no manifest in
// Raft refers to: a sweep may delete that run at any time. Runs that Raft refers to now stay
// until the epoch is over.
func (l *leader) checkInherited(ctx context.Context, a *appState, m *checkpoint.Manifest) error {
	inherited := m.RunNames()
	for name, epoch := range inherited {
		if epoch == m.Epoch {
			delete(inherited, name) // put since the epoch was opened, so sweeps keep it
		}
	}
	err := l.dropReferred(ctx, a, inherited)
	for name := range inherited {
		if err == nil {
			err = fmt.Errorf("%w: run %s is in no checkpoint that is kept", errGone, name)
		}
	}
	return err
}

// useAgain puts the objects again that the manifest refers to and Raft does not. Its epoch
// is open, so sweeps keep them until the epoch is over.
func (l *leader) useAgain(ctx context.Context, a *appState, m *checkpoint.Manifest) error {
	strange := m.RunNames()
	if err := l.dropReferred(ctx, a, strange); err != nil {
		return err
	}
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				if _, is := strange[c.Runs[i].Name]; !is {
					continue
				}
				names, err := checkpoint.Objects(ctx, l.s.cfg.Store, &c.Runs[i])
				if err != nil {
					return err
				}
				for _, name := range names {
					data, err := l.s.cfg.Store.Get(ctx, name)
					if err == nil {
						err = l.s.cfg.Store.Put(ctx, name, data)
					}
					if err != nil && !errors.Is(err, store.ErrExists) {
						return err
					}
				}
			}
		}
	}
	return nil
}

// dropReferred drops the runs that a manifest in Raft refers to.
func (l *leader) dropReferred(ctx context.Context, a *appState, runs map[string]state.Epoch) error {
	var refs []control.CheckpointRef
	for _, k := range slices.Backward(a.Committed) {
		refs = append(refs, k.CheckpointRef)
	}
	for _, k := range a.Kept {
		refs = append(refs, k.CheckpointRef)
	}
	slices.SortStableFunc(refs, func(x, y control.CheckpointRef) int { return int(y.Epoch) - int(x.Epoch) })
	for _, ref := range refs { // usually the first one refers to all of them
		if len(runs) == 0 {
			return nil
		}
		old, err := checkpoint.ReadManifest(ctx, l.s.cfg.Store, ref.Manifest, ref.Digest)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			continue
		}
		if err != nil {
			return err
		}
		for name := range old.RunNames() {
			delete(runs, name)
		}
	}
	return nil
}

// projectSoon wakes projectCheckpoints.
func (l *leader) projectSoon() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// projectCheckpoints writes the newest checkpoint of each app into the bucket whenever
// it has changed, and deletes the checkpoints of apps that are gone.
func (l *leader) projectCheckpoints(ctx context.Context) {
	var sent map[string]uint64 // index by key; nil until the content of the bucket is known
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		}
		var err error
		if sent == nil {
			sent, err = l.projectedBefore(ctx)
		}
		if err == nil {
			err = l.projectNewest(ctx, sent)
		}
		if err != nil && ctx.Err() == nil {
			l.log.Debug("write the newest checkpoints into the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
			l.projectSoon()
		}
	}
}

// projectedBefore returns the keys of the checkpoints that are in the bucket. They need not
// be the newest.
func (l *leader) projectedBefore(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := l.s.js.KeyValue(ctx, natsconn.ClusterBucket)
	if err != nil {
		return nil, err
	}
	keys, err := bucket.ListKeysFiltered(ctx, control.CheckpointKey("*"))
	if err != nil {
		return nil, err
	}
	sent := map[string]uint64{}
	for key := range keys.Keys() {
		sent[key] = 0
	}
	return sent, ctx.Err()
}

func (l *leader) projectNewest(ctx context.Context, sent map[string]uint64) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := l.s.js.KeyValue(ctx, natsconn.ClusterBucket)
	if err != nil {
		return err
	}
	gone := maps.Clone(sent)
	for _, a := range l.s.cfg.FSM.apps() {
		key := control.CheckpointKey(a.Name)
		delete(gone, key)
		if len(a.Committed) == 0 {
			continue
		}
		k := &a.Committed[len(a.Committed)-1]
		if sent[key] == k.Index {
			continue
		}
		data, err := json.Marshal(control.ProjectedCheckpoint{App: a.Name, CheckpointRef: k.CheckpointRef, Index: k.Index})
		if err == nil {
			_, err = bucket.Put(ctx, key, data)
		}
		if err != nil {
			return err
		}
		sent[key] = k.Index
	}
	for key := range gone {
		if err := bucket.Delete(ctx, key); err != nil {
			return err
		}
		delete(sent, key)
	}
	return nil
}
