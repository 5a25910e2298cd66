// Package function holds the scalar functions of the language that have a namespace, such as
// str:upper, and lets other packages register more. Functions that need the checker or the
// engine, such as convert and ifThenElse, are in packages siddhiql and engine.
package function

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/registry"
)

// Value is an argument or a result.
type Value = event.Value

// Spec is a function that apps can name. Either Signatures and Bind describe it, or Usage,
// Result and Eval.
type Spec struct {
	// Name is what apps write, in exactly these letters, with a namespace if it has one:
	// "str:upper".
	Name string
	// Doc says in one line what the function returns.
	Doc string
	// Example is a call with constants, and Gives is its result as JSON.
	Example, Gives string

	// Signatures are the forms of the call, such as "str:substr(s string, begin int[, length
	// int]) string". See parseSignature for the types.
	Signatures []string
	// Bind returns the function for one call in an app. It returns an error if a constant
	// argument is wrong, such as a regular expression that does not compile. It is called
	// when an app is checked and when a task starts, so what takes time belongs here.
	Bind func(args []Arg) (Func, error)
	// Nulls means that the function sees arguments that are null. Otherwise its result is
	// then null, or false for a condition, and it is not called.
	Nulls bool
	// Type returns the type of the result if it depends on the arguments. The signatures
	// then have none.
	Type func(args []Arg) (event.Type, error)

	// Usage is shown when arguments are wrong, such as "hypot(x double, y double)".
	Usage string
	// Result checks the arguments' types and returns the type of the result.
	Result func(args []event.Type) (event.Type, error)
	// Eval writes the result. It must depend on its arguments only: no clock, no random
	// number, no memory of other calls, or a replay gives other results. It is called for
	// every event, by several tasks at once, and should not allocate.
	Eval func(args []Value, out *Value)

	forms []signature
}

// Arg is what is known of an argument before there are events.
type Arg struct {
	Type  event.Type // as the function reads it
	Const *Value     // nil if it is not a constant
}

// Func writes the result of a call to out, which is zero before. It must depend on its
// arguments and c only. One task at a time calls it, so it may keep memory for speed.
type Func func(c *Context, args []Value, out *Value)

// Context is what a function has besides its arguments.
type Context struct {
	Now int64  // the app's clock, ms
	Row uint64 // differs from row to row
	// Text is memory for texts of the current row. A function appends its result to it, and
	// never changes what is there.
	Text []byte

	doc document // the last JSON text that was parsed
}

var specs = registry.New[Spec]("function")

// Register makes a function known to all apps. Call it from an init function; it panics if
// the name is taken or a signature is wrong. The language's own functions win over
// registered ones.
func Register(s Spec) {
	for _, text := range s.Signatures {
		form, err := parseSignature(text, s.Type != nil)
		if err != nil || form.name != s.Name {
			panic(fmt.Sprintf("function %q: signature %q: %v", s.Name, text, err))
		}
		s.forms = append(s.forms, form)
	}
	specs.Register(s.Name, s)
}

// Lookup returns the function called name.
func Lookup(name string) (Spec, bool) { return specs.Lookup(name) }

// Names lists the registered functions, sorted.
func Names() []string { return specs.Names() }
