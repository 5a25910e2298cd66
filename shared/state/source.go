// Package state is what components of an app share so that their state can be
// taken out, proved equal, and put back: entries of (key, value), changes since
// an epoch, digests, versions. What is in an entry only its component knows; where
// entries are stored is left to shared/state/checkpoint.
package state

// Source is how the code of one component shows its state. A Component makes a
// Holder of it.
//
// Keys and values are bytes; they belong to the callee during the call only.
type Source interface {
	// Changed calls visit with the key of every entry that was put, changed or
	// dropped since Changed was called before, or since the last Ready. A key may
	// come more than once. It costs time for the changes, not for the state.
	Changed(visit func(key []byte))
	// Keys calls visit with the key of every entry, in any order.
	Keys(visit func(key []byte))
	// Append appends the value of an entry to dst; false if there is none. The same
	// state always gives the same bytes.
	Append(dst, key []byte) ([]byte, bool)
	// Reset drops all entries.
	Reset()
	// Put loads an entry into a source that was Reset. Bytes that are wrong are an
	// error, never a panic, and cost no more memory than their length allows.
	Put(key, value []byte) error
	// Ready ends loading. It refuses entries that do not fit together.
	Ready() error
	// Bytes estimates the memory that the entries take.
	Bytes() int64
}

// Freezer is a Source of so many entries that to show those that changed takes long.
type Freezer interface {
	Source
	// Freeze has the entries that Changed would list told as they are now: by Thaw, or by
	// the source itself just before one of them changes. It costs no time for them. An
	// entry may be told to be gone, and to be there as well: then it is there. What is
	// told belongs to the callee during the call only. Nothing is frozen before.
	Freeze(tell func(key, value []byte, there bool))
	// Thaw tells about n of them, and reports whether some are left. Until none is, nobody
	// calls Changed, Reset or Put.
	Thaw(n int) bool
}

// Parallel is a Source that can take several entries at the same time. It is optional.
type Parallel interface {
	// PutsAtOnce says that several goroutines may call Put at the same time.
	PutsAtOnce() bool
}

// Roomy is a Source that can make room for what it is about to be given. It is optional.
type Roomy interface {
	// Room is called behind Reset with the number of entries that will be Put.
	Room(entries int)
}
