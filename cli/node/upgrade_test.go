package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/export"
	"github.com/eventflux/eventflux/cli/replay"
	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
)

// The versions of an app: the window gets shorter, the sum stays, and a query is added.
const (
	firstVersion = `@app:name('w') define stream S (k string, v int);
@info(name='win') from S#length(20) select k, sum(v) as total insert into Out;
@info(name='all') from S select k, count() as n group by k insert into Counts;`
	secondVersion = `@app:name('w') define stream S (k string, v int);
@info(name='win') from S#length(5) select k, sum(v) as total insert into Out;
@info(name='all') from S select k, count() as n group by k insert into Counts;
@info(name='most') from S select max(v) as most insert into Most;`
	thirdVersion = `@app:name('w') define stream S (k string, v int);
@info(name='win') from S#length(5) select k, sum(v) as total, count() as n insert into Out;
@info(name='all') from S select k, count() as n group by k insert into Counts;
@info(name='most') from S select max(v) as most insert into Most;`
)

// upgrade upgrades an app, and waits until all partitions run the new version.
func (c *chain) upgrade(r control.UpgradeRequest) control.Upgraded {
	c.t.Helper()
	u, err := c.node.control.Upgrade(c.within(), r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.serves(u.To)
	return u
}

// serves waits until all partitions of app w run a version.
func (c *chain) serves(version uint32) {
	c.t.Helper()
	for ctx := c.within(); ; {
		a, err := c.node.control.App(ctx, control.AppRequest{App: "w"})
		if err != nil {
			c.t.Fatal(err)
		}
		if a.Version == version && len(a.Missing) == 0 {
			return
		}
	}
}

// versions returns the version of each of the first n results of app w.
func (c *chain) versions(n int) (of []string) {
	c.t.Helper()
	for _, m := range c.messages(n) {
		of = append(of, m.Headers().Get("Ef-Version"))
	}
	return of
}

// replayed returns the results on Out of an offline run of events [0, n) with the same changes;
// each text is keyed by the number of the event that it applies from.
func replayed(t *testing.T, n int, changes map[int]string) (rows []string) {
	t.Helper()
	return replayedWith(t, n, changes, "")
}

// replayedWith is replayed with more keys in the lines that change the app.
func replayedWith(t *testing.T, n int, changes map[int]string, keys string) (rows []string) {
	t.Helper()
	plan, err := siddhiql.Compile(changes[0])
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var lines, out strings.Builder
	for i := range n {
		if text := changes[i]; text != "" && i > 0 {
			name := fmt.Sprintf("%d.siddhi", i)
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&lines, "{\"op\":\"upgrade\",\"app\":%q,\"ts\":%d%s}\n", name, i+1, keys)
		}
		fmt.Fprintf(&lines, "{\"stream\":\"S\",\"ts\":%d,\"data\":[\"k%d\",%d]}\n", i+1, i%3, i*i%101)
	}
	if err := replay.Run([]*siddhiql.Plan{plan}, "events", strings.NewReader(lines.String()), &out, replay.Options{Dir: dir, Again: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(lines.String())), nil }}); err != nil {
		t.Fatal(err)
	}
	return outOf(t, out.String())
}

// outOf returns the values of the rows on Out in the output of a replay.
func outOf(t *testing.T, output string) (rows []string) {
	t.Helper()
	for line := range strings.Lines(output) {
		var row struct {
			Stream string
			Data   json.RawMessage
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			t.Fatal(err)
		}
		if row.Stream == "Out" {
			rows = append(rows, string(row.Data))
		}
	}
	return rows
}

var memberName = regexp.MustCompile(`"\w+":`)

// values returns only the values of rows.
func values(rows []string) (all []string) {
	for _, row := range rows {
		row = memberName.ReplaceAllString(row, "")
		all = append(all, "["+row[1:len(row)-1]+"]")
	}
	return all
}

func equalRows(t *testing.T, what string, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%s: %d rows, want %d; from row %d\n%q, want\n%q", what, len(got), len(want), i, got[min(i, len(got)):], want[min(i, len(want)):])
		}
	}
}

