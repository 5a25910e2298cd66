package model

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"

	"pgregory.net/rapid"
)

var windowLength = regexp.MustCompile(`window\.length\((\d+)\)`)

// nextVersion returns an app with other window lengths (only longer ones if larger is set) and one
// more query in front.
func nextVersion(t *rapid.T, text string, larger bool) string {
	unlikePlain := regexp.MustCompile(`(?m)^\s*(output|.*\bjoin)\b|->`).MatchString(text)
	resized := windowLength.ReplaceAllStringFunc(text, func(w string) string {
		if unlikePlain { // those queries cannot change
			return w
		}
		n, _ := strconv.Atoi(windowLength.FindStringSubmatch(w)[1])
		least := 0
		if larger {
			least = n
		}
		return fmt.Sprintf("window.length(%d)", rapid.IntRange(least, n+4).Draw(t, "length"))
	})
	at := 0
	for _, d := range regexp.MustCompile(`(?m)^define [^;]*;`).FindAllStringIndex(resized, -1) {
		at = d[1]
	}
	stream := regexp.MustCompile(`define stream (\w+)`).FindStringSubmatch(resized)[1]
	return resized[:at] + fmt.Sprintf("\n@info(name='added') from `%s`#window.lengthBatch(2) select count() as n insert into AddedRows;\n", stream) + resized[at:]
}

// named names every query, so that a query is recognized after a change of its text.
func named(text string) string {
	n := 0
	return regexp.MustCompile(`(?m)^(\s*)from `).ReplaceAllStringFunc(text, func(from string) string {
		n++
		return strings.Replace(from, "from ", fmt.Sprintf("@info(name='n%d') from ", n), 1)
	})
}

// startsEarly reports whether the law does not hold for an app. With lateness, an upgrade while the
// first event still waits makes triggers and periods start at the clock of the upgrade, which is
// before that event.
func startsEarly(plan *siddhiql.Plan) bool {
	rated := func(q *siddhiql.Query) bool { return q.Rate != nil }
	return plan.Lateness != siddhiql.LatenessOff && (len(plan.Triggers) > 0 || slices.ContainsFunc(plan.Queries, rated))
}

func compiled(t *rapid.T, text string) *siddhiql.Plan {
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatalf("a valid app is refused: %v\n%s", err, text)
	}
	return plan
}

func upgrade(t *rapid.T, e *engine.Engine, text string) *siddhiql.Plan {
	next := compiled(t, text)
	m, err := engine.Migrate(e.Plan(), next, engine.MigrateOptions{})
	if err == nil {
		err = e.Upgrade(next, m, nil)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return next
}

// settle fires the timers that are due at the clock, as an upgrade does.
func settle(e *engine.Engine) {
	if _, began := e.Input(); began {
		e.Advance(e.Clock())
	}
}

func restarted(t *rapid.T, e *engine.Engine) *engine.Engine {
	full := snapshot(e)
	again := newEngine(t, e.Plan())
	if err := load(again, full); err != nil {
		t.Fatal(err)
	}
	for id, entries := range snapshot(again) {
		if !maps.EqualFunc(entries, full[id], bytes.Equal) {
			t.Fatalf("%s: loaded %q, shows %q", id, full[id], entries)
		}
	}
	return again
}

// A run that restarts after every step and around an upgrade gives the same rows as an undisturbed
// one.
func TestRestartsAroundAnUpgradeChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := named(GenApp(t, Options{Windows: known(Windows...)}))
		next := nextVersion(t, app, false)
		plan := compiled(t, app)
		if startsEarly(plan) {
			return
		}
		steps := GenInput(t, plan)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "change before")
		left, again := newEngine(t, plan), newEngine(t, plan)
		for i, s := range steps {
			if i == cut {
				upgrade(t, left, next)
				again = restarted(t, again)
				plan = upgrade(t, again, next)
			}
			want, got := applyEngine(left, left.Plan(), s), applyEngine(again, plan, s)
			if !slices.EqualFunc(want, got, sameRow) {
				t.Fatalf("%s\nbecomes before step %d\n%s%sleft alone:\n%srestarted:\n%s", app, cut+1, next, printSteps(steps[:i+1]), printRows(plan, want), printRows(plan, got))
			}
			again = restarted(t, again)
			plan = again.Plan()
		}
	})
}

