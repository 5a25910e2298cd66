package aggregate

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/registry"
)

// Spec is a kind of aggregator that apps can name.
type Spec struct {
	// Name is what apps write, in exactly these letters.
	Name string
	// Version is the semantic version of what AppendState writes. Every checkpoint holds
	// it. Raise the minor version if older states still load, the major version if not.
	Version string
	// Usage is shown when arguments are wrong, such as "sum(number)".
	Usage string
	// Result checks the arguments' types and returns the type of the result.
	Result func(args []event.Type) (event.Type, error)
	// New returns an aggregator without groups, for arguments that Result has
	// accepted.
	New func(args []event.Type) Aggregate
}

var specs = registry.New[Spec]("aggregator")

// Register makes a kind of aggregator known to all apps. Call it from an init function; it
// panics if the name is taken.
func Register(s Spec) { specs.Register(s.Name, s) }

// Lookup returns the kind of aggregator called name.
func Lookup(name string) (Spec, bool) { return specs.Lookup(name) }

// Names lists the known kinds of aggregators, sorted.
func Names() []string { return specs.Names() }
