package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// switchWorkers is how many objects the leader copies at once.
const switchWorkers = 4

// storeSwitch makes the cluster use another store. It owns the switch in progress.
type storeSwitch struct {
	*leadership
	coordinators *coordinators
	committer    *committer
	projection   *projection
	processors   *processors
	switching    sync.Mutex
}

// switchStore makes the cluster use another store. The decision is one entry of Raft. Before it,
// every process has shown that it can use the store, and the store has all checkpoints that are
// retained; no checkpoint is in progress. So a failure at any step leaves either the former
// store or the new one in use, and both can start every app.
func (sw *storeSwitch) switchStore(ctx context.Context, r *control.SwitchRequest) (any, error) {
	sw.switching.Lock()
	defer sw.switching.Unlock()
	has := sw.cfg.FSM.store()
	if has == nil || has.URL != r.URL {
		var err error
		if has, err = sw.switchTo(ctx, r.URL); err != nil {
			return nil, err
		}
	}
	answer := control.Switched{Store: *has, Processes: []control.StoreReport{}}
	answer.Processes, _ = sw.askProcesses(ctx, &control.StoreRequest{Use: has}) // others follow the bucket
	faultpoint.Reach(faultpoint.SwitchTold)
	return answer, nil
}

func (sw *storeSwitch) switchTo(ctx context.Context, url string) (*control.Store, error) {
	to, err := sw.openNext(ctx, url)
	if err != nil {
		return nil, err
	}
	defer func() { _ = to.Close() }() // what was written to it is durable
	manifest, err := sw.copyAll(ctx, to)
	if err != nil {
		return nil, err
	}
	check := &control.StoreRequest{Check: url, Cluster: sw.cfg.FSM.cluster(), Manifest: manifest}
	if err := sw.checkProcesses(ctx, check); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwitchCopied)
	release, err := sw.pauseAll(ctx)
	defer release()
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwitchHeld)
	if _, err := sw.copyAll(ctx, to); err != nil {
		return nil, err
	}
	seen, err := sw.checkCopies(ctx, to)
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwitchBefore)
	next := &control.Store{Number: 1, URL: url, Time: sw.cfg.Now().UTC()}
	if has := sw.cfg.FSM.store(); has != nil {
		next.Number = has.Number + 1
	}
	if err := sw.decide(ctx, &command{Kind: kindStore, Store: next, Seen: seen}); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.SwitchDone)
	sw.log.Info("the cluster uses another store of checkpoints from now on", "store.url", url, "number", next.Number)
	for _, a := range sw.cfg.FSM.apps() {
		sw.committer.fence(ctx, a.Name)
	}
	if err := sw.projection.project(ctx); err != nil {
		sw.log.Warn("write the cluster's bucket", "err", err)
	}
	faultpoint.Reach(faultpoint.SwitchWritten)
	return next, nil
}

// openNext opens the store to switch to, and claims it for this cluster.
func (sw *storeSwitch) openNext(ctx context.Context, url string) (store.Store, error) {
	err := stores.Check(url)
	if err == nil {
		err = control.CheckSwitchURL(url)
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "the URL of the store %v", err)
	}
	if sw.cfg.OpenStore == nil {
		return nil, failure(control.CodeInvalid, "this checkpointer cannot switch to another store")
	}
	to, err := sw.cfg.OpenStore(ctx, url)
	if err != nil {
		return nil, failure(control.CodeInvalid, "the store is not switched: checkpointer %s cannot open the new one: %v", sw.cfg.Raft.ID(), err)
	}
	if claimer, ok := store.As[store.Claimer](to); ok {
		err = sw.committer.name(ctx)
		if err == nil {
			err = claimer.Claim(ctx, sw.cfg.FSM.cluster())
		}
		if errors.Is(err, store.ErrForeign) {
			err = failure(control.CodeInvalid, "the store is not switched: %v", err)
		}
	}
	if err != nil {
		return nil, errors.Join(err, to.Close())
	}
	return to, nil
}

// copyAll copies the checkpoints of all apps that the other store lacks. It returns the name of
// one manifest there; "" if there is none.
func (sw *storeSwitch) copyAll(ctx context.Context, to store.Store) (manifest string, err error) {
	for _, a := range sw.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		_, err := (&checkpoint.Copier{From: sw.cfg.Store, To: to, App: a.Name, Workers: switchWorkers}).Copy(ctx)
		if err != nil && !errors.Is(err, checkpoint.ErrNoCheckpoint) {
			return "", failure(control.CodeInvalid, "the store is not switched: copy app %s: %v", a.Name, err)
		}
		for _, k := range a.Committed {
			manifest = k.Manifest
		}
	}
	return manifest, nil
}