// An upgrade that only adds a query and enlarges windows, immediately rolled back, changes no row.
func TestRollbackAtOnceChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := named(GenApp(t, Options{Windows: known(Windows...)}))
		next := nextVersion(t, app, true)
		plan := compiled(t, app)
		if startsEarly(plan) {
			return
		}
		steps := GenInput(t, plan)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "change before")
		left, changed := newEngine(t, plan), newEngine(t, plan)
		for i, s := range steps {
			if i == cut {
				settle(left)
				upgrade(t, changed, next)
				back := compiled(t, app)
				m, err := engine.Migrate(changed.Plan(), back, engine.MigrateOptions{Drop: true})
				if err == nil {
					err = changed.Upgrade(back, m, nil)
				}
				if err != nil || m.Count(engine.OutcomeDropped) != 2 { // of the added query
					t.Fatalf("%v\n%s", err, m)
				}
			}
			want, got := applyEngine(left, plan, s), applyEngine(changed, changed.Plan(), s)
			if !slices.EqualFunc(want, got, sameRow) {
				t.Fatalf("%s\nbecomes before step %d\n%s%sleft alone:\n%schanged and back:\n%s", app, cut+1, next, printSteps(steps[:i+1]), printRows(plan, want), printRows(plan, got))
			}
		}
	})
}

// An upgrade that may shorten windows is rolled back at once. A query then gives the rows of a run
// without both, unless it depends on a component that the plan reports as different.
func TestRollbackSaysWhatDiffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := named(GenApp(t, Options{Windows: known(Windows...)}))
		next := nextVersion(t, app, false)
		plan := compiled(t, app)
		if startsEarly(plan) {
			return
		}
		steps := GenInput(t, plan)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "change before")
		left, changed := newEngine(t, plan), newEngine(t, plan)
		var differ map[int]bool
		for i, s := range steps {
			if i == cut {
				settle(left)
				between := upgrade(t, changed, next)
				list, err := engine.Differences(plan, between)
				if err != nil {
					t.Fatal(err)
				}
				differ = differing(plan, list)
				back := compiled(t, app)
				m, err := engine.Migrate(between, back, engine.MigrateOptions{Drop: true})
				if err == nil {
					err = changed.Upgrade(back, m, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			same := func(r Row) bool { return differ[r.Query] }
			want, got := slices.DeleteFunc(applyEngine(left, plan, s), same), slices.DeleteFunc(applyEngine(changed, changed.Plan(), s), same)
			if !slices.EqualFunc(want, got, sameRow) {
				t.Fatalf("%s\nbecomes before step %d\n%s%sleft alone:\n%schanged and back:\n%s", app, cut+1, next, printSteps(steps[:i+1]), printRows(plan, want), printRows(plan, got))
			}
		}
	})
}

// differing returns the queries that a list of components concerns, with those that read their rows.
func differing(plan *siddhiql.Plan, list []engine.Difference) map[int]bool {
	differ, filled := map[int]bool{}, map[*siddhiql.Stream]bool{}
	for more := true; more; {
		more = false
		for i, q := range plan.Queries {
			concerned := slices.ContainsFunc(list, func(d engine.Difference) bool { return strings.HasPrefix(d.ID, q.Name+"/") })
			for _, r := range q.Reads() {
				concerned = concerned || filled[r]
			}
			if concerned && !differ[i] {
				differ[i], filled[q.Target], more = true, true, true
			}
		}
	}
	return differ
}

// An upgrade that only adds a query does not change the rows of the others.
func TestKeptQueriesGoOn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		app := GenApp(t, Options{Windows: known(Windows...)}) // queries without names: their texts identify them
		next := nextVersion(t, windowLength.ReplaceAllString(app, "window.length(3)"), true)
		app = strings.Replace(next, next[strings.Index(next, "\n@info(name='added')"):strings.Index(next, "insert into AddedRows;\n")+len("insert into AddedRows;\n")], "", 1)
		plan := compiled(t, app)
		if startsEarly(plan) {
			return
		}
		steps := GenInput(t, plan)
		cut := rapid.IntRange(0, len(steps)).Draw(t, "change before")
		left, changed := newEngine(t, plan), newEngine(t, plan)
		for i, s := range steps {
			if i == cut {
				settle(left)
				upgrade(t, changed, next)
			}
			want, got := applyEngine(left, plan, s), applyEngine(changed, changed.Plan(), s)
			if i >= cut {
				got = slices.DeleteFunc(got, func(r Row) bool { return r.Query == 0 })
			}
			if !slices.EqualFunc(want, got, func(a, b Row) bool {
				return a.Kind == b.Kind && a.TS == b.TS && a.Clock == b.Clock && slices.EqualFunc(a.Values, b.Values, sameValue)
			}) {
				t.Fatalf("%s\nbecomes before step %d\n%s%sleft alone:\n%schanged:\n%s", app, cut+1, next, printSteps(steps[:i+1]), printRows(plan, want), printRows(plan, got))
			}
		}
	})
}
