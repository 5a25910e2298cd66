package faults

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/shadow"
)

const shadowedApp = `@app:name('Shadowed') @app:partitions('2') define stream Pieces (k string, v int);
partition with (k of Pieces) begin
@info(name='sums') from Pieces#window.length(4) select k, v, sum(v) as total insert into Out;
end;`

// TestShadowOutlivesProcesses kills each process of a cluster that has to do with a shadow: the two
// that could run it, the leader, and the one that runs the app. Its report is the same afterwards:
// Raft has the shadow, and what it finds is a function of the log.
func TestShadowOutlivesProcesses(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--checkpoint.interval", "200ms", "--retention.checkpoints", "1", "--retention.span", "1ms")
	_, err := c.ctl.Deploy(c.within(patience), control.DeployRequest{Text: shadowedApp})
	must(t, err)
	processor := c.startProcessor("p1")
	c.serve("ingest", t.TempDir()).awaitReady()
	published := c.publishPieces(0, 50)
	eventually(t, "the app has a checkpoint", func() bool {
		a, err := c.ctl.App(c.within(patience), control.AppRequest{App: "Shadowed"})
		return err == nil && a.Checkpoint > 0
	})
	next := strings.Replace(shadowedApp, "from Pieces#", "from Pieces[v % 5 != 0]#", 1)
	started, err := c.ctl.StartShadow(c.within(patience), control.ShadowRequest{Text: next})
	must(t, err)
	recoveries := []*process{c.serve("recovery", t.TempDir()), c.serve("recovery", t.TempDir())}
	report := func() control.ShadowReport {
		t.Helper()
		r, err := c.ctl.ShadowReport(c.within(patience), "Shadowed", control.ShadowReportRequest{ID: started.Shadow.ID, CaughtUp: true})
		must(t, err)
		return r
	}
	faults := []func(){
		func() { recoveries[0].kill(); recoveries[0] = c.serve("recovery", t.TempDir()) },
		func() { recoveries[1].kill(); recoveries[1] = c.serve("recovery", t.TempDir()) },
		func() {
			id := c.leader()
			c.members[id].kill()
			delete(c.members, id)
			c.leader()
			c.startMember(id)
		},
		func() { processor.kill(); processor = c.startProcessor("p1") },
	}
	before := report()
	for i := range max(*kills, len(faults)) {
		published = c.publishPieces(published, 40)
		whole := report()
		if got := whole.Events - before.Events; got != 40 {
			t.Errorf("it has applied %d more events, of 40", got)
		}
		if s := whole.Streams[0]; s.OnlyOld != before.Streams[0].OnlyOld+8 || s.Equal+s.Different+s.OnlyOld != whole.Events || s.OnlyNew > 0 {
			t.Errorf("%+v, and before %+v", s, before.Streams[0])
		}
		faults[i%len(faults)]()
		after := report()
		if one, other := text(t, &whole.Report), text(t, &after.Report); one != other {
			t.Errorf("before fault %d\n%s\nafter it\n%s", i, one, other)
		}
		before = after
	}
	_, err = c.ctl.Upgrade(c.within(patience), control.UpgradeRequest{Text: next, Shadowed: true})
	if err == nil || !strings.Contains(err.Error(), "were not approved: Out") {
		t.Fatal(err)
	}
	_, err = c.ctl.ApproveShadow(c.within(patience), control.ApproveRequest{App: "Shadowed", Stream: "Out"})
	must(t, err)
	u, err := c.ctl.Upgrade(c.within(patience), control.UpgradeRequest{Text: next, Shadowed: true})
	must(t, err)
	if u.To != 2 || u.Shadow != nil {
		t.Errorf("%+v", u)
	}
}

// text returns a report without the number of frames, which barriers are among.
func text(t *testing.T, r *shadow.Report) string {
	t.Helper()
	r.Frames = 0
	data, err := json.MarshalIndent(r, "", " ")
	must(t, err)
	return string(data)
}

// publishPieces publishes n events, each until it is acknowledged, and returns the number of the next.
func (c *cluster) publishPieces(from, n int) int {
	c.t.Helper()
	for i := from; i < from+n; i++ {
		m := &nats.Msg{Subject: "events.Pieces", Data: fmt.Appendf(nil, `{"k":"k%d","v":%d}`, i%7, i), Header: nats.Header{nats.MsgIdHdr: {fmt.Sprint(i)}}}
		eventually(c.t, fmt.Sprintf("event %d is accepted", i), func() bool {
			answer, err := c.nc.RequestMsg(m, time.Second)
			return err == nil && readAnswer(answer) == nil
		})
	}
	return from + n
}

// kill ends a process with SIGKILL.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	p.end()
}
