package state

import (
	"fmt"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// Info identifies a component.
type Info struct {
	// ID is unique in an app, such as "query1/window".
	ID string
	// Type names the code that owns the state, such as "window/length". State is only
	// loaded by code of the same type.
	Type string
	// Version is the schema version of the entries.
	Version *semver.Version
	// Access says how often entries change. It guides compression.
	Access Access
	// DependsOn are the ids of the components that must be loaded before.
	DependsOn []string
	// Metadata is for people; the program does not use it.
	Metadata map[string]string
}

// NameBytesMax is the length of the longest id or type of a component.
const NameBytesMax = 255

// check returns an error that says why an Info is unusable.
func (i *Info) check() error {
	switch {
	case i.ID == "" || len(i.ID) > NameBytesMax:
		return fmt.Errorf("%w: component id %q has %d bytes, allowed are 1 to %d", ErrInvalid, i.ID, len(i.ID), NameBytesMax)
	case i.Type == "" || len(i.Type) > NameBytesMax:
		return fmt.Errorf("%w: component %q: type %q has %d bytes, allowed are 1 to %d", ErrInvalid, i.ID, i.Type, len(i.Type), NameBytesMax)
	case i.Version == nil:
		return fmt.Errorf("%w: component %q has no schema version", ErrInvalid, i.ID)
	}
	return nil
}

// Access says how often the entries of a component change.
type Access uint8

// The access patterns. The zero value is invalid.
const (
	Hot  Access = iota + 1 // much of it between two checkpoints
	Warm                   // some of it
	Cold                   // next to nothing: written once and kept
)

var accessNames = [...]string{Hot: "hot", Warm: "warm", Cold: "cold"}

// String returns the name of the access pattern.
func (a Access) String() string {
	if a >= Hot && a <= Cold {
		return accessNames[a]
	}
	return fmt.Sprintf("access(%d)", uint8(a))
}

// Choice is the default compression of state with this access pattern: fast if it is hot,
// else small.
func (a Access) Choice() compress.Choice {
	if a == Hot {
		return compress.Choice{Access: compress.Hot}
	}
	return compress.Choice{Access: compress.Cold}
}
