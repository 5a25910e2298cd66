package checkpointer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// committer writes manifests into the store and commits them in Raft. It also makes sure that
// the store belongs to this cluster and refuses former leaders.
type committer struct {
	*leadership
	references *references
	claimed    atomic.Bool // the store is known to belong to this cluster
	opened     sync.Map    // opened, by app
}

// claim marks the store as owned by this cluster, before anything in it changes. If it
// belongs to another cluster, the service ends with that error.
func (cm *committer) claim(ctx context.Context) error {
	claimer, ok := store.As[store.Claimer](cm.cfg.Store)
	if !ok || cm.claimed.Load() {
		return nil
	}
	if err := cm.name(ctx); err != nil {
		return err
	}
	err := claimer.Claim(ctx, cm.cfg.FSM.cluster())
	if errors.Is(err, store.ErrForeign) {
		select {
		case cm.foreign <- err:
		default: // the service is ending already
		}
	}
	cm.claimed.Store(err == nil)
	return err
}

// name gives the cluster a name, unless it has one.
func (cm *committer) name(ctx context.Context) error {
	if cm.cfg.FSM.cluster() != "" {
		return nil
	}
	_, err := cm.propose(ctx, &command{Kind: kindName, Cluster: rand.Text()})
	return err
}

// fence makes the store refuse former leaders.
func (cm *committer) fence(ctx context.Context, app string) {
	err := cm.claim(ctx)
	if err == nil {
		err = cm.cfg.Store.Commit(ctx, store.Commit{App: app, Term: uint64(cm.termOf(app))})
	}
	if err != nil && ctx.Err() == nil {
		cm.log.Warn("the store does not have this term yet; the next checkpoint writes it", "app", app, "err", err)
	}
}

// storeManifest writes the manifest of an epoch that all tasks have prepared. The checkpoint
// does not exist until the commit in Raft.
func (cm *committer) storeManifest(ctx context.Context, app string, e effect) error {
	a := cm.cfg.FSM.app(app)
	if a == nil || a.Open == nil || a.Open.Epoch != e.epoch {
		return errors.New("the epoch is not open")
	}
	if err := cm.cfg.Raft.VerifyLeader(ctx); err != nil {
		return err
	}
	m := &checkpoint.Manifest{
		App: app, Plan: a.versions()[0].Plan, Generation: a.Generation, Epoch: e.epoch, Term: cm.termOf(app), Time: a.Open.Time.UTC(),
	}
	for _, p := range e.parts {
		m.Partitions = append(m.Partitions, *p)
	}
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := cm.references.check(ctx, a, m); err != nil {
		return err
	}
	var objects []string
	if err = checkpoint.CheckWritten(ctx, cm.cfg.Store, m); err == nil {
		objects, err = cm.references.objects(ctx, m)
	}
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return fmt.Errorf("%w; if other processors' checkpoints are sound, compare the store.url of the one that runs the partition with the checkpointers': a processor with another store puts its state where no checkpointer finds it", err)
	}
	if err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ManifestBefore)
	err = cm.commitToStore(ctx, store.Commit{
		App: app, Term: uint64(cm.termOf(app)), Epoch: uint64(e.epoch), Name: checkpoint.ManifestName(app, e.epoch),
		Manifest: data, Objects: objects,
	})
	faultpoint.Reach(faultpoint.ManifestDone)
	return err
}

// putManifest writes a manifest that refers to the given objects into the store.
func (cm *committer) putManifest(ctx context.Context, m *checkpoint.Manifest, objects []string) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return cm.commitToStore(ctx, store.Commit{
		App: m.App, Term: uint64(m.Term), Epoch: uint64(m.Epoch), Name: checkpoint.ManifestName(m.App, m.Epoch),
		Manifest: data, Objects: objects,
	})
}

