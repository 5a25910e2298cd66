package engine

import "strings"

// BoundToLog reports whether a component of the type says what the task has seen of its
// log, such as the numbers of frames: it goes with the place in the log, and not with
// what the app remembers.
func BoundToLog(typ string) bool { return strings.HasPrefix(typ, "log/") }

// OfOneLog reports whether a component of the type fits one log alone: it knows who wrote
// which frame of it, the stamps there, and which version of the app they are for. Other logs do not follow on.
func OfOneLog(typ string) bool {
	return typ == "log/writers" || typ == "log/stamp" || typ == "log/version"
}

// OnlyGrows reports whether a newer state of a component of the type serves all that
// depend on it as well as an older one: the clock.
func OnlyGrows(typ string) bool { return typ == "clock" }

// BindsAll reports whether all components that depend on one of the type belong to the
// same moment: the list of partition keys, since what they remember of a key comes and
// goes with it.
func BindsAll(typ string) bool { return typ == "partition/keys" }