// checkCopies checks that the other store has every checkpoint that Raft refers to, and nothing
// that is newer. It returns the newest Raft index of the checkpoints and apps.
func (sw *storeSwitch) checkCopies(ctx context.Context, to store.Store) (seen uint64, err error) {
	for _, a := range sw.cfg.FSM.apps() {
		seen = max(seen, a.seen())
		if a.Removing {
			continue
		}
		head, err := to.Head(ctx, a.Name)
		if err != nil {
			return 0, err
		}
		if term := sw.termOf(a.Name); checkpoint.Term(head.Term) > term || head.Epoch > uint64(a.Newest) {
			return 0, failure(control.CodeInvalid, "the store is not switched: the new one has checkpoint %d of app %s with term %d, and the app is at checkpoint %d with term %d; choose another folder, bucket or prefix", head.Epoch, a.Name, head.Term, a.Newest, term)
		}
		refs := make([]control.CheckpointRef, 0, len(a.Committed)+len(a.Kept))
		for _, k := range a.Committed {
			refs = append(refs, k.CheckpointRef)
		}
		for _, k := range a.Kept {
			refs = append(refs, k.CheckpointRef)
		}
		for _, ref := range refs {
			if _, err := checkpoint.ReadManifest(ctx, to, ref.Manifest, ref.Digest); err != nil {
				return 0, failure(control.CodeUnavailable, "the store is not switched: checkpoint %d of app %s is not in the new one: %v", ref.Epoch, a.Name, err)
			}
		}
	}
	return seen, nil
}

// pauseAll waits until no checkpoint is in progress, and keeps new ones from being opened until
// the caller calls release.
func (sw *storeSwitch) pauseAll(ctx context.Context) (release func(), err error) {
	var held []string
	release = func() {
		for _, app := range held {
			sw.coordinators.goOn(app)
		}
	}
	for _, a := range sw.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		o, err := sw.coordinators.ask(ctx, a.Name, message{kind: msgPause, reason: "the cluster switches to another store"})
		if err != nil {
			return release, err
		}
		if o.Reason == "" { // otherwise the app was removed
			held = append(held, a.Name)
		}
	}
	return release, nil
}

// switchStore names another store, if it has all checkpoints.
func (m *machine) switchStore(c *command) any {
	if has := m.Store; has != nil && has.Number >= c.Store.Number {
		if has.Number == c.Store.Number && has.URL == c.Store.URL {
			return nil
		}
		return refuse(control.CodeFenced, "the store was switched to %s in the meantime", has.URL)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Apps)) {
		switch a := m.Apps[name]; {
		case a.Removing:
		case a.Open != nil:
			return refuse(control.CodeUnavailable, "the store is not switched: checkpoint %d of app %s is in progress; try again", a.Open.Epoch, name)
		case a.seen() > c.Seen:
			return refuse(control.CodeUnavailable, "the store is not switched: app %s has changed since its checkpoints were copied; try again", name)
		}
	}
	m.Store = c.Store
	return nil
}

// seen returns the newest Raft index of the app and its checkpoints.
func (a *appState) seen() uint64 {
	seen := a.Index
	for _, k := range a.Committed {
		seen = max(seen, k.Index)
	}
	return seen
}

// store returns the store that the group was switched to, or nil.
func (f *FSM) store() *control.Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.data.Store == nil {
		return nil
	}
	s := *f.data.Store
	return &s
}

// processesTimeout is how long processes may take to answer.
const processesTimeout = 30 * time.Second

// checkProcesses refuses a store that one of the processes cannot use.
func (sw *storeSwitch) checkProcesses(ctx context.Context, r *control.StoreRequest) error {
	reports, silent := sw.askProcesses(ctx, r)
	var errs []error
	for _, p := range reports {
		if p.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", p.Name(), p.Error))
		}
	}
	for _, name := range silent {
		errs = append(errs, fmt.Errorf("%s does not answer", name))
	}
	if len(errs) == 0 {
		return nil
	}
	return failure(control.CodeInvalid, "the store is not switched, because processes cannot use the new one: %v", errors.Join(errs...))
}