// A live app that is upgraded, and killed in between, gives the rows of an offline replay with the
// same changes, each once, and each result names its version. Every view of its past works across
// the changes.
func TestUpgradeOfALiveApp(t *testing.T) {
	t.Parallel()
	c := newChain(t, firstVersion)
	c.start()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 40)
	c.rows("w", 40)
	before := c.logEnd()
	if u := c.upgrade(control.UpgradeRequest{Text: secondVersion}); u.From != 1 || u.To != 2 || u.Changes.Count(engine.OutcomeAdapted) == 0 {
		t.Errorf("the first change: %+v", u)
	}
	c.publishAll(40, 60)
	c.trigger("w")
	c.publishAll(60, 70)
	c.rows("w", 70)
	c.kill() // it restarts from a checkpoint of version 2
	c.apps = []string{secondVersion}
	c.start()
	c.upgrade(control.UpgradeRequest{Text: thirdVersion})
	c.publishAll(70, 80)
	c.rows("w", 80)
	c.kill() // and here from one of version 2, before the frame of version 3
	c.apps = []string{thirdVersion}
	c.start()
	defer c.end()
	c.serves(3)
	c.publishAll(80, 90)
	c.rows("w", 90)
	if u := c.upgrade(control.UpgradeRequest{App: "w"}); u.From != 3 || u.To != 4 {
		t.Errorf("the rollback: %+v", u)
	}
	c.publishAll(90, 100)

	changes := map[int]string{0: firstVersion, 40: secondVersion, 70: thirdVersion, 90: secondVersion}
	want := replayed(t, 100, changes)
	equalRows(t, "live", values(c.rows("w", len(want))), want)
	for i, version := range c.versions(100) {
		made := "1"
		switch {
		case i >= 90:
			made = "4"
		case i >= 70:
			made = "3"
		case i >= 40:
			made = "2"
		}
		if version != made {
			t.Fatalf("row %d was made by version %q, want %s", i, version, made)
		}
	}
	h, err := c.node.control.History(c.within(), control.AppRequest{App: "w"})
	if err != nil || h.Current != 4 || len(h.Versions) != 4 || h.Versions[3].Of != 2 || !slices.Equal(h.Partitions, []uint32{4}) {
		t.Errorf("history: %+v, %v", h, err)
	}
	newest := c.trigger("w")
	if r := c.verifyFull("w", uint64(newest)); !r.Sound || !r.Proved {
		t.Errorf("the checkpoint after all changes: %+v", r)
	}
	for at, entries := range map[uint64]int{before: 20, c.logEnd(): 5} {
		s := c.state(recovery.StateRequest{App: "w", Component: "win/window", Target: recovery.Target{At: recovery.At(fmt.Sprintf("seq:%d", at))}})
		if n := len(s.Partitions[0].Items); n != entries {
			t.Errorf("at %d the window has %d rows, want %d", at, n, entries)
		}
	}
	equalRows(t, "an export from before all changes", c.exported(first), want[30:])
	at, result := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: recovery.Target{To: first}}})
	if at.State != "done" || result.Generation != 2 {
		t.Fatalf("restore to before all changes: %+v, %+v", at, result)
	}
	c.serves(4)
	c.publishAll(100, 110)
	want = replayed(t, 110, changes)
	generations := c.generations(100 + 80)
	equalRows(t, "the restored app", values(generations["2"]), want[30:])
}

// exported returns the results on Out that an export from a checkpoint gives.
func (c *chain) exported(from state.Epoch) []string {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "w.efx")
	out, err := os.Create(file)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = export.Write(c.within(), c.nc, out, export.Options{App: "w", Epoch: from, Version: "1.0.0"})
	if err := errors.Join(err, out.Close()); err != nil {
		c.t.Fatal(err)
	}
	var rows strings.Builder
	if err := replay.RunExport(c.t.Context(), file, &rows, replay.Options{MemoryMax: replay.MemoryMaxDefault}); err != nil {
		c.t.Fatal(err)
	}
	return outOf(c.t, rows.String())
}

// A standby follows its owner's upgrade, has the same state afterwards, and takes over with it.
func TestStandbyFollowsAnUpgrade(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.set = func(cfg *config.Config) { cfg.Processor.Standby = "on" }
	c.start("", "checkpointer", "ingest")
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*member{}
	for _, id := range []string{"a", "b"} {
		nodes[id] = c.start(id, "processor")
	}
	c.placed("spread", func(by map[string]int) bool { return by["a"] == 2 && by["b"] == 2 })
	c.publish(0, 100)
	c.standing(4)
	next := strings.NewReplacer("from S#", "@info(name='sums', was='query1') from S#", " as total", " as total, count() as n").Replace(spreadApp)
	u, err := c.ctl.Upgrade(c.within(), control.UpgradeRequest{Text: next})
	if err != nil {
		t.Fatal(err)
	}
	for len(u.Missing) > 0 {
		if u.App, err = c.ctl.App(c.within(), control.AppRequest{App: "spread"}); err != nil {
			t.Fatal(err)
		}
	}
	c.publish(100, 150)
	c.standing(4)
	o, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "spread"}) // it has the digests that standbys compare
	if err != nil || !o.Committed {
		t.Fatalf("%+v, %v", o, err)
	}
	c.standing(4)
	c.kill(nodes["a"])
	c.placed("spread", func(by map[string]int) bool { return by["a"] == 0 && by["b"] == 4 })
	if c.tasks(func(task processor.TaskInfo) bool { return task.Promoted }) == 0 {
		t.Error("no standby was promoted")
	}
	const published = 200
	c.publish(150, published)
	got := c.allResults("spread", published)
	for key := range 23 {
		var want []string
		for i, last := key, []int{}; i < published; i += 23 {
			last = append(last, i)
			last = last[max(0, len(last)-3):]
			row := fmt.Sprintf(`{"k":"k%d","total":%d`, key, sum(last))
			if i >= 100 {
				row += fmt.Sprintf(`,"n":%d`, len(last))
			}
			want = append(want, row+"}")
		}
		if rows := got[fmt.Sprintf(`{"k":"k%d"`, key)]; !slices.Equal(rows, want) {
			t.Errorf("key %d:\n%q, want\n%q", key, rows, want)
		}
	}
}

func sum(values []int) (total int) {
	for _, v := range values {
		total += v
	}
	return total
}
