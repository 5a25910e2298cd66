package node

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
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
	shadowed := plan
	shadowed.Shadowed = true
	if u, err := c.node.control.Upgrade(c.within(), shadowed); err != nil || !strings.Contains(u.Refused, "leave out --shadowed or --backfill") {
		t.Errorf("as a shadow: %+v, %v", u, err)
	}
	c.trigger("w")
	u, err = c.node.control.Upgrade(c.within(), plan)
	if err != nil || !regexp.MustCompile(`peaks/window cannot be built from the log: it reads what follows from all/aggregate`).MatchString(u.Refused) {
		t.Errorf("with a part of it: %+v, %v", u, err)
	}
}

// firstOf returns the first sequence of the log of app w.
func (c *chain) firstOf() uint64 {
	c.t.Helper()
	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err != nil {
		c.t.Fatal(err)
	}
	return log.CachedInfo().State.FirstSeq
}

// trimmed waits until the log of app w starts after a sequence, and returns where.
func (c *chain) trimmed(after uint64) uint64 {
	c.t.Helper()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(2 * time.Millisecond) {
		if first := c.firstOf(); first > after {
			return first
		}
	}
	c.t.Fatalf("the log starts at %d", c.firstOf())
	return 0
}

// The log is kept from where a change reads it as long as a checkpoint from before the change is
// retained, so a restore to that one works. If the log is lost nevertheless, the task halts.
func TestBackfillKeepsItsLog(t *testing.T) {
	t.Parallel()
	c := newChain(t, withoutWindow)
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 2, time.Millisecond
	c.start()
	c.publishAll(0, 30)
	c.trigger("w")
	oldest := c.logEnd()
	c.publishAll(30, 45)
	second := c.trigger("w")
	before := c.logEnd()
	c.publishAll(45, 60)
	u := c.upgrade(control.UpgradeRequest{Text: withWindow, Backfill: true})
	if u.Backfill[0].Sequence != oldest+1 {
		t.Errorf("the log is read from %d, want %d", u.Backfill[0].Sequence, oldest+1)
	}
	c.apps = []string{withWindow}
	c.publishAll(60, 70)
	c.trigger("w") // the first checkpoint goes
	if first := c.trimmed(oldest); first != oldest+1 {
		t.Fatalf("the log is kept from %d on, want %d", first, oldest+1)
	}
	at, result := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: recovery.Target{To: second}}})
	if at.State != "done" || result.Generation != 2 {
		t.Fatalf("restore to before the change: %+v, %+v", at, result)
	}
	c.serves(2)
	want := replayedWith(t, 70, map[int]string{0: withoutWindow, 60: withWindow}, `,"backfill":true`)
	generations := c.generations(70 + 25)
	equalRows(t, "the restored app", values(generations["2"]), want[45:])

	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err == nil {
		err = log.Purge(c.within(), jetstream.WithPurgeSequence(before))
	}
	if err != nil {
		t.Fatal(err)
	}
	c.kill()
	c.start()
	defer c.end()
	halted := c.task("halted")
	for _, says := range []string{"version 2 of app \"w\" builds state from the log, from sequence", "log EFW_w_0: sequence", "eventflux recover w --to EPOCH --keep-version"} {
		if !strings.Contains(halted.Error, says) {
			t.Errorf("%q, want %q in it", halted.Error, says)
		}
	}
}

// After the change, checkpoints trim the log as they did before.
func TestBackfillLetsItsLogGo(t *testing.T) {
	t.Parallel()
	c := newChain(t, withoutWindow)
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 1, time.Millisecond
	c.start()
	defer c.end()
	c.publishAll(0, 10)
	c.trigger("w")
	c.publishAll(10, 20)
	c.upgrade(control.UpgradeRequest{Text: withWindow, Backfill: true})
	changed := c.logEnd()
	c.trigger("w")
	c.trimmed(changed)
}
