package checkpointer

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/control"
)

// Processors come and go. Every partition has a processor, no processor has two more than
// another, nothing moves without need, and a second call moves nothing.
func TestPlacement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := map[slot]string{}
		for round := range rapid.IntRange(1, 8).Draw(t, "rounds") {
			if rapid.Bool().Draw(t, "deploy") {
				for p := range uint32(rapid.IntRange(1, 5).Draw(t, "partitions")) {
					now[slot{fmt.Sprint("app", round), p}] = ""
				}
			}
			var able, leaving []string
			for i := range 4 {
				switch rapid.IntRange(0, 2).Draw(t, "state") {
				case 1:
					leaving = append(leaving, fmt.Sprint("p", i))
				case 2:
					able = append(able, fmt.Sprint("p", i))
				}
			}
			moves := place(now, able, leaving, nil, nil, true)
			if again := place(maps.Clone(now), slices.Clone(able), leaving, nil, nil, true); !reflect.DeepEqual(moves, again) {
				t.Fatalf("%v, and then %v", moves, again)
			}
			if len(able) == 0 {
				if len(moves) > 0 {
					t.Fatalf("%v without any processor", moves)
				}
				continue
			}
			before := maps.Clone(now)
			for _, m := range moves {
				if m.from != now[m.slot] || m.from == m.to {
					t.Fatalf("%+v of %q", m, now[m.slot])
				}
				if there := slices.Contains(able, m.from) || slices.Contains(leaving, m.from); m.gentle != there {
					t.Fatalf("%+v, able %v, leaving %v", m, able, leaving)
				}
				now[m.slot] = m.to
			}
			checkPlaces(t, before, now, able)
			if more := place(now, able, leaving, nil, nil, true); len(more) > 0 {
				t.Fatalf("%v, after all was placed", more)
			}
		}
	})
}

func checkPlaces(t *rapid.T, before, now map[slot]string, able []string) {
	load, kept := map[string]int{}, map[string]int{}
	for s, p := range now {
		if !slices.Contains(able, p) {
			t.Fatalf("%v is at %q", s, p)
		}
		load[p]++
		if before[s] == p {
			kept[p]++
		}
	}
	least, most := len(now), 0
	for _, p := range able {
		least, most = min(least, load[p]), max(most, load[p])
	}
	if most-least > 1 {
		t.Fatalf("loads %v", load)
	}
	had := map[string]int{}
	for _, p := range before {
		had[p]++
	}
	for _, p := range able {
		if kept[p] < min(had[p], least) {
			t.Fatalf("%s had %d, keeps %d of %d", p, had[p], kept[p], load[p])
		}
	}
}

// A new leader moves no partition away from a processor that may not have had the time to
// send a heartbeat.
func TestPlacementWaits(t *testing.T) {
	now := map[slot]string{{"a", 0}: "gone", {"a", 1}: ""}
	if got := place(now, []string{"p"}, nil, nil, nil, false); len(got) != 1 || got[0].slot.partition != 1 {
		t.Errorf("%+v", got)
	}
}

