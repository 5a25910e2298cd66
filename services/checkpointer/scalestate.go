package checkpointer

import (
	"maps"

	"github.com/eventflux/eventflux/shared/control"
)

// scale records that the number of partitions is to change. Until the commit of the generation
// that has the new number, it can be aborted.
func (a *appState) scale(c *command) any {
	v := c.Upgrade
	if a.Scaled != nil && a.Scaled.Number == v.Number && a.Scaled.Plan == v.Plan && a.Scaled.Stamp == v.Stamp {
		return nil
	}
	switch {
	case a.Removing:
		return refuse(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Scaling != nil:
		return refuse(control.CodeUnavailable, "app %s is being scaled to %d partitions; scale it again when that is done", a.Name, a.Scaling.To)
	case a.changing() != nil:
		return refuse(control.CodeUnavailable, "app %s is being changed to version %d; scale it when that is done", a.Name, a.changing().Number)
	case a.Open != nil && a.Open.Restore != nil:
		return refuse(control.CodeUnavailable, "app %s is being restored; scale it when that is done", a.Name)
	case v.Number != a.newest().Number+1 || c.To == 0 || c.To == a.Partitions:
		return refuse(control.CodeFenced, "app %s has version %d and %d partitions by now; plan the scaling again", a.Name, a.newest().Number, a.Partitions)
	}
	a.Scaled, a.ScalingFailed, a.Shadow = v, "", nil
	a.Scaling = &control.Scaling{From: a.Partitions, To: c.To, Started: c.Time}
	return nil
}

// rescale gives the app its new number of partitions, with the first checkpoint of the
// generation that has them.
func (a *appState) rescale() {
	if len(a.Versions) == 0 {
		a.Versions = a.versions()
	}
	a.Versions = append(a.Versions, *a.Scaled)
	a.upgraded(a.Scaled.Number)
	a.forgetTexts()
	a.Scaled = nil
	a.Streams = max(a.Streams, a.Partitions, a.Scaling.To)
	a.Partitions = a.Scaling.To
	a.Scalings++
	a.Rescaled = a.Generation
	maps.DeleteFunc(a.Places, func(p uint32, _ string) bool { return p >= a.Partitions })
	scaling := *a.Scaling
	scaling.Committed = true
	a.Scaling = &scaling
}

// scaled ends a scaling. Before the commit, that aborts it.
func (a *appState) scaled(c *command) {
	switch {
	case a.Scaling == nil:
	case a.Scaling.Committed && a.Version == c.Upgrade.Number:
		a.Scaling = nil
	case !a.Scaling.Committed && a.Scaled != nil && a.Scaled.Number == c.Upgrade.Number && (a.Open == nil || !a.Open.Scale):
		a.Scaling, a.Scaled, a.ScalingFailed = nil, nil, c.Reason
	}
}

// streams returns the number of partitions that have JetStream streams.
func (a *appState) streams() uint32 { return max(a.Streams, a.Partitions) }
