package window

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/registry"
)

// Param is one parameter of a window, as the app's text has it: a constant or an attribute
// of the window's stream. If Spec.Computed is set, a key may be any expression.
type Param struct {
	Attr     int  // index of the attribute, or -1
	Computed bool // an expression, which only the caller of the window can evaluate
	Type     event.Type
	Time     bool // a time literal such as 5 sec: Type is Long, Int has its ms
	Int      int64
	Real     float64
	Text     string
}

// Constant reports whether the parameter is a constant.
func (p Param) Constant() bool { return p.Attr < 0 && !p.Computed }

// Spec is a kind of window that apps can name.
type Spec struct {
	// Name is what apps write, in exactly these letters.
	Name string
	// Version is the semantic version of the schema of its state.
	Version string
	// Usage is shown when parameters are wrong, such as "length(n int)".
	Usage string
	// Check refuses wrong parameters. The error says which parameter is wrong, and why; the
	// caller adds the position and the usage.
	Check func(params []Param) error
	// Keys are the parameters, from 0, that name a key attribute of the window: the window
	// keeps every value of it that it meets.
	Keys []int
	// Adapt refuses a change of the parameters that a Successor cannot take over the rows
	// across; the error says what to do. It is called with parameters that Check accepted and
	// whose attributes have the same names. nil: the window can never change.
	Adapt func(old, next []Param) error
	// Resets means that the window resets the aggregators before each batch, and emits expired
	// rows only if Config.Expired is set. So no row leaves an aggregator by itself.
	Resets bool
	// Bounded says that each batch of the window has a start and an end: New returns a Bounded.
	Bounded bool
	// MoreKeys says that all parameters after the last of Keys are keys, too.
	MoreKeys bool
	// Computed says that keys may be expressions. Config.Value evaluates them.
	Computed bool
	// Condition says that the first parameter is the text of a condition over the rows of the
	// window. Config.Condition evaluates it.
	Condition bool
	// New returns an empty window. It is called with checked parameters, once
	// for each query and partition key.
	New func(Config) Window
}

// Config is what a window is made from.
type Config struct {
	Env    *Env
	Schema *event.Schema // of the rows that it is given
	Params []Param
	// Used lists the attributes that the window or a later step reads. The window need not
	// keep the others.
	Used []int
	// Expired is set if the query inserts expired events. Otherwise batch windows need not
	// keep the batch that a reset is about to forget.
	Expired bool
	// Value appends the value of a computed parameter for a row to a key, as KeyInt and the
	// like do. It is nil if no parameter is computed.
	Value func(dst []byte, param int, r Row) []byte
	// CheckKey is called with the length of each key of the window; nil: every key is allowed.
	CheckKey func(bytes int)
	// Refused is called with each row that the window cannot accept, such as one without the
	// time to order it by; nil if such rows are only counted.
	Refused func(r Row)
	// Condition is the condition of the window, if its Spec asks for one.
	Condition Condition
}

// Condition is a condition over rows: its aggregators, and the first and the last row.
type Condition interface {
	// Add and Remove tell the aggregators of a row that is added after all others, and of the
	// first row that is removed.
	Add(r Row)
	Remove(r Row)
	// Holds evaluates the condition. It needs rows.
	Holds(first, last Row) bool
	// Clear removes all rows from the aggregators.
	Clear()
	// AppendState appends the state of all aggregators, or only of those that are small, and
	// LoadState reads it. Wrong bytes are an error.
	AppendState(dst []byte, all bool) []byte
	LoadState(src []byte, all bool) (rest []byte, err error)
	// Loaded gives the rows to the aggregators whose states are written only with all others.
	Loaded(rows func(visit func(Row)))
}

// KeyParams lists the parameters that are keys, of n.
func (s Spec) KeyParams(n int) (list []int) {
	for _, k := range s.Keys {
		if k < n {
			list = append(list, k)
		}
	}
	if s.MoreKeys && len(list) > 0 {
		for k := list[len(list)-1] + 1; k < n; k++ {
			list = append(list, k)
		}
	}
	return list
}

var specs = registry.New[Spec]("window")

// Register makes a kind of window known to all apps. Call it from an init function; it
// panics if the name is taken.
func Register(s Spec) { specs.Register(s.Name, s) }

// Lookup returns the kind of window called name.
func Lookup(name string) (Spec, bool) { return specs.Lookup(name) }

// Names lists the known kinds of windows, sorted.
func Names() []string { return specs.Names() }
