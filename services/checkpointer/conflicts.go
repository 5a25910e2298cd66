package checkpointer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// conflictsMax is how many conflicts are listed one by one.
const conflictsMax = 20

// conflicts lists the streams of deployed apps that have the same subject as a stream of the
// plan, but another definition: if an event fits only one definition, the other app refuses
// it. An app whose text no longer compiles has no conflicts, because ingest does not serve it.
func conflicts(plan *siddhiql.Plan, apps []*appState) (warnings []string) {
	more := 0
	for _, a := range apps {
		if a.Name == plan.Name || a.Removing {
			continue
		}
		other, err := siddhiql.CompileDeployed(a.Text)
		if err != nil {
			continue
		}
		for _, mine := range inputs(plan) {
			for _, its := range inputs(other) {
				difference := differ(mine.Schema, its.Schema)
				if difference == "" || !subject.Overlap(mine.Subject, its.Subject) {
					continue
				}
				if len(warnings) == conflictsMax {
					more++
					continue
				}
				warnings = append(warnings, fmt.Sprintf(
					"stream %s (subject %s) and stream %s of app %s (subject %s) get the same events by different definitions: %s; if an event fits only one of them, the app of the other refuses it; use the same attributes in both, or another subject",
					mine.Schema, mine.Subject, its.Schema, other.Name, its.Subject, difference))
			}
		}
	}
	if more > 0 {
		warnings = append(warnings, fmt.Sprintf("and %d more conflicts with streams of other apps", more))
	}
	return warnings
}

// inputs returns the streams of a plan that events are published to.
func inputs(plan *siddhiql.Plan) (streams []*siddhiql.Stream) {
	for _, s := range plan.Streams {
		if s.Defined && s.Block < 0 && s.Subject != "" && !strings.HasPrefix(s.Subject, "out.") {
			streams = append(streams, s)
		}
	}
	return streams
}

// differ lists the attributes that differ between two schemas; "" if there are none. Their
// order does not matter, because events name them.
func differ(mine, its *event.Schema) string {
	var all []string
	for _, a := range mine.Attrs {
		i := slices.IndexFunc(its.Attrs, func(b event.Attr) bool { return b.Name == a.Name })
		switch {
		case i < 0:
			all = append(all, fmt.Sprintf("only the first has %s", a.Name))
		case its.Attrs[i].Type != a.Type:
			all = append(all, fmt.Sprintf("%s is %s in the first and %s in the second", a.Name, a.Type, its.Attrs[i].Type))
		}
	}
	for _, b := range its.Attrs {
		if !slices.ContainsFunc(mine.Attrs, func(a event.Attr) bool { return a.Name == b.Name }) {
			all = append(all, fmt.Sprintf("only the second has %s", b.Name))
		}
	}
	return strings.Join(all, ", ")
}
