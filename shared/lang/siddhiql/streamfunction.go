package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// StreamFunction makes any number of rows of each row of a query's source, with more
// attributes.
type StreamFunction struct {
	Name   string
	Before []Expr        // filters before it
	Args   []Expr        // over the rows before it
	Rows   *event.Schema // of the rows that it makes
}

// isStreamFunction reports whether a name after a # is a stream function. If a window has the same
// name, the window wins.
func isStreamFunction(name string) bool {
	if _, ok := window.Lookup(name); ok {
		return false
	}
	_, ok := function.LookupStream(name)
	return ok
}

// streamFunction checks a stream function of a query, and gives the scope the rows that it
// makes.
func (hd *handlerChecker) streamFunction(h *Handler, before []Expr, in *scope) *StreamFunction {
	spec, ok := function.LookupStream(h.Window)
	if !ok {
		hd.errorf(h.Pos, "unknown stream function %s%s", tick("#"+h.Window), didYouMean(h.Window, function.StreamNames()))
		return nil
	}
	args, good := hd.exprs.args(h.Params, in.in("a stream function"))
	if !good {
		return nil
	}
	added, err := spec.Check(FunctionArgs(args))
	if err != nil {
		hd.errorf(h.Pos, "stream function %s: %v; usage: %s", tick("#"+windowText(h)), err, tick("#"+spec.Usage))
		return nil
	}
	for _, a := range added {
		if in.schema.Index(a.Name) >= 0 {
			hd.errorf(h.Pos, "stream function %s adds the attribute %s, which %s has already: rename that one in a query before this one", tick("#"+h.Window), tick(a.Name), tick(in.stream.String()))
			return nil
		}
	}
	if spec.Warning != "" {
		hd.warnf(h.Pos, "%s", spec.Warning)
	}
	rows := &event.Schema{Name: in.schema.Name, Attrs: slices.Concat(in.schema.Attrs, added)}
	in.schema = rows
	return &StreamFunction{Name: h.Window, Before: before, Args: args, Rows: rows}
}

// streamFunctions checks the stream functions of a query, and the filters before the last of them.
// It returns the handlers after that; false after an error.
func (hd *handlerChecker) streamFunctions(d *StreamInput, q *Query, in *scope) (rest *StreamInput, ok bool) {
	last := -1
	for i, h := range d.Handlers {
		if h.Function {
			last = i
		}
	}
	var before []Expr
	for _, h := range d.Handlers[:last+1] {
		switch {
		case h.Filter != nil:
			before = append(before, hd.exprs.condition(h.Filter, in.in("a filter"), "a filter"))
		case !h.Function:
			hd.errorf(h.Pos, "a stream function after the window %s: expected it before the window", tick(h.Window))
			return nil, false
		default:
			f := hd.streamFunction(h, before, in)
			if f == nil {
				return nil, false
			}
			before = nil
			q.Functions = append(q.Functions, f)
		}
	}
	return &StreamInput{Source: d.Source, Handlers: d.Handlers[last+1:]}, true
}

// noFunctions refuses stream functions where only filters and windows can be.
func (hd *handlerChecker) noFunctions(in *StreamInput, where string) bool {
	for _, h := range in.Handlers {
		if h.Function {
			hd.errorf(h.Pos, "the stream function %s in %s: let a query before this one have it", tick("#"+h.Window), where)
			return false
		}
	}
	return true
}
