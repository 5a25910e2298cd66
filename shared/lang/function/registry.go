// Package function lets other packages register scalar functions for apps. The language's
// own functions are in packages siddhiql and engine.
package function

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/registry"
)

// Value is an argument or a result.
type Value = event.Value

// Spec is a function that apps can name.
type Spec struct {
	// Name is what apps write, in exactly these letters.
	Name string
	// Usage is shown when arguments are wrong, such as "hypot(x double, y double)".
	Usage string
	// Result checks the arguments' types and returns the type of the result.
	Result func(args []event.Type) (event.Type, error)
	// Eval writes the result. It must depend on its arguments only: no clock, no random
	// number, no memory of other calls, or a replay gives other results. It is called for
	// every event, by several tasks at once, and should not allocate.
	Eval func(args []Value, out *Value)
}

var specs = registry.New[Spec]("function")

// Register makes a function known to all apps. Call it from an init function; it panics if
// the name is taken. The language's own functions win over registered ones.
func Register(s Spec) { specs.Register(s.Name, s) }

// Lookup returns the function called name.
func Lookup(name string) (Spec, bool) { return specs.Lookup(name) }

// Names lists the registered functions, sorted.
func Names() []string { return specs.Names() }