// commitToStore puts a manifest into the store. If the app was removed at the same time, it
// deletes the manifest again: the removal has not seen it, and sweeps would keep it, because
// the manifest of an unknown app may come from a lost cluster.
func (cm *committer) commitToStore(ctx context.Context, c store.Commit) error {
	if err := cm.claim(ctx); err != nil {
		return err
	}
	err := cm.cfg.Store.Commit(ctx, c)
	if err == nil && cm.cfg.FSM.gone(c.App) {
		return errors.Join(removed(c.App), cm.cfg.Store.Delete(ctx, c.Name, time.Time{}))
	}
	return err
}

func removed(app string) error {
	return failure(control.CodeNotFound, "app %q was removed", app)
}

// commit commits the checkpoint in Raft, with the manifest that is in the store.
func (cm *committer) commit(ctx context.Context, app string, epoch state.Epoch) error {
	if a := cm.cfg.FSM.app(app); a != nil {
		if o, known := a.outcome(epoch); known && o.Committed {
			return nil // committed before: the answer was lost, and the manifest may even be replaced by now
		}
	}
	name := checkpoint.ManifestName(app, epoch)
	data, err := cm.cfg.Store.Get(ctx, name)
	if err != nil {
		return err
	}
	m, err := checkpoint.DecodeManifest(name, data)
	if err != nil {
		return err
	}
	k := cm.record(m, name, data)
	k.Milliseconds = float64(cm.took(app, m).Microseconds()) / 1000
	faultpoint.Reach(faultpoint.CommitBefore)
	_, err = cm.propose(ctx, &command{Kind: kindCommit, App: app, Epoch: epoch, Commit: k})
	faultpoint.Reach(faultpoint.CommitDone)
	return err
}

// record returns what Raft stores about a manifest.
func (cm *committer) record(m *checkpoint.Manifest, name string, data []byte) *committed {
	k := &committed{CheckpointRef: control.CheckpointRef{
		Generation: m.Generation, Epoch: m.Epoch, Term: cm.termOf(m.App), Time: m.Time, Manifest: name, Digest: checkpoint.SHA256(data),
	}, Held: m.Hold}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		k.Barriers = append(k.Barriers, p.Log.Sequence)
		if len(cm.versionsOf(m.App)) > 1 || p.Version > 0 {
			version, _ := m.VersionOf(uint32(i))
			k.Versions = append(k.Versions, version)
		}
		for _, c := range p.Components {
			for _, r := range c.Runs {
				k.StateBytes += r.RawBytes
				k.Stored += r.Bytes
				if r.Epoch == m.Epoch {
					k.Bytes += r.Bytes
				}
			}
		}
	}
	k.Bytes += int64(len(data))
	return k
}

func (cm *committer) versionsOf(app string) []control.Version {
	if a := cm.cfg.FSM.app(app); a != nil {
		return a.Versions
	}
	return nil
}

// opened is an epoch that this leader opened, and when.
type opened struct {
	epoch state.Epoch
	at    time.Time
}

// took returns how long a checkpoint took. If another leader opened it, that compares the
// clocks of two machines.
func (cm *committer) took(app string, m *checkpoint.Manifest) time.Duration {
	if o, ok := cm.opened.Load(app); ok && o.(opened).epoch == m.Epoch {
		return time.Since(o.(opened).at)
	}
	return max(0, cm.cfg.Now().Sub(m.Time))
}

// look finds out whether the store has the manifest of an epoch that a former leader opened.
func (cm *committer) look(ctx context.Context, app string, epoch state.Epoch) message {
	for {
		_, err := checkpoint.ReadManifest(ctx, cm.cfg.Store, checkpoint.ManifestName(app, epoch), "")
		if err == nil || errors.Is(err, checkpoint.ErrCorrupt) {
			return message{kind: msgFound, found: err == nil}
		}
		cm.log.Warn("look for the manifest of a former leader; trying again", "app", app, "epoch", epoch, "err", err)
		if !pauseFor(ctx, effectRetry) {
			return message{kind: msgFound}
		}
	}
}
