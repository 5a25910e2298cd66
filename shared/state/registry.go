package state

import (
	"fmt"
	"slices"
	"strings"
)

// Registry lists the components of an app. The zero Registry is empty. It is for
// one goroutine at a time.
type Registry struct{ byID map[string]Holder }

// Add adds a component. It is an error if the id is taken.
func (r *Registry) Add(h Holder) error {
	info := h.Info()
	if err := info.check(); err != nil {
		return err
	}
	if _, taken := r.byID[info.ID]; taken {
		return fmt.Errorf("%w: two components have the id %q", ErrInvalid, info.ID)
	}
	if r.byID == nil {
		r.byID = map[string]Holder{}
	}
	r.byID[info.ID] = h
	return nil
}

// ByID returns the component with the id.
func (r *Registry) ByID(id string) (Holder, bool) {
	h, ok := r.byID[id]
	return h, ok
}

// ByType returns the components of the type, sorted by id.
func (r *Registry) ByType(typ string) []Holder {
	return slices.DeleteFunc(r.List(), func(h Holder) bool { return h.Info().Type != typ })
}

// List returns all components, sorted by id.
func (r *Registry) List() []Holder {
	list := make([]Holder, 0, len(r.byID))
	for _, h := range r.byID {
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b Holder) int { return strings.Compare(a.Info().ID, b.Info().ID) })
	return list
}

// Ordered returns all components, each after its dependencies, and sorted by id if that
// leaves a choice. A missing dependency, and a cycle of any length, is an error that names
// the component.
func (r *Registry) Ordered() ([]Holder, error) {
	o := ordering{registry: r, done: map[string]bool{}}
	for _, h := range r.List() {
		if err := o.visit(h); err != nil {
			return nil, err
		}
	}
	return o.list, nil
}

type ordering struct {
	registry *Registry
	done     map[string]bool
	path     []string // the components that wait for the visited one
	list     []Holder
}

func (o *ordering) visit(h Holder) error {
	info := h.Info()
	if o.done[info.ID] {
		return nil
	}
	if i := slices.Index(o.path, info.ID); i >= 0 {
		return fmt.Errorf("%w: components depend on each other: %s -> %s",
			ErrInvalid, strings.Join(o.path[i:], " -> "), info.ID)
	}
	o.path = append(o.path, info.ID)
	for _, id := range slices.Sorted(slices.Values(info.DependsOn)) {
		other, ok := o.registry.ByID(id)
		if !ok {
			return fmt.Errorf("%w: component %q depends on %q, which does not exist", ErrInvalid, info.ID, id)
		}
		if err := o.visit(other); err != nil {
			return err
		}
	}
	o.path = o.path[:len(o.path)-1]
	o.done[info.ID] = true
	o.list = append(o.list, h)
	return nil
}
