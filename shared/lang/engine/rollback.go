package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Difference is a component that a rollback does not bring back as it would be without the
// changes in between.
type Difference struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Differences lists the components of a version that are not as they were after the change to
// the next version and straight back. Both plans have the names of their components in the
// state. A component that is not listed is kept by both changes, or adapted so that nothing of
// it is lost.
func Differences(version, next *siddhiql.Plan) ([]Difference, error) {
	before, err := New(next)
	if err != nil {
		return nil, err
	}
	after, err := New(version)
	if err != nil {
		return nil, err
	}
	m := planMigration(before, after, identify(next, version).change())
	var list []Difference
	differs := map[string]bool{}
	for _, d := range after.definitions() {
		s := m.stepOf(d.ID)
		if s == nil {
			continue
		}
		why := ""
		switch s.Outcome {
		case OutcomeNew, OutcomeDropped, OutcomeRefused:
			why = s.Reason
		case OutcomeAdapted:
			why = s.loses
		}
		owner, role, _ := cutLast(d.ID)
		if why == "" && role == "aggregate" && differs[owner+"/window"] {
			why = "its window has lost rows"
		}
		if why != "" {
			differs[d.ID] = true
			list = append(list, Difference{d.ID, why})
		}
	}
	return list, nil
}

// stepOf returns the step of a component of the new version, or nil.
func (m *Migration) stepOf(id string) *ComponentStep {
	for i := range m.Steps {
		if m.Steps[i].ID == id {
			return &m.Steps[i]
		}
	}
	return nil
}

// losesBy returns what an adapted component has lost if its definition was d before it was old,
// as after a rollback; "" if nothing.
func losesBy(old, d *definition) string {
	switch d.role {
	case "window":
		return windowLoses(old.query, d.query)
	case "aggregate":
		if o, n := old.query.plan, d.query.plan; n.Window == nil && len(o.Aggs) > 0 {
			for _, i := range aggsOf(o, n) {
				if i < 0 {
					return "an aggregator was gone, and starts from here"
				}
			}
		}
	}
	return ""
}

func windowLoses(old, next *query) string {
	var lost []string
	o, n := constants(old.plan.Window), constants(next.plan.Window)
	for i := range n {
		if i >= len(o) || o[i] != n[i] && (o[i].Type != n[i].Type || n[i].Int >= o[i].Int) {
			lost = append(lost, "it was smaller, and has let rows go")
			break
		}
	}
	var lacks []string
	for _, a := range next.used {
		if i := old.plan.In.Index(next.plan.In.Attrs[a].Name); i < 0 || !slices.Contains(old.used, i) {
			lacks = append(lacks, next.plan.In.Attrs[a].Name)
		}
	}
	if len(lacks) > 0 {
		lost = append(lost, fmt.Sprintf("%s was not kept, and is null in its rows", strings.Join(lacks, ", ")))
	}
	return strings.Join(lost, "; ")
}
