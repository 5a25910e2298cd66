package siddhiql

import (
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// deduplicate is the handler that has the place of a window, but is none.
const deduplicate = "unique:deduplicate"

// handlerChecker checks what stands after an input: windows and stream functions, and filters.
type handlerChecker struct {
	*build
	catalog *catalog
	exprs   *exprChecker
}

// window checks a window; nil after an error.
func (hd *handlerChecker) window(h *Handler, in *scope) *Window {
	spec, ok := window.Lookup(h.Window)
	if !ok {
		hd.unknownWindow(h)
		return nil
	}
	w := &Window{Name: h.Window}
	keys := spec.KeyParams(len(h.Params))
	for i, n := range h.Params {
		p, e, ok := hd.param(n, h.Window, in, spec.Computed && slices.Contains(keys, i))
		if !ok {
			return nil
		}
		w.Params = append(w.Params, p)
		if p.Computed && w.Computed == nil {
			w.Computed = make([]Expr, len(h.Params))
		}
		if p.Computed {
			w.Computed[i] = e
		}
	}
	if err := spec.Check(w.Params); err != nil {
		hd.errorf(h.Pos, "window %s: %v; usage: %s", tick(windowText(h)), err, tick(spec.Usage))
		return nil
	}
	if spec.Condition {
		if w.Condition = hd.windowCondition(h.Params[0].(*Literal), in); w.Condition == nil {
			return nil
		}
	}
	return w
}

func (hd *handlerChecker) unknownWindow(h *Handler) {
	if _, scalar := hd.exprs.functions[h.Window]; scalar {
		hd.errorf(h.Pos, "%s is a function, not a window: expected it in a filter or a select", tick(h.Window))
		return
	}
	if _, ok := aggregate.Lookup(h.Window); ok {
		hd.errorf(h.Pos, "%s is an aggregator, not a window: expected it in a select", tick(h.Window))
		return
	}
	if isStreamFunction(h.Window) {
		hd.errorf(h.Pos, "%s is a stream function, not a window: write `#%s(…)`", tick(h.Window), h.Window)
		return
	}
	if why, ok := refusedWindows[h.Window]; ok {
		hd.errorf(h.Pos, "the window %s is outside the language here: %s", tick(h.Window), why)
		return
	}
	hd.errorf(h.Pos, "unknown window %s%s", tick(h.Window), didYouMean(h.Window, slices.Concat(window.Names(), function.StreamNames())))
}

// refusedWindows exist in Siddhi and not here.
var refusedWindows = map[string]string{
	"grouping:frequent": "write `frequent`",
	"eventTime":         "write `time` in an app with `@app:playback`, where the events' own times drive the clock",
}

func windowText(h *Handler) string {
	texts := make([]string, len(h.Params))
	for i, n := range h.Params {
		texts[i] = textOf(n)
	}
	return h.Window + "(" + strings.Join(texts, ", ") + ")"
}

// param turns a window's parameter into a constant or an attribute, or a key into an
// expression, if it may be one.
func (hd *handlerChecker) param(n Node, name string, in *scope, key bool) (window.Param, Expr, bool) {
	switch n := n.(type) {
	case *Literal:
		return window.Param{Attr: -1, Type: n.Type, Time: n.Time, Int: n.Int, Real: n.Real, Text: n.Text}, nil, true
	case *Ref:
		e := hd.exprs.ref(n, in.in("a window's parameter"))
		if e == nil {
			return window.Param{}, nil, false
		}
		a := e.(*Attr)
		if a.Holds() != a.Type() {
			hd.errorf(n.Pos, "attribute %s of window %s is called %s by cast(), but still is %s: use convert(…, '%s') in the query that fills %s",
				tick(n.Name), tick(name), a.Type(), a.Holds(), a.Type(), tick(in.stream.String()))
			return window.Param{}, nil, false
		}
		return window.Param{Attr: a.Index, Type: a.Type()}, nil, true
	}
	if key {
		e := hd.exprs.expr(n, in.in("a window's key"))
		if e == nil || hd.exprs.real(n, e) == nil {
			return window.Param{}, nil, false
		}
		return window.Param{Attr: -1, Computed: true, Type: e.Type()}, e, true
	}
	hd.errorf(start(n), "%s is computed, but a constant is needed: a window's parameter is a constant or an attribute", tick(textOf(n)))
	return window.Param{}, nil, false
}
