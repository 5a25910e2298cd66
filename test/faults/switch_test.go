package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// TestKillDuringSwitch kills the process at each step of a switch to another store. After a
// restart, the cluster uses the former store or the new one, as Raft says, and has all its
// checkpoints there; the same request then completes the switch. The short form takes two of the
// steps, before and after the decision; the long form then kills in a whole cluster.
func TestKillDuringSwitch(t *testing.T) {
	steps := faultpoint.OfSwitch
	if testing.Short() {
		steps = []faultpoint.Point{faultpoint.SwitchBefore, faultpoint.SwitchDone}
	}
	server, data := s3test.Start(t), t.TempDir()
	p := serving(t, data, app("shapes"), "--checkpoint.interval=1h")
	checkpoints := 0
	trigger := func() {
		t.Helper()
		ctl := control.Client{Conn: p.connect()}
		eventually(t, "a checkpoint is made", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			o, err := ctl.Trigger(ctx, control.AppRequest{App: "Shapes"})
			return err == nil && o.Committed
		})
		checkpoints++
	}
	ask := func(url string) (s control.Switched, err error) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			<-p.exited
			cancel()
		}()
		ctl := control.Client{Conn: p.connect()}
		err = ctl.Do(ctx, control.VerbSwitch, control.SwitchRequest{URL: url}, &s)
		return s, err
	}
	was := "" // the store in use
	for i, step := range steps {
		trigger()
		next := server.URL(fmt.Sprint("s", i))
		p.arm(fmt.Sprintf("kill %s 1", step))
		if s, err := ask(next); err == nil {
			t.Fatalf("%s: %+v, and no kill", step, s)
		}
		if code := p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", step, code)
		}
		p = serving(t, data, app("shapes"), "--checkpoint.interval=1h")
		decided := step != faultpoint.SwitchCopied && step != faultpoint.SwitchHeld && step != faultpoint.SwitchBefore
		report := reportOf(t, p)
		if want := map[bool]string{false: was, true: next}[decided]; want != "" && report.URL != want || decided != (report.URL == next) {
			t.Errorf("%s: it uses %q, decided: %v", step, report.URL, decided)
		}
		trigger()
		verifyAll(t, p, checkpoints)
		s, err := ask(next)
		must(t, err)
		if s.URL != next {
			t.Errorf("%s: the repeated switch: %+v", step, s)
		}
		trigger()
		verifyAll(t, p, checkpoints)
		was = next
	}
	if err := os.RemoveAll(filepath.Join(data, "checkpoints")); err != nil {
		t.Fatal(err)
	}
	p.stop()
	p = serving(t, data, app("shapes"), "--checkpoint.interval=1h")
	verifyAll(t, p, checkpoints)
	p.stop()
	if !testing.Short() {
		t.Run("of a cluster", switchOfACluster)
	}
}

// switchOfACluster kills the leader of three checkpointers at the steps of a switch, or a
// processor, the merger or recovery while it runs. Afterwards a repeated request completes the
// switch, and every process uses the new store, whatever its setting says.
func switchOfACluster(t *testing.T) {
	c := newClusterArmed(t, 3, nil, "--checkpoint.interval=100ms", "--processor.standby=on")
	others := map[string]*process{"processor": c.deploy("Shapes"), "merger": nil, "recovery": nil}
	c.watch.end()
	begin := func(name string) {
		if name == "processor" {
			others[name] = c.startProcessor("p1")
			return
		}
		others[name] = c.serve(name, t.TempDir())
	}
	begin("merger")
	begin("recovery")
	c.startProcessor("p2")
	ask := func(url string) {
		t.Helper()
		eventually(t, "the store is switched", func() bool {
			var s control.Switched
			err := c.ctl.Do(c.within(patience), control.VerbSwitch, control.SwitchRequest{URL: url}, &s)
			if err != nil {
				t.Log(err) // such as a process that does not answer
			}
			return err == nil && s.URL == url
		})
	}
	for i, fault := range []string{
		string(faultpoint.SwitchHeld), string(faultpoint.SwitchBefore), string(faultpoint.SwitchDone), string(faultpoint.SwitchWritten), "processor", "merger", "recovery",
	} {
		url := "file:" + filepath.Join(t.TempDir(), "store")
		if p := others[fault]; p != nil {
			switched := make(chan struct{})
			go func() {
				defer close(switched)
				ask(url)
			}()
			p.signal(syscall.SIGKILL)
			p.end()
			begin(fault)
			<-switched
		} else {
			id := c.leader()
			c.members[id].arm(fmt.Sprintf("kill %s 1", fault))
			asked := make(chan struct{})
			go func() {
				defer close(asked)
				ask(url)
			}()
			if code := c.members[id].end(); code != -1 {
				t.Fatalf("%s: ended with code %d", fault, code)
			}
			c.startMember(id)
			<-asked
		}
		eventually(t, fault+": all processes use the new store", func() bool {
			answers, err := natsconn.Answers(t.Context(), c.nc, control.StoreSubject(), nil)
			must(t, err)
			for _, m := range answers {
				var r control.StoreReport
				must(t, control.Parse(m.Data, &r))
				if r.URL != url || r.Number != uint64(i+1) {
					return false
				}
			}
			return len(answers) == 7
		})
		eventually(t, fault+": a checkpoint is made in the new store", func() bool {
			o, err := c.ctl.Trigger(c.within(patience), control.AppRequest{App: "Shapes"})
			return err == nil && o.Committed
		})
		var report control.VerifyReport
		must(t, c.ctl.Do(c.within(patience), control.VerbVerify, control.CheckpointRequest{App: "Shapes"}, &report))
		if !report.Sound {
			t.Errorf("%s: checkpoint %d: %+v", fault, report.Epoch, report.Problems)
		}
		must(t, os.RemoveAll(c.store)) // nothing needs the first store any more
	}
}

// reportOf returns which store the process uses.
func reportOf(t *testing.T, p *process) (r control.StoreReport) {
	t.Helper()
	m, err := p.connect().Request(control.StoreSubject(), nil, patience)
	must(t, err)
	must(t, control.Parse(m.Data, &r))
	return r
}

// verifyAll verifies all retained checkpoints, of n that were made.
func verifyAll(t *testing.T, p *process, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ctl := control.Client{Conn: p.connect()}
	var list control.CheckpointList
	must(t, ctl.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: "Shapes"}, &list))
	verified := 0
	for _, k := range list.Checkpoints {
		if k.State != control.CheckpointCommitted {
			continue
		}
		var report control.VerifyReport
		must(t, ctl.Do(ctx, control.VerbVerify, control.CheckpointRequest{App: "Shapes", Epoch: k.Epoch}, &report))
		if !report.Sound {
			t.Errorf("checkpoint %d: %+v", k.Epoch, report.Problems)
		}
		verified++
	}
	if verified < min(n, 2) {
		t.Errorf("%d checkpoints are left of %d", verified, n)
	}
}
