package processor

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// doubling returns an app where each pair of queries makes two rows of one.
func doubling(pairs int) string {
	var b strings.Builder
	b.WriteString("@app:name('double') define stream S0 (v long);\n")
	for i := range pairs {
		for _, side := range []string{"a", "b"} {
			fmt.Fprintf(&b, "@info(name='%s%d') from S%d select v insert into S%d;\n", side, i, i, i+1)
		}
	}
	return b.String()
}

// An event that would cause far too many rows halts its app before any of them is published.
// The error names the query and says what to do.
func TestEndlessEventHaltsItsApp(t *testing.T) {
	r := newRig(t, doubling(40))
	r.send("S0", 1000, "", 1)
	s, stop := r.start()
	defer stop()
	r.eventually("the task has halted", func() bool { return r.info(s).State == control.TaskHalted })
	info := r.info(s)
	for _, want := range []string{"log sequence 2: query ", "rows follow from one event", "limits.event_rows_max", "nothing of this frame was published"} {
		if !strings.Contains(info.Error, want) {
			t.Errorf("halted with %q, want %q in it", info.Error, want)
		}
	}
	if got := r.results(); len(got) > 0 {
		t.Errorf("results: %q", got)
	}
}

const lately = `@app:name('lately') define stream S (k string);
from S#window.length(100000) select k insert into Out;`

// A task whose state exceeds its memory limit reports that and continues.
func TestStateOverItsLimit(t *testing.T) {
	r := newRig(t, lately)
	l := newLeader(r)
	l.app.Text = lately
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "0.0.1", Log: quiet, Control: l, Store: memory.New(), StateBytesMax: 300_000})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	over := func() string {
		if all := s.Tasks(); len(all) == 1 {
			return all[0].Over
		}
		return ""
	}
	last := uint64(0)
	r.eventually("the task is over its limit", func() bool {
		last = r.send("S", time.Now().UnixMilli(), "", strings.Repeat("k", 20_000))
		return over() != ""
	})
	if got := over(); !strings.Contains(got, "300000 bytes") || !strings.Contains(got, "processor.state_bytes_max") {
		t.Errorf("it says %q", got)
	}
	r.eventually("what is in the log is applied", func() bool { return s.Tasks()[0].Applied >= last })
	if info := s.Tasks()[0]; !info.Alive() {
		t.Errorf("%+v", info)
	}
	cancel()
	must(t, <-ended)
}

const openings = `@app:name('openings') define stream S (k long, b bool);
from every a=S[not b] -> b=S[b and k == a.k] select b.k as k insert into Out;`

// A task that holds more partial matches than its limit reports that, drops none of them and
// continues once the limit is raised. Another task of the process goes on.
func TestPartialMatchesOverTheirLimit(t *testing.T) {
	r := newRig(t, openings)
	const otherApp = "@app:name('other') define stream S (v int); from S select v insert into Out;"
	other, err := siddhiql.Compile(otherApp)
	must(t, err)
	beside := &rig{t: t, text: otherApp, plan: other, srv: r.srv, nc: r.nc, js: r.js}
	beside.ensure()
	beside.log = beside.writer()
	start := func(limit int64) (s *Service, stop func()) {
		return r.startWith(Config{Apps: []*siddhiql.Plan{r.plan, other}, PartialMatchesMax: limit})
	}
	task := func(s *Service, app string) (i TaskInfo) {
		for _, x := range s.Tasks() {
			if x.App == app {
				i = x
			}
		}
		return i
	}
	s, stop := start(10)
	keys, last := 0, uint64(0)
	r.eventually("the task is over its limit", func() bool {
		last = r.send("S", int64(1000+keys), "", keys, false)
		keys++
		return task(s, "openings").Over != ""
	})
	if over := task(s, "openings").Over; !strings.Contains(over, "more than 10 partial matches (limits.partial_matches_max): raise the setting") {
		t.Errorf("it says %q", over)
	}
	if err := s.tasksFit(); err == nil || !strings.Contains(err.Error(), "app openings, partition 0 takes no events") {
		t.Errorf("the check of limits: %v", err)
	}
	r.eventually("what is in the log is applied", func() bool { return task(s, "openings").Applied >= last })
	seq := beside.send("S", 1000, "", 1)
	r.eventually("the other task goes on", func() bool { return task(s, "other").Applied >= seq })
	if over := task(s, "other").Over; over != "" {
		t.Errorf("the other task: %q", over)
	}
	stop()
	s, stop = start(int64(10 * keys))
	defer stop()
	for key := range keys {
		last = r.send("S", 1_000_000, "", key, true)
	}
	r.eventually("every match is complete", func() bool { return task(s, "openings").Applied >= last })
	if got := task(s, "openings"); got.Over != "" || !got.Alive() {
		t.Errorf("with a higher limit: %+v", got)
	}
	r.eventually("each has its row", func() bool { return len(r.results()) == keys })
}

// A task that was over its limit takes events again when its state is clearly below it.
func TestBackBelowTheLimit(t *testing.T) {
	x := &gauge{task: &task{service: &Service{cfg: Config{StateBytesMax: 1000}}, log: quiet}}
	for _, step := range []struct {
		bytes int64
		over  bool
	}{{1000, false}, {1001, true}, {1000, true}, {951, true}, {950, false}, {1000, false}} {
		x.sized(step.bytes, 0, &siddhiql.Plan{})
		if over := x.status.over.Load() != nil; over != step.over {
			t.Errorf("at %d bytes over is %t, want %t", step.bytes, over, step.over)
		}
	}
	x.sized(2000, 0, &siddhiql.Plan{})
	x.service.cfg.StateBytesMax = 0 // raised: the next process has no limit
	x.sized(2000, 0, &siddhiql.Plan{})
	if x.status.over.Load() != nil {
		t.Error("over no limit at all")
	}
}

// The windows of a playback app without idle.time wait for events, which are refused: only
// a higher limit helps, and the refusal says so.
func TestOverTheLimitForEver(t *testing.T) {
	for _, x := range []struct {
		plan siddhiql.Plan
		want bool
	}{{siddhiql.Plan{}, false}, {siddhiql.Plan{Playback: true}, true}, {siddhiql.Plan{Playback: true, Idle: 1}, false}} {
		over := &gauge{task: &task{service: &Service{cfg: Config{StateBytesMax: 1000}}, log: quiet}}
		over.sized(1001, 0, &x.plan)
		if why := *over.status.over.Load(); strings.Contains(why, "raise the setting") != x.want {
			t.Errorf("playback %t, idle.time %d: %q", x.plan.Playback, x.plan.Idle, why)
		}
	}
}
