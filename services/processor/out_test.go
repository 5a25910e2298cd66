package processor

import "testing"

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
