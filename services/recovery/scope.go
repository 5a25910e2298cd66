package recovery

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
)

// scope says which components are restored to the target.
type scope struct {
	all   bool
	parts []map[string]*scoped // by partition, by id: the components that are named or needed
	infos []state.Info
}

// scoped is a component in the scope.
type scoped struct {
	role string
	note string
}

const (
	roleAll        = "all"
	roleNamed      = "named"
	roleDependency = "dependency"
	roleKept       = "kept"
)

// partial reports whether some state stays as it is.
func (s *scope) partial() bool { return !s.all }

// scope resolves the names of components, and adds the components that these depend on.
func (h *history) scope(names []string, after string) (scope, error) {
	task, err := rebuild.New(h.plan, 0, h.app.Settings)
	if err != nil {
		return scope{}, err
	}
	s := scope{all: len(names) == 0 && after != AfterFork, infos: task.Infos(), parts: make([]map[string]*scoped, h.app.Partitions)}
	for p := range s.parts {
		s.parts[p] = map[string]*scoped{}
	}
	if s.all {
		return s, nil
	}
	if len(names) == 0 { // a fork restores all components that are not bound to the log
		for _, info := range s.infos {
			names = append(names, info.ID)
		}
		names = slices.DeleteFunc(names, func(id string) bool { return engine.BoundToLog(s.info(id).Type) })
		return s, s.add(names, roleAll)
	}
	for _, name := range names {
		partition, ids, err := s.resolve(name)
		if err != nil {
			return s, err
		}
		if partition >= 0 {
			err = s.addTo(s.parts[partition:partition+1], ids, roleNamed)
		} else {
			err = s.add(ids, roleNamed)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *scope) info(id string) *state.Info {
	if i := slices.IndexFunc(s.infos, func(i state.Info) bool { return i.ID == id }); i >= 0 {
		return &s.infos[i]
	}
	return nil
}

// resolve finds the components that a name refers to: the id of a component, or a query
// for all of its components, optionally with a partition in front. Partition -1 means all.
func (s *scope) resolve(name string) (partition int, ids []string, err error) {
	if ids = s.called(name); len(ids) > 0 {
		return -1, ids, nil
	}
	first, rest, _ := strings.Cut(name, "/")
	if p, err := strconv.ParseUint(first, 10, 32); err == nil {
		if p >= uint64(len(s.parts)) {
			return 0, nil, failure(control.CodeInvalid, "component %q: the partitions are 0 to %d", name, len(s.parts)-1)
		}
		if ids = s.called(rest); len(ids) > 0 {
			return int(p), ids, nil
		}
	}
	var known []string
	for _, i := range s.infos {
		known = append(known, i.ID)
	}
	return 0, nil, failure(control.CodeInvalid, "there is no component %q; there are %s", name, strings.Join(known, ", "))
}

func (s *scope) called(name string) (ids []string) {
	for _, i := range s.infos {
		if query, _, _ := strings.Cut(i.ID, "/"); i.ID == name || query == name {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

func (s *scope) add(ids []string, role string) error { return s.addTo(s.parts, ids, role) }

func (s *scope) addTo(parts []map[string]*scoped, ids []string, role string) error {
	for _, id := range ids {
		info := s.info(id)
		if engine.BoundToLog(info.Type) {
			return failure(control.CodeInvalid, "component %s describes the events in the log, and can only be restored together with all state: leave --components out", id)
		}
		if role == roleNamed && engine.HoldsInput(info.Type) {
			return failure(control.CodeInvalid, "component %s has events that wait to be applied; if it were restored alone, some would be applied twice, and others never: leave --components out", id)
		}
		for _, part := range parts {
			part[id] = &scoped{role: role}
			s.need(part, id)
		}
	}
	return nil
}

// need adds the components that a component depends on.
func (s *scope) need(part map[string]*scoped, id string) {
	for _, other := range s.info(id).DependsOn {
		if part[other] != nil {
			continue
		}
		if engine.OnlyGrows(s.info(other).Type) {
			part[other] = &scoped{role: roleKept, note: fmt.Sprintf("%s needs it; it only grows, so it fits as it is", id)}
			continue
		}
		part[other] = &scoped{role: roleDependency, note: id + " needs it"}
		s.need(part, other)
		if engine.BindsAll(s.info(other).Type) {
			s.needed(part, other)
		}
	}
}

// needed adds the components that depend on a component and have the same keys.
func (s *scope) needed(part map[string]*scoped, id string) {
	for _, info := range s.infos {
		if part[info.ID] == nil && slices.Contains(info.DependsOn, id) {
			part[info.ID] = &scoped{role: roleDependency, note: "it has the same keys: " + id}
			s.need(part, info.ID)
		}
	}
}

// replaced lists the components of a partition that are restored to the target.
func (s *scope) replaced(p uint32) (ids []string) {
	for _, info := range s.infos {
		if c := s.parts[p][info.ID]; c != nil && c.role != roleKept {
			ids = append(ids, info.ID)
		}
	}
	return ids
}

// describe lists the components for a plan, and warns about a questionable choice.
func (s *scope) describe(h *history) (list []PlanComponent, warnings []string) {
	for _, info := range s.infos {
		c := PlanComponent{ID: info.ID, Role: roleAll}
		for p := range h.app.Partitions {
			if one := s.parts[p][info.ID]; one != nil {
				c.Role, c.Note = one.role, one.note
				c.Partitions = append(c.Partitions, p)
			} else if s.all {
				c.Partitions = append(c.Partitions, p)
			}
		}
		if len(c.Partitions) > 0 {
			list = append(list, c)
		}
	}
	if s.all {
		return list, nil
	}
	for p := range h.app.Partitions {
		for _, id := range s.replaced(p) {
			query, kind, _ := strings.Cut(id, "/")
			other := query + "/aggregate"
			if kind == "aggregate" {
				other = query + "/window"
			}
			if (kind == "window" || kind == "aggregate") && s.info(other) != nil && s.parts[p][other] == nil {
				warnings = append(warnings, fmt.Sprintf("partition %d: %s goes back and %s does not, which counts the same rows; name %s to take both", p, id, other, query))
			}
		}
	}
	return list, warnings
}
