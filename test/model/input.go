package model

import (
	"encoding/json"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"

	"pgregory.net/rapid"
)

// Step is one input of an app: a chunk that arrives on a stream at Now or, if Stream is "", only
// the passing of time until Now.
type Step struct {
	Stream string
	Events []Event
	Now    int64
}

// GenInput generates input for an app: chunks of one to four events with few distinct values, own
// timestamps that repeat and run backward and ahead, and a clock that stands still, creeps and
// leaps.
func GenInput(t *rapid.T, plan *siddhiql.Plan) []Step {
	g := &input{generator: &generator{t: t}, now: 1000}
	var streams []*siddhiql.Stream
	for _, s := range plan.Streams {
		if s.Defined {
			streams = append(streams, s)
		}
	}
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Step {
		g.t = t
		g.now += g.pause()
		if g.chance("only time", 15) {
			return Step{Now: g.now}
		}
		s := pick(g.generator, "stream", streams...)
		step := Step{Stream: s.Name, Now: g.now}
		for range g.chunkSize() {
			step.Events = append(step.Events, g.event(s.Schema))
		}
		if plan.Playback { // own times drive the clock
			for _, e := range step.Events {
				g.now = max(g.now, e.TS)
			}
		}
		return step
	}), g.between("least", 0, 20), 40).Draw(t, "input")
}

type input struct {
	*generator
	now int64
}

func (g *input) pause() int64 {
	switch pick(g.generator, "pause", "none", "short", "short", "short", "long", "very long") {
	case "none":
		return 0
	case "short":
		return int64(g.between("ms", 1, 6))
	case "long":
		return int64(g.between("ms", 5, 30))
	default:
		return int64(g.between("ms", 40, 150))
	}
}

func (g *input) chunkSize() int { return pick(g.generator, "chunk", 1, 1, 1, 1, 2, 3, 4) }

func (g *input) event(s *event.Schema) Event {
	e := Event{TS: g.now}
	switch pick(g.generator, "own time", "now", "now", "now", "now", "now", "behind", "far behind", "ahead") {
	case "behind":
		e.TS -= int64(g.between("ms", 1, 12))
	case "far behind":
		e.TS -= int64(g.between("ms", 10, 60))
	case "ahead":
		e.TS += int64(g.between("ms", 1, 25))
	}
	for _, a := range s.Attrs {
		e.Values = append(e.Values, g.value(a.Type))
	}
	return e
}

// value draws a value of the type from a small set, or null.
func (g *input) value(t event.Type) any {
	if g.chance("null", 8) {
		return nil
	}
	n := g.between("value", 0, 5)
	switch t {
	case event.Bool:
		return n%2 == 1
	case event.Int:
		return int32([]int32{0, 1, 2, 3, -1, 7}[n])
	case event.Long:
		return g.now + int64(pick(g.generator, "offset", 0, 1, 5, -1, -8, 20))
	case event.Float:
		return []float32{0, 1, 0.5, 2.25, -1.5, 75.75}[n]
	case event.Double:
		return []float64{0, 1, 0.25, 2.5, -0.75, 100}[n]
	case event.String:
		return []string{"a", "b", "c", "null", "1", "x\u00e9\U0001F600"}[n]
	default:
		return json.RawMessage([]string{`1`, `"a"`, `{"a":1}`, `[1,2]`, `true`, `1.5`}[n])
	}
}
