package checkpointer

import (
	"maps"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// machine is the replicated state, in the form that snapshots have.
type machine struct {
	Format int                  `json:"format"`
	Apps   map[string]*appState `json:"apps"`
	// Removed is the largest generation of all removed apps. Apps that are deployed later
	// start with a larger one, so that an app with the name of a removed app does not reuse
	// the positions of its results. It is one number instead of one per name, because names
	// come and go for years.
	Removed checkpoint.Generation `json:"removed_generation,omitempty"`
	// Cluster is the random name that the group claims a store with; empty until it has
	// claimed one.
	Cluster string `json:"cluster,omitempty"`
	// Store is the store that checkpoints are in; nil: the one that store.url names.
	Store *control.Store `json:"store,omitempty"`
}

// The formats of snapshots. A newer format is written only if the state needs it, so that an
// older version can start again while it knows everything in the state.
const (
	levelFormat    = 2 // an app has a semantics level
	changedFormat  = 3 // an app has several versions
	fromFormat     = 4 // an app started from a checkpoint
	storeFormat    = 5 // the group was switched to another store
	scaledFormat   = 6 // an app was scaled, or is being scaled
	backfillFormat = 7 // a version of an app builds state from the logs
	machineFormat  = 8 // an app has a shadow
)

func (m *machine) format() int {
	format := 1
	if m.Cluster != "" {
		format = levelFormat
	}
	if m.Store != nil {
		format = storeFormat
	}
	for _, a := range m.Apps {
		switch {
		case a.Shadow != nil:
			return machineFormat
		case len(a.Backfills) > 0:
			format = backfillFormat
		case a.Scalings > 0 || a.Scaling != nil || a.ScalingFailed != "":
			format = max(format, scaledFormat)
		case a.From > 0:
			format = max(format, fromFormat)
		case len(a.Versions) > 0:
			format = max(format, changedFormat)
		case a.Level > 0:
			format = max(format, levelFormat)
		}
	}
	return format
}

// appState is the replicated state of an app.
type appState struct {
	control.App
	Tasks map[uint32]control.Owner `json:"tasks"`
	// TermBase is the largest term that the store had for the app when it was deployed.
	TermBase  checkpoint.Term   `json:"term_base,omitempty"`
	Places    map[uint32]string `json:"places"`       // partition to the processor that must run it
	Newest    state.Epoch       `json:"newest_epoch"` // the epoch opened last
	Decided   state.Epoch       `json:"decided_epoch"`
	Open      *openEpoch        `json:"open,omitempty"`
	Committed []committed       `json:"committed"` // retained, oldest first
	Kept      []retiring        `json:"kept,omitempty"`
	Aborted   []aborted         `json:"aborted"`            // the last ones, oldest first
	Restores  []restoredAs      `json:"restores,omitempty"` // the last ones, oldest first
	// Versions has all versions of an app that was changed, oldest first. The embedded App is
	// the newest version whose frame is in all logs.
	Versions []control.Version `json:"versions,omitempty"`
	// Scaled is the version that the app gets with its new number of partitions, while it is
	// being scaled. Streams is the largest number of partitions that it ever had: it still has
	// the JetStream streams of all.
	Scaled  *control.Version `json:"scaled_version,omitempty"`
	Streams uint32           `json:"streams,omitempty"`
	// Backfills are the versions that build state from the logs, as long as a checkpoint from
	// before them is retained.
	Backfills []backfill `json:"backfills,omitempty"`
}

// restoredAs is the result of a restore request. If the request is repeated, it is the answer.
type restoredAs struct {
	ID string `json:"id"`
	control.Restored
}

// openEpoch is a checkpoint in progress.
type openEpoch struct {
	Epoch    state.Epoch       `json:"epoch"`
	Term     checkpoint.Term   `json:"term"`
	ID       checkpoint.ID     `json:"barrier"`
	Time     time.Time         `json:"time"`
	Prepared map[uint32]uint64 `json:"prepared"`          // partition to the assignment of its task
	Restore  *restoredAs       `json:"restore,omitempty"` // the request that it carries out
	Scale    bool              `json:"scale,omitempty"`   // it starts the generation with another number of partitions
	Upgrade  *control.Version  `json:"upgrade,omitempty"` // the version that the app gets with the commit
}

// retiring is a manifest that was retired or replaced. Tasks may still build on it until they
// have prepared another epoch, so it stays until an epoch that was opened later is committed.
type retiring struct {
	control.CheckpointRef
	Until state.Epoch `json:"until"` // the newest epoch at that time
}

// committed is a committed checkpoint.
type committed struct {
	control.CheckpointRef
	// First is the digest of the manifest that was committed, if a swap has replaced it.
	First        string   `json:"first_digest,omitempty"`
	Index        uint64   `json:"index,omitempty"`    // Raft index of the commit or the last swap
	Held         bool     `json:"held,omitempty"`     // only for the first of a generation: the app is held
	Barriers     []uint64 `json:"barriers"`           // sequence by partition
	Versions     []uint32 `json:"versions,omitempty"` // of the app, by partition; none: all have version 1
	Bytes        int64    `json:"bytes"`
	StateBytes   int64    `json:"state_bytes"`
	Stored       int64    `json:"stored_bytes,omitempty"` // everything that it refers to, as stored
	Milliseconds float64  `json:"milliseconds"`
}

type aborted struct {
	Epoch  state.Epoch `json:"epoch"`
	Time   time.Time   `json:"time"`
	Reason string      `json:"reason"`
}

func (m *machine) deploy(c *command, index uint64) any {
	if app := m.Apps[c.App]; app != nil {
		if app.Removing {
			return refuse(control.CodeUnavailable, "app %q is being removed; deploy it again when that is done", c.App)
		}
		if app.newest().Plan != c.Deploy.Plan {
			return refuse(control.CodeInvalid, "app %q is deployed with another text; change it with eventflux app upgrade FILE, or deploy the changed one under another @app:name", c.App)
		}
		return nil
	}
	app := &appState{App: *c.Deploy, Tasks: map[uint32]control.Owner{}, Newest: c.Epoch, Decided: c.Epoch, TermBase: c.Term}
	app.First = max(c.Deploy.First, m.Removed+1)
	app.Generation, app.Base, app.Deployed, app.Index = app.First, c.Epoch, c.Time, index
	m.Apps[c.App] = app
	return nil
}

// takeOver gives an app of major version 0 its version and semantics level.
func (a *appState) takeOver(c *command) any {
	if a.Level > 0 || a.Removing {
		return nil
	}
	d := c.Deploy
	a.Version, a.Level, a.Build, a.Stamp, a.After = d.Version, d.Level, d.Build, d.Stamp, d.After
	return nil
}

func (m *machine) forget(app string) {
	if a := m.Apps[app]; a != nil {
		m.Removed = max(m.Removed, a.Generation)
		delete(m.Apps, app)
	}
}

// place sets the processor that must run a partition. The current owner keeps its
// assignment until the new one has attached.
func (a *appState) place(c *command) any {
	if a.Removing || c.Partition >= a.Partitions {
		return refuse(control.CodeInvalid, "app %s has no partition %d to run", a.Name, c.Partition)
	}
	if a.Places == nil {
		a.Places = map[uint32]string{}
	}
	a.Places[c.Partition] = c.Processor
	return nil
}

func (a *appState) attach(c *command, index uint64) any {
	if place := a.Places[c.Owner.Partition]; place != c.Owner.Processor {
		return refuse(control.CodeFenced, "partition %d of app %s is placed on processor %q, not on %q", c.Owner.Partition, a.Name, place, c.Owner.Processor)
	}
	if now := a.Tasks[c.Owner.Partition]; now.Owner == c.Owner.Owner {
		return now.Assignment
	}
	owner := *c.Owner
	owner.Assignment = index
	a.Tasks[owner.Partition] = owner
	return index
}

func (a *appState) open(c *command) any {
	switch {
	case a.Removing:
		return refuse(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Open != nil && a.Open.Epoch == c.Epoch && a.Open.ID == c.ID:
		return nil
	case a.Open != nil:
		return refuse(control.CodeInvalid, "epoch %d of app %s is open", a.Open.Epoch, a.Name)
	case c.Restore != nil && a.Scaling != nil, !c.Scale && a.Scaling != nil && a.Scaling.Committed:
		return refuse(control.CodeUnavailable, "app %s is being scaled to %d partitions; try again when that is done", a.Name, a.Scaling.To)
	case c.Scale && (a.Scaling == nil || a.Scaling.Committed):
		return refuse(control.CodeFenced, "app %s is not being scaled any more", a.Name)
	case c.Restore != nil && a.changing() != nil:
		return refuse(control.CodeUnavailable, "app %s is being changed to version %d; restore it when that is done", a.Name, a.changing().Number)
	case c.Epoch != a.Newest+1:
		return refuse(control.CodeFenced, "epoch %d of app %s was opened after %d", c.Epoch, a.Name, a.Newest)
	case c.Upgrade != nil && c.Upgrade.Number != a.newest().Number+1:
		return refuse(control.CodeFenced, "app %s has version %d now; plan the restore again", a.Name, a.newest().Number)
	}
	a.Newest = c.Epoch
	a.Open = &openEpoch{Epoch: c.Epoch, Term: c.Term, ID: c.ID, Time: c.Time, Prepared: map[uint32]uint64{}, Restore: c.Restore, Scale: c.Scale, Upgrade: c.Upgrade}
	return nil
}

// isOpen returns nil if the epoch is open, else a refusal.
func (a *appState) isOpen(epoch state.Epoch) any {
	if a.Open == nil || a.Open.Epoch != epoch {
		return refuse(control.CodeFenced, "epoch %d of app %s is not open; %d is decided", epoch, a.Name, a.Decided)
	}
	return nil
}

func (a *appState) prepared(c *command) any {
	if no := a.isOpen(c.Epoch); no != nil {
		return no
	}
	if now := a.Tasks[c.Partition].Assignment; now != c.Number {
		return refuse(control.CodeFenced, "partition %d of app %s is assigned as %d, and %d has prepared epoch %d", c.Partition, a.Name, now, c.Number, c.Epoch)
	}
	a.Open.Prepared[c.Partition] = c.Number
	return nil
}

func (a *appState) commit(c *command, index uint64) any {
	if slices.ContainsFunc(a.Committed, func(k committed) bool {
		return k.Epoch == c.Commit.Epoch && (k.Digest == c.Commit.Digest || k.First == c.Commit.Digest)
	}) {
		return nil
	}
	if no := a.isOpen(c.Commit.Epoch); no != nil {
		return no
	}
	switch c.Commit.Generation {
	case a.Generation:
	case a.Generation + 1: // former tasks of the app are fenced
		a.Generation, a.Held, a.Tasks = c.Commit.Generation, c.Commit.Held, map[uint32]control.Owner{}
		a.Deaths, a.Shadow = nil, nil // the new generation may never reach those frames
		if a.Open.Scale {
			a.rescale()
		}
		if a.Open.Upgrade != nil {
			a.addVersion(a.Open.Upgrade)
		}
	default:
		return refuse(control.CodeFenced, "checkpoint %d of app %s is of generation %d, the app has %d", c.Commit.Epoch, a.Name, c.Commit.Generation, a.Generation)
	}
	if a.Open.Restore != nil {
		done := *a.Open.Restore
		done.Generation, done.Epoch = c.Commit.Generation, c.Commit.Epoch
		if a.Open.Upgrade != nil {
			done.Version = a.Open.Upgrade.Number
		}
		a.Restores = append(a.Restores, done)
		if n := len(a.Restores) - restoresKept; n > 0 {
			a.Restores = slices.Delete(a.Restores, 0, n)
		}
	}
	k := *c.Commit
	k.Index = index
	a.Committed = append(a.Committed, k)
	a.forgetBackfills()
	a.Decided, a.Checkpoint, a.Open = k.Epoch, k.Epoch, nil
	// All tasks have prepared this epoch, so they build on it or on what it was cut from.
	// Manifests are dropped only here: what exists while an epoch is being prepared still
	// exists when it is committed.
	a.Kept = slices.DeleteFunc(a.Kept, func(old retiring) bool { return old.Until < k.Epoch })
	return nil
}

// retire removes checkpoints from the committed ones, and keeps their manifests for tasks
// that may still build on them.
func (a *appState) retire(epochs []state.Epoch) {
	a.Committed = slices.DeleteFunc(a.Committed, func(k committed) bool {
		old := slices.Contains(epochs, k.Epoch) && !a.shadowStartsAt(k.Epoch)
		if old {
			a.Kept = append(a.Kept, retiring{k.CheckpointRef, a.Newest})
		}
		return old
	})
	a.forgetBackfills()
}

// swap replaces the manifest of a checkpoint.
func (a *appState) swap(c *command, index uint64) any {
	i := slices.IndexFunc(a.Committed, func(k committed) bool { return k.Epoch == c.Commit.Epoch })
	if i < 0 || a.Removing {
		return refuse(control.CodeFenced, "checkpoint %d of app %s was retired", c.Commit.Epoch, a.Name)
	}
	k := &a.Committed[i]
	switch {
	case k.Digest == c.Commit.Digest:
		return nil
	case k.Digest != c.Replaces:
		return refuse(control.CodeFenced, "checkpoint %d of app %s now has the manifest %s instead of %s", k.Epoch, a.Name, k.Digest, c.Replaces)
	}
	a.Kept = append(a.Kept, retiring{k.CheckpointRef, a.Newest})
	if k.First == "" {
		k.First = k.Digest
	}
	k.Manifest, k.Digest, k.Index = c.Commit.Manifest, c.Commit.Digest, index
	k.Bytes, k.StateBytes = c.Commit.Bytes, c.Commit.StateBytes
	return nil
}

// merged returns the newest checkpoint whose chains were folded, or nil.
func (a *appState) merged() *control.CheckpointRef {
	for _, k := range slices.Backward(a.Committed) {
		if k.First != "" && k.Generation == a.Generation {
			return &k.CheckpointRef
		}
	}
	return nil
}

// restored returns the result of a restore request, if it was carried out.
func (a *appState) restored(id string) (control.Restored, bool) {
	for _, r := range a.Restores {
		if id != "" && r.ID == id {
			return r.Restored, true
		}
	}
	return control.Restored{}, false
}

func (a *appState) abort(c *command) any {
	if slices.ContainsFunc(a.Aborted, func(x aborted) bool { return x.Epoch == c.Epoch }) {
		return nil
	}
	if no := a.isOpen(c.Epoch); no != nil {
		return no
	}
	a.Aborted = append(a.Aborted, aborted{c.Epoch, a.Open.Time, c.Reason})
	if n := len(a.Aborted) - abortedKept; n > 0 {
		a.Aborted = slices.Delete(a.Aborted, 0, n)
	}
	a.Decided, a.Open = c.Epoch, nil
	return nil
}

// outcome returns the outcome of an epoch; false if it is undecided or no longer known.
func (a *appState) outcome(epoch state.Epoch) (control.Outcome, bool) {
	for _, k := range a.Committed {
		if k.Epoch == epoch {
			return control.Outcome{Epoch: epoch, Committed: true, Milliseconds: k.Milliseconds}, true
		}
	}
	for _, k := range a.Kept {
		if k.Epoch == epoch {
			return control.Outcome{Epoch: epoch, Committed: true}, true
		}
	}
	for _, x := range a.Aborted {
		if x.Epoch == epoch {
			return control.Outcome{Epoch: epoch, Reason: x.Reason}, true
		}
	}
	if epoch <= a.Decided {
		return control.Outcome{Epoch: epoch, Reason: "it was decided long ago"}, true
	}
	return control.Outcome{}, false
}

func (a *appState) clone() *appState {
	if a == nil {
		return nil
	}
	c := *a
	c.Tasks = make(map[uint32]control.Owner, len(a.Tasks))
	c.Owners = nil
	for p := range a.Partitions {
		if owner, ok := a.Tasks[p]; ok {
			c.Tasks[p] = owner
			c.Owners = append(c.Owners, owner)
		}
	}
	c.Places = maps.Clone(a.Places)
	c.Committed, c.Aborted = slices.Clone(a.Committed), slices.Clone(a.Aborted)
	c.Deaths = slices.Clone(a.Deaths)
	c.Kept, c.Restores = slices.Clone(a.Kept), slices.Clone(a.Restores)
	c.Versions = slices.Clone(a.Versions)
	c.Backfills = slices.Clone(a.Backfills)
	if a.Scaling != nil {
		scaling := *a.Scaling
		c.Scaling = &scaling
	}
	if a.Open != nil {
		open := *a.Open
		open.Prepared = maps.Clone(open.Prepared)
		c.Open = &open
	}
	return &c
}
