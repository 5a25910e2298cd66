package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// sharedWindow is C: a `define window`.
type sharedWindow struct {
	plan *siddhiql.NamedWindow
	run  *running // has the window
}

// receive takes rows that a query inserts, as current ones (C1).
func (n *sharedWindow) receive(chunk []item) { n.pass(n.run.window.add(chunk)) }

// pass gives the readers what the window puts out, chunk by chunk, of the kinds that it shows
// them. A reset stays inside (C2, C3).
func (n *sharedWindow) pass(chunks [][]item) {
	for _, c := range chunks {
		c = slices.DeleteFunc(slices.Clone(c), func(i item) bool {
			return i.kind == reset || i.kind == current && !n.plan.Current || i.kind == expired && !n.plan.Expired
		})
		if len(c) > 0 {
			n.run.m.deliver(n.plan.Stream, c, nil)
		}
	}
}

// namedOf returns the named window that a stream stands for, or nil.
func (m *Model) namedOf(s *siddhiql.Stream) *sharedWindow {
	if s.Window == nil {
		return nil
	}
	return m.windows[s.Window.ID]
}
