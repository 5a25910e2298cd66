package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
)

// keeping is a request that goes back to a target and keeps the version there.
func keeping(target recovery.Target) recovery.RestoreRequest {
	return recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: target, KeepVersion: true}}
}

// A restore that keeps the version at its target gives the results that this version gives of the
// whole log, and the app goes on with its text as the next version. A later restore without it
// applies all versions again.
func TestRestoreKeepsAVersion(t *testing.T) {
	t.Parallel()
	c := newChain(t, firstVersion)
	c.start()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 40)
	c.rows("w", 40)
	c.refused(keeping(recovery.Target{To: first}), "there is no later one to pass over")
	before := recovery.Target{At: recovery.At(fmt.Sprintf("seq:%d", c.logEnd()))}
	c.upgrade(control.UpgradeRequest{Text: secondVersion})
	c.publishAll(40, 50)
	c.upgrade(control.UpgradeRequest{Text: strings.ReplaceAll(thirdVersion, "k string, v int", "v long, k string")})
	c.publishAll(50, 60)
	c.rows("w", 60)
	c.trigger("w")

	at, result := c.restore(keeping(before))
	if at.State != "done" || result.Generation != 2 || result.Version != 4 || result.Plan.Keeps != 1 || result.Plan.Newest != 3 {
		t.Fatalf("%+v, %+v", at, result)
	}
	c.serves(4)
	c.publishAll(60, 70)
	alone := replayed(t, 90, map[int]string{0: firstVersion})
	rows := c.generations(60 + 30)["2"]
	equalRows(t, "the restored app", values(rows), alone[40:70])
	versions := c.versions(90)[60:]
	if slices.Index(versions, "4") != 20 || slices.ContainsFunc(versions, func(v string) bool { return v != "1" && v != "4" }) {
		t.Errorf("versions of the results: %v", versions)
	}
	newest := c.trigger("w")
	if r := c.verifyFull("w", uint64(newest)); !r.Sound || !r.Proved {
		t.Errorf("the checkpoint after the restore: %+v", r)
	}
	c.kill()
	c.apps = []string{firstVersion}
	c.start()
	defer c.end()
	c.publishAll(70, 80)
	equalRows(t, "after a kill", values(c.generations(100)["2"]), alone[40:80])

	at, result = c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: recovery.Target{To: first}}})
	if at.State != "done" || result.Generation != 3 || result.Version != 0 {
		t.Fatalf("%+v, %+v", at, result)
	}
	c.serves(4)
	c.publishAll(80, 90)
	all := c.generations(100 + 60)["3"]
	if n := len(all); n != 60 {
		t.Fatalf("%d results", n)
	}
	equalRows(t, "before the first change", values(all[:10]), alone[30:40])
	changed := replayed(t, 90, map[int]string{0: firstVersion, 40: secondVersion})
	equalRows(t, "after the first change", values(all[10:20]), changed[40:50])
}
