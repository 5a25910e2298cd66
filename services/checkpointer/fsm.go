package checkpointer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
	"eventflux/shared/state"
)

const (
	abortedKept  = 20 // aborted epochs of an app that are remembered, for people
	restoresKept = 20 // restores of an app that may be asked for again
)

// FSM is what the group agrees on: apps, who runs them, epochs. It is a function of
// the commands alone; a command that is repeated changes nothing. Its methods may be
// called concurrently.
//
// Members of several versions have to come to the same: so what a kind of command does
// never changes, and whoever does not know all of a command, or of a snapshot, halts.
type FSM struct {
	major  uint64        // version of this program
	halted chan struct{} // closed: err is set

	mu   sync.Mutex
	data machine
	err  error
}

var _ raft.FSM = (*FSM)(nil)

// machine is the state as snapshots have it.
type machine struct {
	Format int                  `json:"format"`
	Apps   map[string]*appState `json:"apps"`
	// Removed is the largest generation of any app that was removed. Apps that are deployed
	// later begin behind it, so that no place of a result is there twice, should one of them
	// have the name of a removed one. It is one number, and not one for each name, because
	// names come and go for years.
	Removed checkpoint.Generation `json:"removed_generation,omitempty"`
}

const machineFormat = 1

// appState is what is known of an app.
type appState struct {
	control.App
	Tasks map[uint32]control.Owner `json:"tasks"`
	// TermBase is the largest term that the store knew of the app when it was deployed.
	TermBase  checkpoint.Term   `json:"term_base,omitempty"`
	Places    map[uint32]string `json:"places"`       // partition to the processor that is to run it
	Newest    state.Epoch       `json:"newest_epoch"` // opened last
	Decided   state.Epoch       `json:"decided_epoch"`
	Open      *openEpoch        `json:"open,omitempty"`
	Committed []committed       `json:"committed"` // retained, oldest first
	Kept      []kept            `json:"kept,omitempty"`
	Aborted   []aborted         `json:"aborted"`            // the last ones, oldest first
	Restores  []restoredAs      `json:"restores,omitempty"` // the last ones, oldest first
}

// restoredAs is what a request to restore led to: should it come again, it has its answer.
type restoredAs struct {
	ID string `json:"id"`
	control.Restored
}

// openEpoch is a checkpoint that is under way.
type openEpoch struct {
	Epoch    state.Epoch       `json:"epoch"`
	Term     checkpoint.Term   `json:"term"`
	ID       checkpoint.ID     `json:"barrier"`
	Time     time.Time         `json:"time"`
	Prepared map[uint32]uint64 `json:"prepared"`          // partition to the assignment of its task
	Restore  *restoredAs       `json:"restore,omitempty"` // the request that it carries out
}

// kept is a manifest that was retired or replaced. Tasks may still stand on it, so it
// stays until they have prepared another epoch: it goes with the first commit of an epoch
// that was opened later.
type kept struct {
	control.CheckpointRef
	Until state.Epoch `json:"until"` // the newest epoch that was open by then
}

// committed is a checkpoint that exists.
type committed struct {
	control.CheckpointRef
	// First is the digest of the manifest that was committed, where another has come
	// in its place.
	First        string   `json:"first_digest,omitempty"`
	Index        uint64   `json:"index,omitempty"` // in Raft, of the commit or the last swap
	Held         bool     `json:"held,omitempty"`  // of the first of a generation
	Barriers     []uint64 `json:"barriers"`        // sequence by partition
	Bytes        int64    `json:"bytes"`
	StateBytes   int64    `json:"state_bytes"`
	Stored       int64    `json:"stored_bytes,omitempty"` // all that it refers to, as stored
	Milliseconds float64  `json:"milliseconds"`
}

type aborted struct {
	Epoch  state.Epoch `json:"epoch"`
	Time   time.Time   `json:"time"`
	Reason string      `json:"reason"`
}

