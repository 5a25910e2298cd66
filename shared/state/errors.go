package state

import (
	"errors"
	"fmt"

	"github.com/Masterminds/semver/v3"
)

// What a caller can do about state that does not load.
var (
	// ErrCorrupt is matched by every *CorruptError. Do not retry: use another copy or an
	// older epoch.
	ErrCorrupt = errors.New("corrupt state")
	// ErrVersion is matched by every *VersionError. The state is undamaged: load it with
	// the version of the program that wrote it, or register a migration.
	ErrVersion = errors.New("state of another version")
	// ErrInvalid is returned for mistakes of the caller, such as giving the state of one
	// component to another.
	ErrInvalid = errors.New("invalid use of state")
	// ErrPruned is returned for a delta since an epoch whose changes are no longer
	// kept. Take a snapshot.
	ErrPruned = errors.New("changes are no longer kept")
)

// CorruptError says what is wrong with the state of a component, and where.
type CorruptError struct {
	Component string // id
	What      string // what was found, and what was expected
	Offset    int    // position in the serialized bytes
}

// Error names the component, the damage and the position.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v of component %q: %s (at byte %d)", ErrCorrupt, e.Component, e.What, e.Offset)
}

// Is makes the error an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// EntryError is returned by Load for an entry that the component's code refuses,
// or for entries that do not fit together.
type EntryError struct {
	Component string // id
	Key       []byte // nil if it is about all entries
	Err       error
}

// Error names the component, the key and the reason.
func (e *EntryError) Error() string {
	return fmt.Sprintf("%v of component %q: %s", ErrCorrupt, e.Component, e.what())
}

func (e *EntryError) what() string {
	if e.Key == nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("entry %q: %v", e.Key, e.Err)
}

// Is makes the error an ErrCorrupt.
func (e *EntryError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }

// VersionError is returned for state whose schema version this program cannot load.
type VersionError struct {
	Component, Type string
	Stored          *semver.Version // of the state
	Known           *semver.Version // of this program
}

// Error names the component and both versions, and says what to do.
func (e *VersionError) Error() string {
	advice := "register a migration, or load it with a version that wrote " + fmt.Sprint(e.Stored.Major()) + ".x"
	if e.Stored.GreaterThan(e.Known) {
		advice = "load it with the version that wrote it or a newer one"
	}
	return fmt.Sprintf("%v: component %q (%s) is stored as %s, known is %s; %s",
		ErrVersion, e.Component, e.Type, e.Stored, e.Known, advice)
}

// Is makes the error an ErrVersion.
func (e *VersionError) Is(target error) bool { return target == ErrVersion }
