package checkpointer

import (
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// textsKept is how many versions keep their texts even if no checkpoint needs them, so that
// operators can compare them and go back to them.
const textsKept = 20

// versions returns all versions of an app, oldest first. An app that was never changed has
// only the version that it was deployed with.
func (a *appState) versions() []control.Version {
	if len(a.Versions) > 0 {
		return a.Versions
	}
	return []control.Version{{
		Number: max(a.Version, 1), Plan: a.Plan, Level: a.Level, Build: a.Build, Stamp: a.Stamp,
		Time: a.Deployed, Settings: a.Settings, Text: a.Text,
	}}
}

// newest returns the newest version, in force or not.
func (a *appState) newest() *control.Version {
	all := a.versions()
	return &all[len(all)-1]
}

// versionOf returns a version by its number, or nil.
func (a *appState) versionOf(number uint32) *control.Version {
	all := a.versions()
	if i := slices.IndexFunc(all, func(v control.Version) bool { return v.Number == number }); i >= 0 {
		return &all[i]
	}
	return nil
}

// scalings returns the number of partitions of each version that a scaling made: no other change
// has another number than the version before. Versions without a text are left out.
func (a *appState) scalings() map[uint32]int {
	if a.Scalings == 0 {
		return nil
	}
	made, before := map[uint32]int{}, 0
	for _, v := range a.versions() {
		number := 0
		if plan, err := siddhiql.CompileDeployed(v.Text); err == nil && v.Text != "" {
			number = plan.Partitions
		}
		if before > 0 && number > 0 && number != before {
			made[v.Number] = number
		}
		before = number
	}
	return made
}

// planned reports whether a version of the app has this plan digest.
func (a *appState) planned(digest string) bool {
	return slices.ContainsFunc(a.versions(), func(v control.Version) bool { return v.Plan == digest })
}

// changing returns the version whose frame may be missing in some logs; nil if there is none.
func (a *appState) changing() *control.Version {
	if v := a.newest(); v.Number > max(a.Version, 1) {
		return v
	}
	return nil
}

// upgrade adds a version to an app, unless it cannot be changed now. first is from where the logs
// are kept for it, by partition; nil: it does not need them.
func (a *appState) upgrade(v *control.Version, first []uint64) any {
	if has := a.versionOf(v.Number); has != nil && has.Plan == v.Plan && has.Stamp == v.Stamp {
		return nil
	}
	switch newest := a.newest(); {
	case a.Removing:
		return refuse(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Level == 0:
		return refuse(control.CodeUnavailable, "app %s of version 0.x is not taken over yet; try again", a.Name)
	case a.changing() != nil:
		return refuse(control.CodeUnavailable, "app %s is being changed to version %d; change it again when that is done", a.Name, newest.Number)
	case a.Scaling != nil:
		return refuse(control.CodeUnavailable, "app %s is being scaled to %d partitions; change it when that is done", a.Name, a.Scaling.To)
	case a.Open != nil && a.Open.Restore != nil:
		return refuse(control.CodeUnavailable, "app %s is being restored; change it when that is done", a.Name)
	case v.Number != newest.Number+1:
		return refuse(control.CodeFenced, "app %s has version %d, and %d does not follow it; plan the change again", a.Name, newest.Number, v.Number)
	}
	if len(first) > 0 {
		if !a.retains(first) {
			return refuse(control.CodeFenced, "the log of app %s was trimmed after the change was planned; plan it again", a.Name)
		}
		a.Backfills = append(a.Backfills, backfill{v.Number, first})
	}
	a.addVersion(v)
	return nil
}

// addVersion adds a version. From then on, any leader completes the change.
func (a *appState) addVersion(v *control.Version) {
	if len(a.Versions) == 0 {
		a.Versions = a.versions()
	}
	a.Versions = append(a.Versions, *v)
	a.Shadow = nil
	a.forgetTexts()
}

// upgraded records that the logs of all partitions have the frame of a version.
func (a *appState) upgraded(number uint32) {
	v := a.changing()
	if v == nil || v.Number != number {
		return
	}
	a.Version, a.Plan, a.Text, a.Level, a.Build, a.Settings = v.Number, v.Plan, v.Text, v.Level, v.Build, v.Settings
}

// forgetTexts removes the texts that no retained checkpoint needs. The log after the oldest
// checkpoint needs only that version and later ones; without a checkpoint, it starts with
// version 1.
func (a *appState) forgetTexts() {
	needed := uint32(1)
	for i, k := range a.Committed {
		oldest := uint32(1)
		if len(k.Versions) > 0 {
			oldest = slices.Min(k.Versions)
		}
		if i == 0 || oldest < needed {
			needed = oldest
		}
	}
	for i := range max(0, len(a.Versions)-textsKept) {
		if a.Versions[i].Number < needed {
			a.Versions[i].Text = ""
		}
	}
}
