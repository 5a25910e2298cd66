package engine

import (
	"fmt"
	"strings"

	"eventflux/shared/aggregate"
	"eventflux/shared/state"
	"eventflux/shared/window"
)

// Component is one stateful part of an app.
type Component struct {
	// ID is unique in the app and stays the same from start to start, such as
	// query1/window.
	ID string
	// Type says what is in it, such as window/length.
	Type string
	// Version of the schema of its entries, as in semantic versioning.
	Version string
	// DependsOn lists the components that must be loaded before.
	DependsOn []string
	Source    state.Source
}

// Schema versions of what the engine itself keeps.
const (
	clockVersion     = "1.0.0"
	keysVersion      = "1.0.0"
	aggregateVersion = "1.0.0"
	taskVersion      = "1.0.0"
)

// Components returns the stateful parts of the engine, in an order in which they
// can be loaded.
func (e *Engine) Components() []Component {
	list := []Component{{
		ID: "clock", Type: "clock", Version: clockVersion,
		Source: fieldsSource{"clock", e.clockFields},
	}}
	for _, b := range e.blocks {
		list = append(list, Component{
			ID: blockID(b.id), Type: "partition/keys", Version: keysVersion, Source: keysSource{b},
		})
	}
	names := e.queryNames()
	for i, q := range e.queries {
		depends := []string{"clock"}
		if q.block != nil {
			depends = append(depends, blockID(q.block.id))
		}
		if w := q.plan.Window; w != nil {
			list = append(list, Component{
				ID: names[i] + "/window", Type: "window/" + w.Name, Version: q.spec.Version,
				DependsOn: depends, Source: windowSource{q},
			})
		}
		if len(q.plan.Aggs) > 0 {
			list = append(list, Component{
				ID: names[i] + "/aggregate", Type: aggregateType(q), Version: aggregateVersion,
				DependsOn: depends, Source: aggregateSource{q},
			})
		}
	}
	return list
}

func (e *Engine) clockFields(f *window.Fields) {
	e.env.Fields(f)
	f.Uint(&e.chunks)
}

func blockID(n int) string { return fmt.Sprintf("partition%d/keys", n+1) }

// aggregateType names the aggregators and the versions of their states: entries
// of other ones do not fit.
func aggregateType(q *query) string {
	names := make([]string, len(q.plan.Aggs))
	for i, a := range q.plan.Aggs {
		spec, _ := aggregate.Lookup(a.Name)
		names[i] = a.Name + "@" + spec.Version
	}
	return "aggregate/" + strings.Join(names, ",")
}

// queryNames returns a name for each query: its own, or query and its number.
func (e *Engine) queryNames() []string {
	taken := map[string]bool{}
	for _, q := range e.queries {
		taken[q.plan.Name] = true
	}
	names := make([]string, len(e.queries))
	for i, q := range e.queries {
		if names[i] = q.plan.Name; names[i] != "" {
			continue
		}
		names[i] = fmt.Sprintf("query%d", i+1)
		for taken[names[i]] {
			names[i] += "'"
		}
	}
	return names
}

// Components returns the stateful parts of the task: those of its engine, the
// writers of its log and the message ids of each of its streams.
func (t *Task) Components() []Component {
	list := append(t.Engine.Components(),
		Component{
			ID: "log/stamp", Type: "log/stamp", Version: taskVersion,
			Source: fieldsSource{"stamp", func(f *window.Fields) { f.Int(&t.stamp) }},
		},
		Component{ID: "log/writers", Type: "log/writers", Version: taskVersion, Source: newWritersSource(t.chain)},
	)
	for i, s := range t.plan.Streams {
		if s.Defined {
			list = append(list, Component{ID: s.Name + "/ids", Type: "log/ids", Version: taskVersion, Source: t.ids[i]})
		}
	}
	return list
}
