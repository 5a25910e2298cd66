// Package scalar is where functions of values to a value are made known to apps
// from other packages. The functions that the language itself has are in
// shared/siddhiql and shared/engine.
package scalar

import (
	"fmt"
	"slices"
	"sync"

	"eventflux/shared/event"
)

// Value is an argument or a result.
type Value = event.Value

// Spec is a function that apps can name.
type Spec struct {
	// Name is what apps write, in exactly these letters.
	Name string
	// Usage is shown where arguments are wrong, such as "hypot(x double, y double)".
	Usage string
	// Result checks the arguments' types and returns the type of the result.
	Result func(args []event.Type) (event.Type, error)
	// Eval writes the result. It must depend on nothing but its arguments: no clock,
	// no random number, no memory of other calls, or a replay gives other results.
	// It is called for every event, by one task at a time but by several tasks at
	// once, and should not allocate.
	Eval func(args []Value, out *Value)
}

var (
	registryMu sync.RWMutex
	registry   = map[string]Spec{}
)

// Register makes a function known to all apps. Call it from an init function; it
// panics on a name that is taken. A function that the language has wins over one
// that is registered.
func Register(s Spec) {
	registryMu.Lock()
	defer registryMu.Unlock()
	if _, taken := registry[s.Name]; taken {
		panic(fmt.Sprintf("function %q is registered twice", s.Name))
	}
	registry[s.Name] = s
}

// Lookup returns the function called name.
func Lookup(name string) (Spec, bool) {
	registryMu.RLock()
	defer registryMu.RUnlock()
	s, ok := registry[name]
	return s, ok
}

// Names lists the registered functions, sorted.
func Names() []string {
	registryMu.RLock()
	defer registryMu.RUnlock()
	names := make([]string, 0, len(registry))
	for name := range registry {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
