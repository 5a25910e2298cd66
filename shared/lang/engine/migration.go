package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Outcome says what becomes of a component when an app changes.
type Outcome string

// The outcomes. Only OutcomeKept leaves the entries of a component as they are.
const (
	OutcomeKept    Outcome = "kept"    // its state goes on untouched
	OutcomeAdapted Outcome = "adapted" // its state is converted
	OutcomeNew     Outcome = "new"     // it starts empty, or is built from the log
	OutcomeDropped Outcome = "dropped" // its state is given up
	OutcomeRefused Outcome = "refused" // the change is not possible like this
)

// ErrRefused is matched by the error of a migration that is not possible. The error says
// why, and what to do.
var ErrRefused = errors.New("the change is refused")

// ComponentStep is what becomes of one component.
type ComponentStep struct {
	ID      string  `json:"id"`
	Outcome Outcome `json:"outcome"`
	Old     string  `json:"old,omitempty"` // its definition before the change
	New     string  `json:"new,omitempty"` // and after it
	Reason  string  `json:"reason,omitempty"`
	Fix     string  `json:"fix,omitempty"` // what to do about a refusal
	// FromLog says that the component does not start empty: it is built from the log.
	FromLog bool `json:"from_log,omitempty"`
	// loses is what an adapted component lacks if it had its new definition before the old one.
	loses string
}

// Migration is the plan of a change of an app: how the state of one version becomes the
// state of the next. It follows from the plans of both, and from Change.
type Migration struct {
	App string `json:"app"`
	// Refusals are what makes the whole change impossible, beside refused components.
	Refusals []string        `json:"refusals,omitempty"`
	Steps    []ComponentStep `json:"components"`
	// Change goes into the deploy frame.
	Change Change `json:"change,omitzero"`

	fresh map[string]bool     // components whose holders start over, by id
	with  map[string][]string // refused components can only be dropped together with these
}

// MigrateOptions say what the author of a change agrees to.
type MigrateOptions struct {
	// Drop gives up the state of every component that cannot go on.
	Drop bool
	// Components gives up the state of these components, by id.
	Components []string
	// Backfill builds the state of components that would start empty from the log, by partition
	// from this sequence on. nil: they start empty.
	Backfill []uint64
}

// Migrate plans the change from a version of an app to the next. old is the plan of the
// version in force, from Compile; next was compiled from the new text, and gets the names
// that its components have in the state. The caller looks at Err before it goes on.
func Migrate(old, next *siddhiql.Plan, o MigrateOptions) (*Migration, error) {
	c := identify(old, next).change()
	if err := c.name(next); err != nil {
		return nil, err
	}
	before, err := New(old)
	if err != nil {
		return nil, err
	}
	after, err := New(next)
	if err != nil {
		return nil, err
	}
	drop := slices.Clone(o.Components)
	if o.Drop {
		drop = append(drop, planMigration(before, after, c).refused()...)
	}
	slices.Sort(drop)
	c.Drop, c.Backfill = slices.Compact(drop), o.Backfill
	m := planMigration(before, after, c)
	if !m.FromLog() {
		m.Change.Backfill = nil
	}
	for _, id := range o.Components {
		if i := slices.IndexFunc(m.Steps, func(s ComponentStep) bool { return s.ID == id }); i < 0 {
			return nil, fmt.Errorf("there is no component %q to drop; there is %s", id, strings.Join(m.ids(), ", "))
		}
	}
	return m, nil
}

// refused lists the components to drop for the change to be possible.
func (m *Migration) refused() []string {
	var ids []string
	for _, s := range m.Steps {
		if s.Outcome == OutcomeRefused {
			ids = append(ids, s.ID)
			ids = append(ids, m.with[s.ID]...)
		}
	}
	return ids
}

func (m *Migration) ids() []string {
	var ids []string
	for _, s := range m.Steps {
		ids = append(ids, s.ID)
	}
	return ids
}

