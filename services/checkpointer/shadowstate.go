package checkpointer

import (
	"maps"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/state"
)

// shadow starts a shadow, adds approvals to the one with the same ID, or, for nil, ends it. A shadow
// is never changed in place, since copies of the app share it.
func (a *appState) shadow(s *control.Shadow, index uint64) any {
	if s == nil {
		a.Shadow = nil
		return nil
	}
	if s.ID > 0 {
		if a.Shadow == nil || a.Shadow.ID != s.ID {
			return refuse(control.CodeFenced, "the shadow of app %s has ended", a.Name)
		}
		next := *a.Shadow
		next.Approved = approved(a.Shadow.Approved, s.Approved)
		a.Shadow = &next
		return nil
	}
	switch {
	case a.Removing:
		return refuse(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Scaling != nil:
		return refuse(control.CodeUnavailable, "app %s is being scaled to %d partitions; start the shadow when that is done", a.Name, a.Scaling.To)
	case s.Version != a.newest().Number:
		return refuse(control.CodeFenced, "app %s has version %d by now; start the shadow again", a.Name, a.newest().Number)
	case !slices.ContainsFunc(a.Committed, func(k committed) bool { return k.Epoch == s.Checkpoint && k.Generation == a.Generation }):
		return refuse(control.CodeUnavailable, "checkpoint %d of app %s was retired in the meantime; start the shadow again", s.Checkpoint, a.Name)
	}
	next := *s
	next.ID = index
	a.Shadow = &next
	return nil
}

// approved returns the union of approvals.
func approved(before, more map[string][]shadow.Kind) map[string][]shadow.Kind {
	all := maps.Clone(before)
	if all == nil {
		all = map[string][]shadow.Kind{}
	}
	for stream, kinds := range more {
		both := slices.Concat(all[stream], kinds)
		slices.Sort(both)
		all[stream] = slices.Compact(both)
	}
	return all
}

// shadowStartsAt reports whether the shadow of the app needs a checkpoint, and the log after it.
func (a *appState) shadowStartsAt(epoch state.Epoch) bool {
	return a.Shadow != nil && a.Shadow.Checkpoint == epoch
}