// A standby gets its partition when the processor of the partition no longer answers.
func TestPlacementPrefersStandbys(t *testing.T) {
	a, b := slot{"app", 0}, slot{"app", 1}
	now := map[slot]string{a: "p1", b: "p2"}
	standing := placeStandbys(now, nil, []string{"p1", "p2", "p3"})
	if want := (map[slot]string{a: "p3", b: "p1"}); !maps.Equal(standing, want) {
		t.Errorf("%v stand by, want %v", standing, want)
	}
	if again := placeStandbys(now, standing, []string{"p1", "p2", "p3"}); !maps.Equal(again, standing) {
		t.Errorf("%v, and then %v", standing, again)
	}
	// Then p1 has two, which is one too many.
	spread := []move{{slot: b, from: "p2", to: "p1"}, {slot: a, from: "p1", to: "p3", gentle: true}}
	for name, test := range map[string]struct {
		able, quiet []string
		want        []move
	}{
		"all there": {[]string{"p1", "p2", "p3"}, nil, nil},
		"quiet":     {[]string{"p1", "p2", "p3"}, []string{"p2"}, spread},
		"both":      {[]string{"p1", "p2", "p3"}, []string{"p1", "p2"}, []move{{slot: a, from: "p1", to: "p3"}}},
		"gone":      {[]string{"p1", "p3"}, nil, spread},
	} {
		if got := place(now, test.able, nil, test.quiet, standing, true); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// A leader that was frozen treats no processor as dead or quiet until it has listened for
// the whole timeout again.
func TestFrozenLeaderListensFirst(t *testing.T) {
	at := time.Unix(1000, 0)
	p := newProcessors(at)
	hear := func(names ...string) {
		for _, name := range names {
			if err := p.hear(&control.HeartbeatRequest{Processor: name, Incarnation: "1"}, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	pass := func(d time.Duration, names ...string) {
		for until := at.Add(d); at.Before(until); hear(names...) {
			at = at.Add(tickEvery)
			p.stayAwake(at)
		}
	}
	check := func(when string, quiet, able []string, heardAll bool) {
		t.Helper()
		gotAble, _, gotHeardAll := p.alive(at)
		if got := p.quiet(at); !slices.Equal(got, quiet) || !slices.Equal(gotAble, able) || gotHeardAll != heardAll {
			t.Errorf("%s: quiet %v, able %v, heardAll %v; want %v, %v, %v", when, got, gotAble, gotHeardAll, quiet, able, heardAll)
		}
	}
	both := []string{"p1", "p2"}
	pass(2*control.HeartbeatTimeout, both...)
	check("all speak", nil, both, true)
	at = at.Add(2 * control.HeartbeatTimeout)
	p.stayAwake(at)
	hear("p2")
	check("only one has sent a heartbeat", nil, []string{"p2"}, false)
	pass(control.QuietTimeout+tickEvery, "p2")
	check("the other is quiet", []string{"p1"}, []string{"p2"}, false)
	pass(control.HeartbeatTimeout, "p2")
	check("it is dead", []string{"p1"}, []string{"p2"}, true)
}

// If two processes use one name, the one that started first is refused.
func TestProcessorNameTwice(t *testing.T) {
	at := time.Unix(1000, 0)
	p := newProcessors(at)
	hear := func(incarnation string) error {
		return p.hear(&control.HeartbeatRequest{Processor: "p", Incarnation: incarnation}, at)
	}
	for i, step := range []struct {
		incarnation string
		code        string
	}{{"a", ""}, {"a", ""}, {"b", ""}, {"a", control.CodeFenced}, {"b", ""}, {"c", ""}, {"b", control.CodeFenced}} {
		if err := hear(step.incarnation); control.Code(err) != step.code {
			t.Errorf("step %d, %s: %v", i, step.incarnation, err)
		}
	}
	if able, _, heardAll := p.alive(at.Add(time.Hour)); len(able) > 0 || !heardAll {
		t.Errorf("%v is alive after an hour, heardAll %v", able, heardAll)
	}
}

// Only live processors count as standbys: a dead one may have reported the same partition as
// the standby that replaced it.
func TestTheDeadDoNotStandBy(t *testing.T) {
	p := newProcessors(begin)
	says := func(name string, now time.Time) {
		r := &control.HeartbeatRequest{Processor: name, Incarnation: "1", Tasks: []control.TaskReport{{App: "app", State: "standby"}}}
		if err := p.hear(r, now); err != nil {
			t.Fatal(err)
		}
	}
	now := begin.Add(2 * control.HeartbeatTimeout)
	for i := range 10 {
		says(fmt.Sprint("dead", i), begin)
	}
	says("there", now)
	if by := p.standing(now)[slot{app: "app"}]; by != "there" {
		t.Errorf("%q stands by", by)
	}
}
