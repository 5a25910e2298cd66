package state

import "github.com/Masterminds/semver/v3"

// Epoch is the number of a checkpoint attempt of an app. It only grows; an aborted
// one is burnt.
type Epoch uint64

// Entry is the unit of change, merge and digest of a component's state. Keys sort
// as bytes; only the component knows what is in key and value.
type Entry struct{ Key, Value []byte }

// Change is an entry that was put, or a key whose entry was dropped.
type Change struct {
	Key, Value []byte
	Deleted    bool
}

// Holder owns the state of one component. It is for one goroutine at a time; only
// what it captured may be used beside it. Those of a task are for the task's goroutine,
// but for Load: two of which none depends on the other may be loaded at the same time.
//
// Between epochs: Cut(e) at the barrier, then Delta or Snapshot, then, once the
// epoch is committed, Committed(e). Nothing has to be said of an aborted epoch: the
// next delta is since the last committed one.
type Holder interface {
	// Info says who the component is. The caller must not change it.
	Info() Info
	// CompatibleWith returns nil if state of the schema version can be loaded, else a
	// *VersionError.
	CompatibleWith(stored *semver.Version) error
	// Bytes estimates the memory that the state takes, its bookkeeping included.
	Bytes() int64
	// Digest returns the digest of all entries as they are now.
	Digest() Digest
	// Settle takes in what changed so far, so that the next Cut has less to do. It
	// costs time for the changes, and what changes again is taken in again: so it
	// leaves out what can be frozen.
	Settle()
	// Cut ends an epoch: what changes from now on belongs to a later one. Epochs must
	// grow. It costs time for the changes, not for the state.
	Cut(e Epoch)
	// Freeze is a Cut that a task can make while much has changed. What a Freezer has not
	// shown yet is taken as it is now, by Thaw or just before it changes, or at once if
	// the holder is asked for anything but Info, Bytes, Settle, Delta and Committed.
	Freeze(e Epoch)
	// Thaw takes some of what is frozen, and reports whether more is left. It takes some
	// ten microseconds. A capture may be read when nothing is left.
	Thaw() bool
	// Delta returns what changed after epoch since, which is 0 for a component that
	// began empty, up to the last Cut. It fails with ErrPruned if since is older than
	// the last committed or loaded epoch.
	Delta(since Epoch) (*Capture, error)
	// Snapshot returns all entries as they are now.
	Snapshot() *Capture
	// Committed says that all that was cut up to e is durable, or in epochs that were
	// aborted before.
	Committed(e Epoch)
	// Load replaces the state by the entries of a checkpoint, in any order, of a
	// schema version that CompatibleWith accepts. It fails with an *EntryError or a
	// *VersionError, and then the state is empty. Whoever knows what the entries should
	// be compares their digest before. At most workers pieces are put at once, if the
	// state can take them so.
	Load(e Epoch, stored *semver.Version, workers int, pieces ...*Hashed) error
}
