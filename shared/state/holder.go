package state

import "github.com/Masterminds/semver/v3"

// Epoch is the number of a checkpoint attempt of an app. It only grows; an aborted epoch is
// never used again.
type Epoch uint64

// Entry is the unit of change, merge and digest of a component's state. Keys sort as bytes;
// only the component knows the meaning of key and value.
type Entry struct{ Key, Value []byte }

// Change is an entry that was put, or a key that was deleted.
type Change struct {
	Key, Value []byte
	Deleted    bool
}

// Holder owns the state of one component. It is for one goroutine at a time; only its
// captures may be used beside it. The holders of a task belong to the task's goroutine,
// except for Load: independent holders may load in parallel.
//
// Between epochs: Cut(e) at the barrier, then Delta or Snapshot, then, once the epoch is
// committed, Committed(e). An aborted epoch needs no call: the next delta is since the last
// committed one.
type Holder interface {
	// Info returns the identity of the component. The caller must not change it.
	Info() Info
	// CompatibleWith returns nil if state of the schema version can be loaded, else a
	// *VersionError.
	CompatibleWith(stored *semver.Version) error
	// Bytes estimates the memory of the state, including bookkeeping.
	Bytes() int64
	// Digest returns the digest of all present entries.
	Digest() Digest
	// PreEncode encodes the changes so far, so that the next Cut has less to do. Its cost
	// grows with the changes, and an entry that changes again is encoded again. So PreEncode
	// leaves out entries that can be frozen.
	PreEncode()
	// Cut ends an epoch: later changes belong to a later epoch. Epochs must grow. Its cost
	// depends on the changes, not on the state.
	Cut(e Epoch)
	// Freeze is a Cut for a task with many changes. Entries that a Freezer has not shown
	// yet are taken as they are now: by Thaw, just before they change, or at once if the
	// holder is asked for anything but Info, Bytes, PreEncode, Delta and Committed.
	Freeze(e Epoch)
	// Thaw takes some of the frozen entries, and reports whether more are left. It takes
	// some ten microseconds. A capture may be read when nothing is left.
	Thaw() bool
	// Delta returns what changed after epoch since, up to the last Cut. since is 0 for a
	// component that started empty. It fails with ErrPruned if since is older than the last
	// committed or loaded epoch.
	Delta(since Epoch) (*Capture, error)
	// Snapshot returns all present entries.
	Snapshot() *Capture
	// Committed says that everything cut up to e is durable, including cuts of epochs that
	// were aborted before it.
	Committed(e Epoch)
	// Load replaces the state by the entries of a checkpoint, in any order, of a schema
	// version that CompatibleWith accepts. It fails with an *EntryError or a *VersionError,
	// and then the state is empty. A caller that knows the right digest must compare it
	// before. At most workers pieces are put at once, if the state allows that.
	Load(e Epoch, stored *semver.Version, workers int, pieces ...*Hashed) error
}