// NewFSM returns the state of a group that has agreed on nothing yet. version is that of
// this program, a semver.
func NewFSM(version string) (*FSM, error) {
	major, err := control.Major(version)
	return &FSM{major: major, halted: make(chan struct{}), data: machine{Format: machineFormat, Apps: map[string]*appState{}}}, err
}

// command is one entry of the Raft log. What is not of its kind is empty.
type command struct {
	Version   string          `json:"version"` // of the leader that proposed it
	Kind      string          `json:"kind"`
	App       string          `json:"app"`
	Time      time.Time       `json:"time,omitzero"`
	Deploy    *control.App    `json:"deploy,omitempty"`
	Owner     *control.Owner  `json:"owner,omitempty"`
	Epoch     state.Epoch     `json:"epoch,omitempty"`
	Term      checkpoint.Term `json:"term,omitempty"`
	ID        checkpoint.ID   `json:"barrier,omitzero"`
	Partition uint32          `json:"partition,omitempty"`
	Processor string          `json:"processor,omitempty"`
	Number    uint64          `json:"assignment,omitempty"`
	Commit    *committed      `json:"commit,omitempty"` // of commit and swap
	Replaces  string          `json:"replaces,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Epochs    []state.Epoch   `json:"epochs,omitempty"`
	Restore   *restoredAs     `json:"restore,omitempty"` // of open: the request that it carries out
}

// The kinds of commands. They are durable. One that does something else needs a kind of its
// own, which a leader proposes from the next major version on: docs/formats/README.md.
const (
	kindDeploy   = "deploy"
	kindRemove   = "remove" // begins it
	kindForget   = "forget" // ends it
	kindPlace    = "place"
	kindAttach   = "attach"
	kindOpen     = "open"
	kindPrepared = "prepared"
	kindCommit   = "commit" // the first of a generation begins it
	kindRelease  = "release"
	kindAbort    = "abort"
	kindRetire   = "retire"
	kindSwap     = "swap"
)

// refusal is the answer to a command that does not fit what was agreed on before. It
// changed nothing.
type refusal struct{ err *control.Error }

func refuse(code, format string, args ...any) any {
	return refusal{&control.Error{Code: code, Text: fmt.Sprintf(format, args...)}}
}

// Apply implements raft.FSM. The answer is nil or a refusal; the number of the
// assignment for an attachment.
func (f *FSM) Apply(log *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	var c command
	if f.err == nil {
		if err := f.read(log.Data, &c); err != nil {
			f.halt(fmt.Errorf("entry %d of the Raft log: %w", log.Index, err))
		}
	}
	if f.err != nil {
		return refuse(control.CodeUnavailable, "this checkpointer has halted: %v", f.err)
	}
	switch c.Kind {
	case kindDeploy:
		return f.data.deploy(&c, log.Index)
	case kindForget:
		f.data.forget(c.App)
		return nil
	}
	app := f.data.Apps[c.App]
	if app == nil {
		return refuse(control.CodeNotFound, "no app is called %q", c.App)
	}
	switch c.Kind {
	case kindRemove:
		app.Removing, app.Open, app.Places, app.Tasks = true, nil, nil, map[uint32]control.Owner{}
		app.Decided = app.Newest
		return nil
	case kindPlace:
		return app.place(&c)
	case kindAttach:
		return app.attach(&c, log.Index)
	case kindOpen:
		return app.open(&c)
	case kindPrepared:
		return app.prepared(&c)
	case kindCommit:
		return app.commit(&c, log.Index)
	case kindAbort:
		return app.abort(&c)
	case kindRelease:
		app.Held = false
		return nil
	case kindRetire:
		app.retire(c.Epochs)
		return nil
	case kindSwap:
		return app.swap(&c, log.Index)
	}
	panic(fmt.Sprintf("checkpointer: command %q was read, and is not known", c.Kind))
}

var kinds = []string{
	kindDeploy, kindRemove, kindForget, kindPlace, kindAttach, kindOpen, kindPrepared, kindCommit, kindRelease, kindAbort, kindRetire, kindSwap,
}

// read decodes a command. It fails if a newer version may have proposed it, or if there is
// anything in it that this one would pass over.
func (f *FSM) read(data []byte, c *command) error {
	var by struct{ Version, Kind string }
	if err := json.Unmarshal(data, &by); err != nil {
		return err
	}
	major, err := control.Major(by.Version)
	if err != nil {
		return err
	}
	if major > f.major {
		return fmt.Errorf("version %s proposed it, and this is a version %d.x; run version %[1]s here", by.Version, f.major)
	}
	if !slices.Contains(kinds, by.Kind) {
		return fmt.Errorf("it is a %q of version %s, which this version does not know; run version %[2]s here", by.Kind, by.Version)
	}
	if err := strictly(data, c); err != nil {
		return fmt.Errorf("it is a %q of version %s, not all of which this version knows: %w; run version %[2]s here", by.Kind, by.Version, err)
	}
	return nil
}

// strictly decodes JSON without fields that nobody knows.
func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// halt has the state machine apply nothing any more, and take no snapshot: what it has not
// applied stays in Raft's log, for a version that knows it.
func (f *FSM) halt(err error) {
	if f.err == nil {
		f.err = err
		close(f.halted)
	}
}

// Halted is closed when Err says why nothing can be applied any more.
func (f *FSM) Halted() <-chan struct{} { return f.halted }

// Err returns why the state machine has halted, or nil.
func (f *FSM) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (m *machine) deploy(c *command, index uint64) any {
	if app := m.Apps[c.App]; app != nil {
		if app.Removing {
			return refuse(control.CodeUnavailable, "app %q is being removed; deploy it again when that is done", c.App)
		}
		if app.Plan != c.Deploy.Plan {
			return refuse(control.CodeInvalid, "app %q is deployed with another text: its results would not follow those that are out; deploy the changed one under another @app:name", c.App)
		}
		return nil
	}
	app := &appState{App: *c.Deploy, Tasks: map[uint32]control.Owner{}, Newest: c.Epoch, Decided: c.Epoch, TermBase: c.Term}
	app.First = max(c.Deploy.First, m.Removed+1)
	app.Generation, app.Base, app.Deployed, app.Index = app.First, c.Epoch, c.Time, index
	m.Apps[c.App] = app
	return nil
}

func (m *machine) forget(app string) {
	if a := m.Apps[app]; a != nil {
		m.Removed = max(m.Removed, a.Generation)
		delete(m.Apps, app)
	}
}

// place says which processor is to run a partition. Whoever runs it now keeps its
// assignment until the other has attached.
func (a *appState) place(c *command) any {
	if a.Removing || c.Partition >= a.Partitions {
		return refuse(control.CodeInvalid, "app %s has no partition %d to be run", a.Name, c.Partition)
	}
	if a.Places == nil {
		a.Places = map[uint32]string{}
	}
	a.Places[c.Partition] = c.Processor
	return nil
}

func (a *appState) attach(c *command, index uint64) any {
	if place := a.Places[c.Owner.Partition]; place != c.Owner.Processor {
		return refuse(control.CodeFenced, "partition %d of app %s is given to processor %q, not to %q", c.Owner.Partition, a.Name, place, c.Owner.Processor)
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
	case c.Epoch != a.Newest+1:
		return refuse(control.CodeFenced, "epoch %d of app %s was opened after %d", c.Epoch, a.Name, a.Newest)
	}
	a.Newest = c.Epoch
	a.Open = &openEpoch{Epoch: c.Epoch, Term: c.Term, ID: c.ID, Time: c.Time, Prepared: map[uint32]uint64{}, Restore: c.Restore}
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
	case a.Generation + 1: // whoever ran the app before has no say any more
		a.Generation, a.Held, a.Tasks = c.Commit.Generation, c.Commit.Held, map[uint32]control.Owner{}
	default:
		return refuse(control.CodeFenced, "checkpoint %d of app %s is of generation %d, the app has %d", c.Commit.Epoch, a.Name, c.Commit.Generation, a.Generation)
	}
	if a.Open.Restore != nil {
		done := *a.Open.Restore
		done.Generation, done.Epoch = c.Commit.Generation, c.Commit.Epoch
		a.Restores = append(a.Restores, done)
		if n := len(a.Restores) - restoresKept; n > 0 {
			a.Restores = slices.Delete(a.Restores, 0, n)
		}
	}
	k := *c.Commit
	k.Index = index
	a.Committed = append(a.Committed, k)
	a.Decided, a.Checkpoint, a.Open = k.Epoch, k.Epoch, nil
	// All tasks have prepared this epoch, and so stand on it, or on what they cut it from.
	// Nothing goes at any other time: what is there while an epoch is prepared is there
	// when it is committed.
	a.Kept = slices.DeleteFunc(a.Kept, func(old kept) bool { return old.Until < k.Epoch })
	return nil
}

// retire forgets checkpoints.
func (a *appState) retire(epochs []state.Epoch) {
	a.Committed = slices.DeleteFunc(a.Committed, func(k committed) bool {
		old := slices.Contains(epochs, k.Epoch)
		if old {
			a.Kept = append(a.Kept, kept{k.CheckpointRef, a.Newest})
		}
		return old
	})
}

// swap puts a manifest in the place of another of the same checkpoint.
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
		return refuse(control.CodeFenced, "checkpoint %d of app %s has the manifest %s, and not %s any more", k.Epoch, a.Name, k.Digest, c.Replaces)
	}
	a.Kept = append(a.Kept, kept{k.CheckpointRef, a.Newest})
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

// restored returns what a request to restore led to, if it has.
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

// outcome returns what became of an epoch; false if it is not decided, or forgotten.
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

// Snapshot implements raft.FSM.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	data, err := json.Marshal(f.data)
	return snapshot(data), err
}

// Restore implements raft.FSM.
func (f *FSM) Restore(from io.ReadCloser) error {
	defer from.Close()
	data, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	m, err := readMachine(data)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		// Raft would take an older snapshot, or ask for this one again and again.
		f.halt(fmt.Errorf("snapshot of the checkpointer: %w", err))
		return f.err
	}
	if f.err != nil {
		return f.err
	}
	f.data = *m
	return nil
}

func readMachine(data []byte) (*machine, error) {
	var m machine
	var is struct{ Format int }
	if err := json.Unmarshal(data, &is); err != nil {
		return nil, err
	}
	if is.Format != machineFormat {
		return nil, fmt.Errorf("it has format %d, known is %d; run the version that wrote it or a newer one", is.Format, machineFormat)
	}
	if err := strictly(data, &m); err != nil {
		return nil, fmt.Errorf("not all of it is known to this version: %w; run the version that wrote it or a newer one", err)
	}
	if m.Apps == nil {
		return nil, fmt.Errorf("it has no apps, which no version writes")
	}
	return &m, nil
}

type snapshot []byte

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		_ = sink.Cancel() // the first error tells more
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// app returns a copy of what is known of an app, or nil.
func (f *FSM) app(name string) *appState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data.Apps[name].clone()
}

// gone reports whether an app is not there any more, or about not to be.
func (f *FSM) gone(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.data.Apps[name]
	return a == nil || a.Removing
}

// apps returns copies of all, sorted by name.
func (f *FSM) apps() []*appState {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*appState
	for _, a := range f.data.Apps {
		all = append(all, a.clone())
	}
	slices.SortFunc(all, func(a, b *appState) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
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
	c.Kept, c.Restores = slices.Clone(a.Kept), slices.Clone(a.Restores)
	if a.Open != nil {
		open := *a.Open
		open.Prepared = maps.Clone(open.Prepared)
		c.Open = &open
	}
	return &c
}
