package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// anyVersion returns a random text of app Changed, whose counts go on in all versions. Its results
// have n as made.
func anyVersion(rnd *rand.Rand, partitions uint32, n int) string {
	pick := func(texts ...string) string { return texts[rnd.IntN(len(texts))] }
	more := pick("", fmt.Sprintf(" @info(name='extra') from Changes[k %% 3 == %d] select k, count() as n, %d as made insert into Extra;", rnd.IntN(3), n))
	window := pick("", "[v > 2]") + fmt.Sprintf("#window.length(%d)", 1+rnd.IntN(6))
	return fmt.Sprintf(`@app:name('Changed') @app:partitions('%d') define stream Changes (%s);
		partition with (k of Changes) begin @info(name='counts') from Changes select k, count() as n, %d as made insert into Out;
		@info(name='win') from Changes%s select k, sum(v) as total%s, %d as made insert into Sums;%s end;`,
		partitions, pick("k int, v int", "v int, k int", "k int, v long"), n,
		window, pick("", ", max(v) as most", ", count() as n"), n, more)
}

// TestRandomChanges changes a live app: fifty upgrades to random texts and rollbacks to earlier ones,
// and ten scalings among them. Events are published all the time, and the process is killed again and
// again, at the steps of a change and at random moments. Each acknowledged event is in the results of
// exactly one version, once and in the order of its key, and they equal those of an offline replay of
// the logs with the same changes.
func TestRandomChanges(t *testing.T) {
	rnd, changes, scalings := random(t), 50, 10
	if testing.Short() {
		changes, scalings = 2, 2
	}
	began := time.Now()
	c := &changer{t: t, rnd: rnd, data: t.TempDir(), first: anyVersion(rnd, changedPartitions, 1), partitions: changedPartitions, most: changedPartitions, kills: map[string]int{}}
	c.start()
	c.o.command("app", "deploy", write(t, "first.siddhi", c.first))
	o, err := c.o.ctl.Trigger(c.o.within(), control.AppRequest{App: "Changed"}) // the log is complete from here
	must(t, err)
	if !o.Committed {
		t.Fatalf("%+v", o)
	}
	for i, n := range rnd.Perm(changes + scalings) {
		if n < scalings {
			c.scale()
		} else {
			c.change(i + 2)
		}
	}
	eventually(t, "the event is accepted that the last publisher did not wait for", func() bool {
		last := c.published
		c.published = publishOne(c.o.within(), c.o, last)
		return c.published > last
	})
	rows := c.check()
	c.o.p.stop()
	t.Logf("%d changes and scalings to %v partitions made versions 1 to %d, %d of them rollbacks; %d kills (%v); %d events, %d results; %s",
		changes, c.sizes, c.newest, c.rollbacks, c.killed, c.kills, c.published, rows, time.Since(began).Round(time.Second))
}

// changer changes an app, and kills its process.
type changer struct {
	t                *testing.T
	rnd              *rand.Rand
	data, first      string // first is the text of version 1
	o                *operator
	published        int
	newest           uint32 // version
	partitions, most uint32
	sizes            []uint32 // that it was scaled to
	rollbacks        int
	killed           int
	kills            map[string]int
}

// start starts the process.
func (c *changer) start() {
	other := write(c.t, "other.siddhi", counting("Other", 1, "Orders"))
	c.o = operate(serving(c.t, c.data, other, "--checkpoint.interval=500ms", "--retention.span=100h"))
}

// change upgrades the app to a text whose results have n as made, or back to an earlier version.
func (c *changer) change(n int) {
	c.t.Helper()
	r := control.UpgradeRequest{Text: anyVersion(c.rnd, c.partitions, n), Drop: true}
	if c.newest > 1 && c.rnd.IntN(3) == 0 {
		r = control.UpgradeRequest{App: "Changed", To: 1 + c.rnd.Uint32N(c.newest), Drop: true}
		c.rollbacks++
	}
	c.apply(faultpoint.OfUpgrade, func(ctx context.Context) error {
		_, err := c.o.ctl.Upgrade(ctx, r)
		return err
	}, func(*control.App) bool { return true })
}

