package processor

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// A generation that starts after the last published result publishes the missing results. A
// generation that starts before it publishes the results after its start again.
func TestOutEnd(t *testing.T) {
	const first, second, none = 0, 1, 2
	out := outEnd{of: make([]position, 3)}
	out.add(first, position{90, 4}, 1)
	out.add(second, position{70, 1}, 2)
	out.add(first, position{70, 5}, 2)
	out.add(second, position{60, 8}, 2)
	out.add(none, position{}, 2)
	for name, x := range map[string]struct {
		out       outEnd
		stream    int
		end, want position
	}{
		"ahead":              {out, first, position{101, 0}, position{70, 6}},
		"ahead, not in last": {out, second, position{101, 0}, position{70, 0}},
		"ahead, no result":   {out, none, position{101, 0}, position{70, 0}},
		"behind":             {out, first, position{50, 0}, position{50, 0}},
		"in the last frame":  {out, first, position{70, 3}, position{70, 3}},
		"nothing is known":   {outEnd{}, first, position{101, 0}, position{101, 0}},
	} {
		if got := x.out.before(x.stream, x.end); got != x.want {
			t.Errorf("%s: %v, want %v", name, got, x.want)
		}
	}
}

// A result is published once: not again if the output stream has it, nor if an earlier generation
// has published it before the start of this one.
func TestPublished(t *testing.T) {
	const before, after, later = "Before", "After", "Later"
	at := func(generation, seq, ordinal uint64) result.Position {
		return result.Position{Generation: generation, Seq: seq, Ordinal: ordinal}
	}
	record := func(x, y result.Position) output.Record {
		return output.Record{Newest: map[string]result.Position{before: x, after: y}}
	}
	for name, x := range map[string]struct {
		record output.Record
		start  checkpoint.Start
		had    []position // of the stream Before
		lacks  []position
	}{
		"nothing is published": {
			output.Record{},
			checkpoint.Start{Sequence: 50},
			[]position{{50, 0}, {50, 9}},
			[]position{{51, 0}},
		},
		"results of this generation": {
			record(at(2, 70, 3), at(2, 60, 0)),
			checkpoint.Start{Sequence: 50},
			[]position{{51, 0}, {69, 9}, {70, 3}},
			[]position{{70, 4}, {71, 0}},
		},
		"the start is within a frame": {
			record(at(1, 90, 0), at(1, 90, 0)),
			checkpoint.Start{Sequence: 50, Event: 2},
			[]position{{49, 9}},
			[]position{{50, 0}, {51, 0}},
		},
		"the former generation has not reached the start": {
			record(at(1, 40, 3), at(1, 30, 0)),
			checkpoint.Start{Sequence: 50},
			[]position{{39, 9}, {40, 3}},
			[]position{{40, 4}, {45, 0}, {51, 0}},
		},
		"the former generation is behind in this stream": {
			record(at(1, 30, 3), at(1, 40, 0)),
			checkpoint.Start{Sequence: 50},
			[]position{{39, 9}},
			[]position{{40, 0}, {51, 0}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := publishedOf(2, x.record, []string{before, after})
			p.filterStart(x.start)
			for _, at := range x.had {
				if !p.has(0, at) {
					t.Errorf("%s would be published again", at)
				}
			}
			for _, at := range x.lacks {
				if p.has(0, at) {
					t.Errorf("%s would not be published", at)
				}
			}
			// A stream of a later version has no results yet: only the start counts.
			p.grow(3)
			first := p.end.before(2, p.until)
			if !p.has(2, position{first.seq - 1, 0}) || p.has(2, first) {
				t.Errorf("stream %s: filtered up to %s, want up to %s", later, p.lastOf(2), first)
			}
		})
	}
}
