// Package state is the contract that makes state of an app's components portable: entries
// of (key, value), changes since an epoch, digests, versions. Only its component knows what
// an entry means; package checkpoint stores entries.
package state

// Source is how the code of one component shows its state. A Component makes a Holder of
// it.
//
// Keys and values are bytes, valid during the call only.
type Source interface {
	// Changed calls visit with the key of every entry that was put, changed or dropped
	// since the last call of Changed, or since Ready. A key may come more than once. Its
	// cost depends on the changes, not on the state.
	Changed(visit func(key []byte))
	// Keys calls visit with the key of every entry, in any order.
	Keys(visit func(key []byte))
	// Append appends the value of an entry to dst; false if there is none. The same
	// state always gives the same bytes.
	Append(dst, key []byte) ([]byte, bool)
	// Reset drops all entries.
	Reset()
	// Put loads an entry into a source that was Reset. Wrong bytes are an error, never a
	// panic, and cost no more memory than their length allows.
	Put(key, value []byte) error
	// Ready ends loading. It refuses entries that do not fit together.
	Ready() error
	// Bytes estimates the memory that the entries take.
	Bytes() int64
}

// Freezer is a Source with so many entries that showing the changed ones takes long.
type Freezer interface {
	Source
	// Freeze makes the source pass the entries that Changed would list to tell, as they are
	// now: in Thaw, or by itself just before one of them changes. It takes no time per
	// entry. tell may get an entry both as gone and as present: then it is present. Its
	// arguments are valid during the call only. Nothing may be frozen before.
	Freeze(tell func(key, value []byte, there bool))
	// Thaw passes about n of them to tell, and reports whether some are left. While some
	// are, the caller does not call Changed, Reset or Put.
	Thaw(n int) bool
}

// Parallel is a Source that can load several entries at the same time. It is optional.
type Parallel interface {
	// PutsAtOnce says that several goroutines may call Put at the same time.
	PutsAtOnce() bool
}

// Roomy is a Source that can reserve memory before loading. It is optional.
type Roomy interface {
	// Room is called after Reset with the number of entries that will be Put.
	Room(entries int)
}
