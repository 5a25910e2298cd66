package aggregate

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
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
	// Doc says in one line what the aggregator returns.
	Doc string
	// Result checks the arguments' types and returns the type of the result.
	Result func(args []event.Type) (event.Type, error)
	// New returns an aggregator without groups, for arguments that Result has
	// accepted.
	New func(args []event.Type) Aggregate
	// NewWith, if it is set, is called instead of New.
	NewWith func(Config) Aggregate
	// Check, if it is set, checks the arguments' constants, after Result.
	Check func(args []Arg) error
	// Forever means that a group keeps its value when the window resets the aggregators, and
	// when its last row leaves.
	Forever bool
	// AnyText means that texts are kept as they are: the limit on keys does not concern them.
	AnyText bool
	// Instead, if it is set, means that rows cannot leave: an app can name the aggregator only
	// where none does, and Instead names the aggregator for other places.
	Instead string
}

// Arg is what is known of an argument before there are events.
type Arg = function.Arg

// Config is what an aggregator is made for.
type Config struct {
	Args []Arg
	// Leaves means that rows leave one by one. Otherwise Remove may be ignored: groups are only
	// cleared.
	Leaves bool
}

// Make returns an aggregator without groups, for arguments that Result and Check have
// accepted.
func (s Spec) Make(c Config) Aggregate {
	if s.NewWith != nil {
		return s.NewWith(c)
	}
	types := make([]event.Type, len(c.Args))
	for i, a := range c.Args {
		types[i] = a.Type
	}
	return s.New(types)
}

var specs = registry.New[Spec]("aggregator")

// Register makes a kind of aggregator known to all apps. Call it from an init function; it
// panics if the name is taken.
func Register(s Spec) { specs.Register(s.Name, s) }

// Lookup returns the kind of aggregator called name.
func Lookup(name string) (Spec, bool) { return specs.Lookup(name) }

// Names lists the known kinds of aggregators, sorted.
func Names() []string { return specs.Names() }
