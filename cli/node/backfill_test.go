package node

import (
	"regexp"
	"testing"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
)

// The second version has a window on the same events, which is built from the log.
const (
	withoutWindow = `@app:name('w') define stream S (k string, v int);
@info(name='pass') from S select k, v as total insert into Out;
@info(name='all') from S select k, count() as n group by k insert into Counts;`
	withWindow = `@app:name('w') define stream S (k string, v int);
@info(name='all') from S select k, count() as n group by k insert into Counts;
@info(name='win') from S#length(20) select k, sum(v) as total insert into Out;`
)

// An app whose change builds state from the log gives the rows of an offline replay with the same
// change, each once, however often the change is applied: live, after a kill, by a verification, in an
// export, and after a restore to before it.
func TestBackfillOfALiveApp(t *testing.T) {
	t.Parallel()
	c := newChain(t, withoutWindow)
	c.start()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 60)
	u, err := c.node.control.Upgrade(c.within(), control.UpgradeRequest{Text: withWindow, Backfill: true, Plan: true})
	if err != nil {
		t.Fatal(err)
	}
	note := regexp.MustCompile(`new +win/window +-> length\(20\) +it is built from the log since seq:\d+ \(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\)`)
	if text := u.Changes.String(); u.Refused != "" || !note.MatchString(text) || len(u.Backfill) != 1 || u.Backfill[0].Sequence < 2 || u.Backfill[0].Time.IsZero() {
		t.Errorf("the plan: %q, %+v\n%s", u.Refused, u.Backfill, text)
	}
	c.upgrade(control.UpgradeRequest{Text: withWindow, Backfill: true})
	c.publishAll(60, 80)
	c.rows("w", 80)
	c.kill() // it restarts from the checkpoint before the change
	c.apps = []string{withWindow}
	c.start()
	defer c.end()
	c.serves(2)
	c.publishAll(80, 90)

	changes := map[int]string{0: withoutWindow, 60: withWindow}
	want := replayedWith(t, 90, changes, `,"backfill":true`)
	equalRows(t, "live", values(c.rows("w", len(want))), want)
	newest := c.trigger("w")
	if r := c.verifyFull("w", uint64(newest)); !r.Sound || !r.Proved {
		t.Errorf("the checkpoint after the change: %+v", r)
	}
	equalRows(t, "an export from before the change", c.exported(first), want[30:])
	at, result := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: recovery.Target{To: first}}})
	if at.State != "done" || result.Generation != 2 {
		t.Fatalf("restore to before the change: %+v, %+v", at, result)
	}
	c.serves(2)
	generations := c.generations(90 + 60)
	equalRows(t, "the restored app", values(generations["2"]), want[30:])
}

// Without a checkpoint, the log is complete, and state may follow from other state. A change that
// cannot be built in the same way is refused.
func TestBackfillOfACompleteLog(t *testing.T) {
	t.Parallel()
	const follows = withoutWindow + `
@info(name='peaks') from Counts#length(10) select k, max(n) as most insert into Peaks;`
	c := newChain(t, withoutWindow)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	plan := control.UpgradeRequest{Text: follows, Backfill: true, Plan: true}
	u, err := c.node.control.Upgrade(c.within(), plan)
	if err != nil || u.Refused != "" || u.Backfill[0].Sequence != 1 {
		t.Errorf("with a complete log: %+v, %v", u, err)
	}
	c.trigger("w")
	u, err = c.node.control.Upgrade(c.within(), plan)
	if err != nil || !regexp.MustCompile(`peaks/window cannot be built from the log: it reads what follows from all/aggregate`).MatchString(u.Refused) {
		t.Errorf("with a part of it: %+v, %v", u, err)
	}
}
