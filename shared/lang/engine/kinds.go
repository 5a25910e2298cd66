package engine

import "strings"

// BoundToLog reports whether a component of the type says what the task has seen of its
// log, such as the numbers of frames. Such a component belongs to the position in the log,
// not to the app's state.
func BoundToLog(typ string) bool { return strings.HasPrefix(typ, "log/") }

// OfOneLog reports whether a component of the type fits only one log: it holds the writers
// of the log's frames, the stamps there, or the version of the app that they are for.
func OfOneLog(typ string) bool {
	return typ == "log/writers" || typ == "log/stamp" || typ == "log/version"
}

// HoldsInput reports whether a component of the type holds events that the app's queries have
// not seen yet. It must belong to the same moment as the state of all queries.
func HoldsInput(typ string) bool { return typ == "reorder" }

// OnlyGrows reports whether a newer state of a component of the type serves all its
// dependents as well as an older one does. This is true of the clock.
func OnlyGrows(typ string) bool { return typ == "clock" }

// BindsAll reports whether all components that depend on one of the type must belong to the
// same moment. This is true of the list of partition keys, because the state of a key comes
// and goes with the key.
func BindsAll(typ string) bool { return typ == "partition/keys" }
