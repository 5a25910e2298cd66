package checkpointer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const (
	abortedKept  = 20 // aborted epochs of an app that are kept for operators
	restoresKept = 20 // restores of an app that are kept for repeated requests
)

// FSM is the replicated state of the group: apps, the owners of their partitions, epochs.
// It depends only on the commands; a repeated command changes nothing. Its methods may be
// called concurrently.
//
// Members of different versions must compute the same state. So the effect of a kind of
// command never changes, and a member that does not know all of a command or a snapshot
// halts.
type FSM struct {
	major  uint64        // version of this program
	halted chan struct{} // closed: err is set

	mu      sync.Mutex
	data    machine
	err     error
	onStore func(control.Store)
}

var _ raft.FSM = (*FSM)(nil)

// NewFSM returns the state of a new group. version is the version of this program, a semver.
func NewFSM(version string) (*FSM, error) {
	major, err := control.Major(version)
	return &FSM{major: major, halted: make(chan struct{}), data: machine{Format: machineFormat, Apps: map[string]*appState{}}}, err
}

// OnStore calls use with the store that the group was switched to, when a
// snapshot has it and at each switch. use must return soon. Call OnStore before Raft uses f.
func (f *FSM) OnStore(use func(control.Store)) { f.onStore = use }

// command is one entry of the Raft log. Fields that its kind does not use are empty.
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
	Died      *control.Died   `json:"died,omitempty"`    // of died: the frames of one app
	Passed    []control.Death `json:"passed,omitempty"`  // of passed: frames that tasks have applied
	// Upgrade is the version of upgrade, and has only the number for upgraded. In open, it is the
	// version that the app gets with the restore.
	Upgrade *control.Version `json:"upgrade,omitempty"`
	Cluster string           `json:"cluster,omitempty"` // of name
	// Store is the store of store, and Seen the newest Raft index that a checkpoint or an app had
	// when the copies in it were complete.
	Store *control.Store `json:"store,omitempty"`
	Seen  uint64         `json:"seen,omitempty"`
	// Scale is true for the epoch that starts the generation with another number of partitions;
	// To is that number, in scale. Upgrade is the version then.
	Scale bool   `json:"scale,omitempty"`
	To    uint32 `json:"to_partitions,omitempty"`
	// Shadow starts a shadow, or adds approvals to the one that has its ID; nil ends the shadow.
	Shadow *control.Shadow `json:"shadow,omitempty"`
	// Backfill is, in upgrade, from where the logs are kept for it, by partition.
	Backfill []uint64 `json:"backfill_sequences,omitempty"`
}

// The kinds of commands. They are durable. A command with another effect needs a new kind,
// which leaders propose from the next major version on: docs/formats/README.md.
const (
	kindDeploy   = "deploy"
	kindRemove   = "remove" // starts the removal of an app
	kindForget   = "forget" // ends the removal
	kindPlace    = "place"
	kindAttach   = "attach"
	kindOpen     = "open"
	kindPrepared = "prepared" // of former versions; leaders do not propose it
	kindCommit   = "commit"   // the first commit of a generation starts it
	kindRelease  = "release"
	kindAbort    = "abort"
	kindRetire   = "retire"
	kindSwap     = "swap"
	kindDied     = "died"     // a process died while tasks applied frames
	kindPassed   = "passed"   // tasks have applied those frames since
	kindResume   = "resume"   // partitions in quarantine run again
	kindTakeOver = "takeover" // of an app of major version 0
	kindUpgrade  = "upgrade"  // the app gets a new version; the leader must complete the change
	kindUpgraded = "upgraded" // all logs have the version's frame: ingest may write its schemas
	kindScale    = "scale"    // the number of partitions is to change
	kindScaled   = "scaled"   // it has changed and all logs are open; or, before the commit, it is aborted
	kindName     = "name"     // the cluster gets a name, unless it has one
	kindStore    = "store"    // checkpoints are in another store from now on
	kindShadow   = "shadow"   // a next version runs beside an app, or no longer does
)

// refusal is the answer to a command that does not fit the state. The command changed
// nothing.
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
		if err := f.decode(log.Data, &c); err != nil {
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
	case kindName:
		if f.data.Cluster == "" {
			f.data.Cluster = c.Cluster
		}
		return nil
	case kindStore:
		no := f.data.switchStore(&c)
		if no == nil && f.onStore != nil {
			f.onStore(*f.data.Store)
		}
		return no
	}
	app := f.data.Apps[c.App]
	if app == nil {
		return refuse(control.CodeNotFound, "no app is called %q", c.App)
	}
	return app.apply(&c, log.Index)
}

// apply applies a command to the app.
func (a *appState) apply(c *command, index uint64) any {
	switch c.Kind {
	case kindRemove:
		a.Removing, a.Open, a.Places, a.Tasks, a.Shadow = true, nil, nil, map[uint32]control.Owner{}, nil
		a.Decided = a.Newest
		return nil
	case kindPlace:
		return a.place(c)
	case kindAttach:
		return a.attach(c, index)
	case kindOpen:
		return a.open(c)
	case kindPrepared:
		return a.prepared(c)
	case kindCommit:
		return a.commit(c, index)
	case kindAbort:
		return a.abort(c)
	case kindRelease:
		a.Held = false
		return nil
	case kindRetire:
		a.retire(c.Epochs)
		return nil
	case kindSwap:
		return a.swap(c, index)
	case kindDied:
		a.died(c.Died)
		return nil
	case kindPassed:
		a.passed(c.Passed)
		return nil
	case kindResume:
		a.Deaths = nil
		return nil
	case kindTakeOver:
		return a.takeOver(c)
	case kindUpgrade:
		return a.upgrade(c.Upgrade, c.Backfill)
	case kindUpgraded:
		a.upgraded(c.Upgrade.Number)
		return nil
	case kindScale:
		return a.scale(c)
	case kindScaled:
		a.scaled(c)
		return nil
	case kindShadow:
		return a.shadow(c.Shadow, index)
	}
	panic(fmt.Sprintf("checkpointer: command %q was read, and is not known", c.Kind))
}

