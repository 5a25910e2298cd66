package siddhiql

import "strings"

// onError reads @OnError(action='log'|'stream') on a stream's definition.
func (bd *build) onError(a *Annotation, s *Stream) {
	if !bd.strict { // it had no effect when an earlier release accepted it
		for _, e := range a.Elems {
			s.Refused = s.Refused || strings.EqualFold(e.Key, "action") && strings.EqualFold(e.Value, "stream")
		}
		return
	}
	elems, good := bd.elems(a, annotations["onerror"].keys...)
	if !good {
		return
	}
	e := elems["action"]
	if e == nil {
		bd.errorf(a.Pos, "`@OnError` names no action: write `@OnError(action='stream')` or `@OnError(action='log')`")
		return
	}
	switch strings.ToLower(e.Value) {
	case "log": // as without it: such events are counted
	case "stream":
		s.Refused = true
	case "store":
		bd.errorf(e.Pos, "action='%s' is outside the language here: events that do not fit a stream are kept on `dlq.<app>.<Stream>`; expected 'stream' or 'log'", shorten(e.Value))
	default:
		bd.errorf(e.Pos, "unknown action '%s' of `@OnError`: expected 'stream' or 'log'", shorten(e.Value))
	}
}