// Err returns an ErrRefused that lists every refusal; nil if the change is possible.
func (m *Migration) Err() error {
	texts := slices.Clone(m.Refusals)
	for _, s := range m.Steps {
		if s.Outcome == OutcomeRefused {
			texts = append(texts, fmt.Sprintf("%s: %s; %s", s.ID, s.Reason, s.Fix))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrRefused, strings.Join(texts, "; "))
}

// Count returns how many components have the outcome.
func (m *Migration) Count(o Outcome) (n int) {
	for _, s := range m.Steps {
		if s.Outcome == o {
			n++
		}
	}
	return n
}

// String prints the plan for people.
func (m *Migration) String() string {
	var b strings.Builder
	for _, r := range m.Refusals {
		fmt.Fprintf(&b, "refused: %s\n", r)
	}
	if len(m.Steps) == 0 {
		b.WriteString("no component has state\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, s := range m.Steps {
		what := s.New
		if s.Old != s.New {
			what = strings.Trim(s.Old+" -> "+s.New, " ")
		}
		text := strings.Join(slices.DeleteFunc([]string{s.Reason, s.Fix}, func(s string) bool { return s == "" }), "; ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", s.Outcome, s.ID, strings.Join(strings.Fields(what), " "), text)
	}
	_ = w.Flush() // to memory
	return trimLines(b.String())
}

func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// planMigration decides what becomes of each component. The plan of after has its names.
func planMigration(before, after *Engine, c Change) *Migration {
	m := &Migration{App: after.plan.Name, Change: c, fresh: map[string]bool{}, with: map[string][]string{}}
	m.refuseWhole(before.plan, after.plan)
	old := map[string]*definition{}
	for _, d := range before.definitions() {
		old[d.ID] = &d
	}
	there := map[string]bool{}
	outcomes := map[string]Outcome{}
	for _, d := range after.definitions() {
		there[d.ID] = true
		if d.Type == "clock" || d.Type == "reorder" {
			continue
		}
		was := old[d.ID]
		if owner, role, _ := cutLast(d.ID); was == nil && role == "aggregate" {
			was = bare(old[owner+"/window"], &d)
		}
		s := m.step(was, &d, outcomes)
		if s.Outcome == OutcomeAdapted {
			s.loses = losesBy(was, &d)
		}
		outcomes[s.ID] = s.Outcome
		m.Steps = append(m.Steps, s)
	}
	for _, d := range before.definitions() {
		if there[d.ID] || d.Type == "clock" || d.Type == "reorder" {
			continue
		}
		s := ComponentStep{ID: d.ID, Old: d.text, Outcome: OutcomeRefused, Reason: "nothing in the new text goes on with its state"}
		s.Fix = fixOf(&d)
		if slices.Contains(c.Drop, d.ID) || d.block != nil {
			s.Outcome, s.Fix = OutcomeDropped, ""
		}
		m.Steps = append(m.Steps, s)
	}
	if len(c.Backfill) > 0 {
		m.planBackfill(before, after)
	}
	m.refuseUnpublished(before.plan, after.plan, outcomes)
	return m
}

// refuseUnpublished refuses a table whose results would not add up to its rows: a table with rows
// from before its @sink, and one with a @sink that loses its rows.
func (m *Migration) refuseUnpublished(old, next *siddhiql.Plan, outcomes map[string]Outcome) {
	for _, t := range next.Tables {
		i := slices.IndexFunc(old.Tables, func(o *siddhiql.Table) bool { return o.Name == t.Name })
		if i < 0 || t.Stream.Sink.Off {
			continue
		}
		kept, id := outcomes["table/"+t.Name] == OutcomeKept, "table/"+t.Name
		switch former := !old.Tables[i].Stream.Sink.Off; {
		case kept && !former:
			m.Refusals = append(m.Refusals, fmt.Sprintf("table %s has rows that came before its @sink, and results would lack them; write the @sink on a table of another name, which the queries fill as well, or drop %s to start empty", t.Name, id))
		case former && !kept:
			m.Refusals = append(m.Refusals, fmt.Sprintf("table %s starts empty, and its results would still have the rows that go; give it another name, and its view another bucket", t.Name))
		}
	}
}

// bare returns the definition of the aggregators of a query that has a window and no
// aggregators; nil if there is none.
func bare(w, d *definition) *definition {
	if w == nil || w.query == nil || len(w.query.plan.Aggs) > 0 || d.query == nil {
		return nil
	}
	none := *d
	none.query, none.exact, none.text = w.query, "", "no aggregator"
	return &none
}

func fixOf(d *definition) string {
	drop := "drop it to give its state up"
	switch {
	case d.query == nil:
		return drop
	case d.query.plan.Name != "":
		return fmt.Sprintf("write @info(name='…', was='%s') on the query that follows it, or %s", d.query.plan.Name, drop)
	}
	owner, _, _ := cutLast(d.ID)
	return fmt.Sprintf("an unnamed query is known by its text: write @info(name='…', was='%s') on the query that follows it, or %s", owner, drop)
}

// refuseWhole refuses what no component can adapt to.
func (m *Migration) refuseWhole(old, next *siddhiql.Plan) {
	if old.Name != next.Name {
		m.refuse("the text is of app %q, and the app is %q; write @app:name('%s')", next.Name, old.Name, old.Name)
	}
	if old.Playback != next.Playback {
		m.refuse("@app:playback cannot be switched on or off, because the clock would jump; deploy the text as another app")
	}
	if old.Partitions != next.Partitions {
		m.refuse("@app:partitions is %d and was %d, and each key's state is in the partition that the number gave it; leave the number, and change it with eventflux app scale", next.Partitions, old.Partitions)
	}
}

// step decides what becomes of a component of the new version. Components that it depends on
// were decided before.
func (m *Migration) step(old, d *definition, outcomes map[string]Outcome) ComponentStep {
	s := ComponentStep{ID: d.ID, New: d.text, Outcome: OutcomeNew, Reason: startsEmpty}
	if old == nil {
		return s
	}
	s.Old = old.text
	drop := slices.Contains(m.Change.Drop, d.ID)
	lost := slices.ContainsFunc(d.DependsOn, func(id string) bool {
		return outcomes[id] == OutcomeNew || outcomes[id] == OutcomeDropped || outcomes[id] == OutcomeRefused
	})
	switch {
	case lost:
		s.Outcome, s.Reason = OutcomeRefused, "what it depends on starts empty"
	case old.exact == d.exact && old.Type == d.Type && !drop:
		s.Outcome, s.Reason = OutcomeKept, ""
		return s
	default:
		s.Outcome, s.Reason = adapts(old, d)
	}
	if owner, role, _ := cutLast(d.ID); s.Outcome == OutcomeRefused && !lost && role == "aggregate" && old.query != nil && old.query.plan.Window != nil && !old.query.countable() {
		// Rows that leave the window would be taken off aggregators that never had them.
		m.with[d.ID] = []string{owner + "/window"}
		s.Fix = fmt.Sprintf("drop %s/window as well, because its rows cannot be counted again", owner)
		return s
	}
	switch {
	case drop && !lost && old.query != nil && old.query.plan.Window != nil && d.role == "aggregate":
		s.Outcome, s.Reason = OutcomeDropped, "it is computed again from the rows in the window"
	case drop:
		s.Outcome, s.Reason = OutcomeDropped, startsEmpty
	case s.Outcome == OutcomeRefused:
		s.Fix = "drop it to start empty"
		if d.query != nil && d.query.plan.Name != "" {
			s.Fix = "give the query another name to start beside it, or drop it to start empty"
		}
	}
	return s
}

// bucketOf returns the bucket that fills the table which a component is a part of, or nil.
func bucketOf(d *definition) *siddhiql.Bucket {
	if t := tableOf(d.Source); t != nil {
		return t.Bucket
	}
	return nil
}

// adapts decides whether entries of one definition can be converted to another.
func adapts(old, d *definition) (Outcome, string) {
	switch {
	case bucketOf(old) != nil && bucketOf(d) != nil:
		return OutcomeNew, "it is loaded again from KV bucket " + bucketOf(d).Name
	case d.block != nil:
		return OutcomeRefused, "the key of the partition changed, and its state was divided by the old one"
	case d.query == nil || old.query == nil:
		return OutcomeRefused, "its definition changed"
	case !plain(d.query.plan) || !plain(old.query.plan):
		return OutcomeRefused, "the query changed, and state of this kind cannot be converted"
	case d.query.home() != old.query.home():
		return OutcomeRefused, "the query moved into or out of a partition, or to another one"
	case d.role == "window":
		return adaptsWindow(old.query, d.query)
	case d.role == "aggregate":
		return adaptsAggregate(old.query, d.query)
	}
	return OutcomeRefused, "its definition changed"
}