var commandKinds = []string{
	kindDeploy, kindRemove, kindForget, kindPlace, kindAttach, kindOpen, kindPrepared, kindCommit, kindRelease, kindAbort, kindRetire, kindSwap, kindTakeOver,
	kindDied, kindPassed, kindResume, kindUpgrade, kindUpgraded, kindScale, kindScaled, kindName, kindStore, kindShadow,
}

// decode decodes a command. It fails if a newer version may have proposed it, or if it has a
// field that this version does not know.
func (f *FSM) decode(data []byte, c *command) error {
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
	if !slices.Contains(commandKinds, by.Kind) {
		return fmt.Errorf("it is a %q of version %s, which this version does not know; run version %[2]s here", by.Kind, by.Version)
	}
	if err := strictly(data, c); err != nil {
		return fmt.Errorf("it is a %q of version %s with fields that this version does not know: %w; run version %[2]s here", by.Kind, by.Version, err)
	}
	if slices.Contains([]string{kindUpgrade, kindUpgraded, kindScale, kindScaled}, by.Kind) && c.Upgrade == nil {
		return fmt.Errorf("it is an %q without a version of the app", by.Kind)
	}
	if by.Kind == kindStore && c.Store == nil {
		return fmt.Errorf("it is a %q without a store", by.Kind)
	}
	return nil
}

// strictly decodes JSON and refuses unknown fields.
func strictly(data []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// halt stops the state machine: it applies no more commands and makes no snapshots. So the
// commands that it has not applied stay in Raft's log, for a version that knows them.
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

// Snapshot implements raft.FSM.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.data.Format = f.data.format()
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
		// Without halt, Raft would use an older snapshot, or request this one again and again.
		f.halt(fmt.Errorf("snapshot of the checkpointer: %w", err))
		return f.err
	}
	if f.err != nil {
		return f.err
	}
	f.data = *m
	if m.Store != nil && f.onStore != nil {
		f.onStore(*m.Store)
	}
	return nil
}

func readMachine(data []byte) (*machine, error) {
	var m machine
	var is struct{ Format int }
	if err := json.Unmarshal(data, &is); err != nil {
		return nil, err
	}
	if is.Format < 1 || is.Format > machineFormat {
		return nil, fmt.Errorf("it has format %d, known are 1 to %d; run the version that wrote it or a newer one", is.Format, machineFormat)
	}
	if err := strictly(data, &m); err != nil {
		return nil, fmt.Errorf("this version does not know all of it: %w; run the version that wrote it or a newer one", err)
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
		_ = sink.Cancel() // the first error is the more useful one
		return err
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (snapshot) Release() {}

// app returns a copy of the state of an app, or nil.
func (f *FSM) app(name string) *appState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data.Apps[name].clone()
}

// appInRaft reads an app without a copy. An app that is gone has no partitions.
type appInRaft struct {
	fsm  *FSM
	name string
}

var _ raftApp = appInRaft{}

func (r appInRaft) newest() (epoch state.Epoch) {
	r.fsm.read(r.name, func(a *appState) { epoch = a.Newest })
	return epoch
}

func (r appInRaft) partitions() (n uint32) {
	r.fsm.read(r.name, func(a *appState) { n = a.Partitions })
	return n
}

func (r appInRaft) assignment(partition uint32) (number uint64) {
	r.fsm.read(r.name, func(a *appState) { number = a.Tasks[partition].Assignment })
	return number
}

func (r appInRaft) paused() (held bool) {
	r.fsm.read(r.name, func(a *appState) { held = a.Held })
	return held
}

// read calls use with the state of an app, if there is one. use keeps nothing of it.
func (f *FSM) read(name string, use func(*appState)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.data.Apps[name]; a != nil {
		use(a)
	}
}

// gone reports whether an app was removed or is being removed.
func (f *FSM) gone(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.data.Apps[name]
	return a == nil || a.Removing
}

// apps returns copies of the states of all apps, sorted by name.
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

// cluster returns the name of the cluster; "" if it has none.
func (f *FSM) cluster() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.data.Cluster
}

// known is like app, with an error for the client.
func (f *FSM) known(name string) (*appState, error) {
	a := f.app(name)
	if a == nil {
		return nil, failure(control.CodeNotFound, "no app is called %q; eventflux app ls lists them", name)
	}
	return a, nil
}

// ref finds a retained checkpoint.
func (f *FSM) ref(r *control.CheckpointRequest) (*committed, error) {
	a, err := f.known(r.App)
	if err != nil {
		return nil, err
	}
	for i := range a.Committed {
		k := &a.Committed[i]
		if k.Epoch == r.Epoch || r.Epoch == 0 && i == len(a.Committed)-1 {
			return k, nil
		}
	}
	if r.Epoch == 0 {
		return nil, failure(control.CodeNotFound, "app %s has no checkpoint yet; eventflux checkpoint trigger %[1]s makes one", r.App)
	}
	return nil, failure(control.CodeNotFound, "app %s has no checkpoint %d; eventflux checkpoint ls %[1]s lists those that are retained", r.App, r.Epoch)
}