// scale changes the number of partitions. A scaling that the process did not live to note is
// requested again.
func (c *changer) scale() {
	c.t.Helper()
	to := 1 + c.rnd.Uint32N(8)
	if n := len(c.sizes); n < 3 {
		to = []uint32{1, 8, 3}[n]
	} else if to == c.partitions {
		to = 1 + to%8
	}
	scale := func(ctx context.Context) error {
		_, err := c.o.ctl.Scale(ctx, control.ScaleRequest{App: "Changed", Partitions: to})
		return err
	}
	c.apply(faultpoint.OfScale, scale, func(a *control.App) bool {
		if a.Scaling == nil && a.Partitions != to {
			must(c.t, scale(c.o.within()))
		}
		return a.Scaling == nil && a.Partitions == to
	})
	c.partitions, c.most, c.sizes = to, max(c.most, to), append(c.sizes, to)
}

// atRandom is a kill at no step.
const atRandom = "at random"

// apply requests a change and waits until it is complete, while events are published. It may kill
// the process at a step of the change, or at a random moment.
func (c *changer) apply(steps []faultpoint.Point, request func(context.Context) error, complete func(*control.App) bool) {
	c.t.Helper()
	how, after := "", 0
	switch n := c.rnd.IntN(4); {
	case n == 0:
		how, after = atRandom, 1+c.rnd.IntN(200)
	case n < 3 || c.killed == 0:
		how = string(steps[c.rnd.IntN(len(steps))])
		c.o.p.arm("kill " + how + " 1")
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var publishing, requested sync.WaitGroup
	publishing.Go(func() { c.publish(ctx, after) })
	requested.Go(func() {
		if err := request(ctx); err != nil && how == "" {
			c.t.Errorf("change %d: %v", c.newest+1, err)
		}
	})
	if how != "" {
		c.awaitKill(how)
		stop()
		publishing.Wait()
		requested.Wait()
		c.start()
		ctx, stop = context.WithCancel(context.Background())
		defer stop()
		publishing.Go(func() { c.publish(ctx, 0) })
	}
	requested.Wait()
	c.settle(complete)
	stop()
	publishing.Wait()
}

// publish publishes events until ctx ends, and repeats some that were acknowledged before. If after is
// not 0, it kills the process after that many.
func (c *changer) publish(ctx context.Context, after int) {
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		if n%3 == 0 {
			publishOne(ctx, c.o, max(0, c.published-changedKeys))
		}
		next := publishOne(ctx, c.o, c.published)
		if n == after {
			c.o.p.signal(syscall.SIGKILL)
		}
		if next == c.published { // refused during a scaling
			select {
			case <-pace.C:
			case <-ctx.Done():
			}
		}
		c.published = next
	}
}

// awaitKill waits until the process has died. A change to the text in force comes to no step, so
// the process is killed after a while.
func (c *changer) awaitKill(how string) {
	c.t.Helper()
	p := c.o.p
	defer time.AfterFunc(3*time.Second, func() { p.signal(syscall.SIGKILL) }).Stop()
	if code := p.end(); code != -1 {
		c.t.Fatalf("%s: ended with code %d", how, code)
	}
	c.killed++
	c.kills[how]++
}

// settle waits until a change is complete, and all partitions run the newest version.
func (c *changer) settle(complete func(*control.App) bool) {
	c.t.Helper()
	eventually(c.t, "all partitions run the newest version", func() bool {
		h, err := c.o.ctl.History(c.o.within(), control.AppRequest{App: "Changed"})
		must(c.t, err)
		c.newest = h.Versions[len(h.Versions)-1].Number
		a, err := c.o.ctl.App(c.o.within(), control.AppRequest{App: "Changed"})
		must(c.t, err)
		return complete(&a) && a.Version == c.newest && len(a.Missing) == 0
	})
}
