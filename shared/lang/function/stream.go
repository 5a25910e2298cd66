package function

import (
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function/exactmath"
	"github.com/eventflux/eventflux/shared/lang/registry"
)

// StreamSpec is a stream function, which apps write after a stream, as in #pol2Cart(a, r): it
// makes any number of rows of each row, with more attributes.
type StreamSpec struct {
	// Name is what apps write after the #, in exactly these letters.
	Name string
	// Usage is shown when arguments are wrong, and Doc says in one line what the rows have.
	Usage, Doc string
	// Check refuses wrong arguments, and returns the attributes that the rows get.
	Check func(args []Arg) ([]event.Attr, error)
	// Make returns the function for one query, or nil if it passes each row on as it is. It
	// calls emit with the values of the new attributes for each row that it makes; emit copies
	// them. It must depend on its arguments and c only.
	Make func(args []Arg) func(c *Context, args []Value, emit func(added []Value))
	// Warning is what the author of an app should know; "" for nothing.
	Warning string
}

var streamSpecs = registry.New[StreamSpec]("stream function")

// RegisterStream makes a stream function known to all apps. Call it from an init function; it
// panics if the name is taken.
func RegisterStream(s StreamSpec) { streamSpecs.Register(s.Name, s) }

// LookupStream returns the stream function called name.
func LookupStream(name string) (StreamSpec, bool) { return streamSpecs.Lookup(name) }

// StreamNames lists the stream functions, sorted.
func StreamNames() []string { return streamSpecs.Names() }

func init() {
	RegisterStream(StreamSpec{
		Name: "log", Usage: "log([any, …])", Doc: "the row as it is; nothing is logged",
		Check:   func([]Arg) ([]event.Attr, error) { return nil, nil },
		Make:    func([]Arg) func(*Context, []Value, func([]Value)) { return nil },
		Warning: "`#log` writes nothing to a log here: a replay would write it again; insert into a stream and watch that with `eventflux subscribe`",
	})
	RegisterStream(StreamSpec{
		Name: "pol2Cart", Usage: "pol2Cart(theta double, rho double[, z double])",
		Doc:   "the row with x and y, of an angle in degrees and a distance, and z if it is given",
		Check: checkPol2Cart, Make: makePol2Cart,
	})
	tokenize := func(name string, element event.Type, doc string) {
		RegisterStream(StreamSpec{
			Name: name, Usage: name + "(x json, path string[, fail.on.missing.attribute bool])", Doc: doc,
			Check: func(args []Arg) ([]event.Attr, error) { return checkTokenize(args, element) },
			Make:  func(args []Arg) func(*Context, []Value, func([]Value)) { return makeTokenize(args, element) },
		})
	}
	tokenize("json:tokenize", event.String, "a row for each value at the path, or element of an array there, as the text jsonElement; without one no row, or one with null if the third argument is false")
	tokenize("json:tokenizeAsObject", event.Object, "the same, with jsonElement as an object")
}

func checkPol2Cart(args []Arg) ([]event.Attr, error) {
	if len(args) < 2 || len(args) > 3 {
		return nil, fmt.Errorf("found %d arguments, expected 2 or 3", len(args))
	}
	attrs := []event.Attr{{Name: "x", Type: event.Double}, {Name: "y", Type: event.Double}, {Name: "z", Type: event.Double}}[:len(args)]
	for i, a := range args {
		if !a.Type.Numeric() {
			return nil, fmt.Errorf("argument %d is %s, expected a number", i+1, a.Type)
		}
	}
	return attrs, nil
}

func makePol2Cart(args []Arg) func(*Context, []Value, func([]Value)) {
	out := make([]Value, len(args))
	return func(_ *Context, values []Value, emit func([]Value)) {
		for i := range out {
			out[i] = values[i]
			if args[i].Type.Class() == event.Integers {
				out[i].Real = float64(values[i].Int)
			}
		}
		absent := out[0].Null || out[1].Null
		angle, distance := float64(out[0].Real*(math.Pi/180)), out[1].Real
		out[0] = Value{Null: absent, Real: float64(distance * exactmath.Cos(angle))}
		out[1] = Value{Null: absent, Real: float64(distance * exactmath.Sin(angle))}
		emit(out)
	}
}

func checkTokenize(args []Arg, element event.Type) ([]event.Attr, error) {
	if len(args) < 2 || len(args) > 3 {
		return nil, fmt.Errorf("found %d arguments, expected 2 or 3", len(args))
	}
	switch {
	case args[0].Type != event.String && args[0].Type != event.Object:
		return nil, fmt.Errorf("argument 1 is %s, expected a string or an object", args[0].Type)
	case args[1].Type != event.String || args[1].Const == nil:
		return nil, fmt.Errorf("argument 2 is not a constant text: expected a path such as '$.items'")
	case len(args) > 2 && (args[2].Type != event.Bool || args[2].Const == nil):
		return nil, fmt.Errorf("argument 3 is not a constant: expected true or false")
	}
	if _, err := bindPath(args[1]); err != nil {
		return nil, err
	}
	return []event.Attr{{Name: "jsonElement", Type: element}}, nil
}

func makeTokenize(args []Arg, element event.Type) func(*Context, []Value, func([]Value)) {
	p, _ := bindPath(args[1]) // it was checked
	strict := len(args) < 3 || args[2].Const.Int != 0
	out := make([]Value, 1)
	return func(c *Context, values []Value, emit func([]Value)) {
		found := false
		one := func(d *document, n int32) {
			found = true
			out[0] = Value{}
			if d.nodes[n].kind == '"' && element == event.String {
				jsonString(c, d, []int32{n}, false, &out[0])
			} else {
				writeNode(c, d, n, &out[0])
			}
			emit(out)
		}
		if !values[0].Null {
			d, list, _ := p.matches(c, values)
			for _, n := range list {
				if d.nodes[n].kind != '[' {
					one(d, n)
					continue
				}
				for m := n + 1; m < d.nodes[n].next; m = d.nodes[m].next {
					one(d, m)
				}
			}
		}
		if !found && !strict {
			out[0] = Value{Null: true}
			emit(out)
		}
	}
}
