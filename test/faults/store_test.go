package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// TestStoreFails makes the store fail, partly or completely, while events are published. No
// checkpoint is made, results continue, and the log keeps what the next checkpoint needs.
// Checkpoints resume once the store is back.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	messages := trades(rnd, 4000)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	data := t.TempDir()
	p := serving(t, data, append(apps(), "--checkpoint.interval=20ms", "--checkpoint.timeout=5s", "--retention.checkpoints=1", "--retention.span=1ms")...)
	ctl := control.Client{Conn: p.connect()}
	js, err := jetstream.New(ctl.Conn)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	newest := func() (k control.CheckpointInfo, aborted int) {
		t.Helper()
		var list control.CheckpointList
		must(t, ctl.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: "Shapes"}, &list))
		for _, one := range list.Checkpoints {
			if one.State == "committed" && one.Epoch > k.Epoch {
				k = one
			}
			if one.State == "aborted" {
				aborted = max(aborted, int(one.Epoch))
			}
		}
		return k, aborted
	}
	commitsGoOn := func() {
		t.Helper()
		before, _ := newest()
		eventually(t, "a checkpoint is made", func() bool { k, _ := newest(); return k.Epoch > before.Epoch+1 })
	}
	messagesIn := func(stream string) (s jetstream.StreamState) {
		t.Helper()
		found, err := js.Stream(ctx, stream)
		must(t, err)
		return found.CachedInfo().State
	}
	folder := filepath.Join(data, "checkpoints")
	fail := func(points ...faultpoint.Point) func() {
		return func() {
			var rules []string
			for _, one := range points {
				rules = append(rules, fmt.Sprintf("fail %s 0", one))
			}
			p.arm(rules...)
		}
	}
	back := func() { p.arm() }
	faults := []struct {
		name       string
		away, back func()
		// aborts says that an epoch is aborted. If the store cannot be read either, an epoch whose
		// manifest is stored waits until it can be.
		aborts bool
	}{
		{"nothing can be put", fail(faultpoint.StorePut), back, true},
		{"no manifest can be put", fail(faultpoint.StoreCommit), back, true},
		{"nothing can be read", fail(faultpoint.StoreGet), back, false},
		{"nothing at all", fail(faultpoint.StorePut, faultpoint.StoreGet, faultpoint.StoreList, faultpoint.StoreDelete, faultpoint.StoreCommit), back, false},
		{"the folder is gone", func() { must(t, os.Rename(folder, folder+".away")) }, func() { must(t, os.Rename(folder+".away", folder)) }, false},
	}
	commitsGoOn()
	for i, f := range faults {
		f.away()
		_, aborted := newest()
		must(t, pub.run(p.url(), len(messages)*(2*i+1)/(2*len(faults)), 16))
		if f.aborts {
			eventually(t, f.name+": an epoch is aborted", func() bool { _, now := newest(); return now > aborted })
		}
		before, _ := newest()
		results := messagesIn(natsconn.OutStream("Shapes", 0)).Msgs
		must(t, pub.run(p.url(), len(messages)*(2*i+2)/(2*len(faults)), 16))
		eventually(t, f.name+": results come on", func() bool { return messagesIn(natsconn.OutStream("Shapes", 0)).Msgs > results+50 })
		if now, _ := newest(); now.Epoch != before.Epoch {
			t.Errorf("%s: checkpoint %d was made", f.name, now.Epoch)
		}
		log := messagesIn(natsconn.WALStream("Shapes", 0))
		f.back()
		commitsGoOn()
		if log.Msgs < 100 {
			t.Errorf("%s: the log had only %d messages", f.name, log.Msgs)
		}
		eventually(t, f.name+": the log is trimmed", func() bool { return messagesIn(natsconn.WALStream("Shapes", 0)).FirstSeq > log.LastSeq })
	}
	if strings.Contains(p.log.String(), "task halted") {
		t.Error("a task has halted")
	}
	p.stop()
	checkSame(t, stored(t, data), want)
}

// TestClockSteps sets the leader's clock an hour ahead and back, and kills it with an epoch open.
// Checkpoints continue, and existing ones stay.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, "--checkpoint.interval=100ms", "--checkpoint.timeout=5s", "--retention.checkpoints=2", "--retention.span=1h")
	c.deploy("Shapes")
	c.watch.awaitCommits(0)
	for _, clock := range []string{"clock 1h", "clock 0s", "clock -1h", "clock 0s", "clock 9000h"} {
		before := c.retained()
		c.members[c.leader()].arm(clock)
		for range 3 {
			c.commitsGoOn()
		}
		id, term := c.strikeLeader(dead, clock, fmt.Sprintf("kill %s 1", faultpoint.OpenDone))
		delete(c.members, id)
		c.watch.awaitCommits(term)
		for range 3 {
			c.commitsGoOn()
		}
		after := c.retained()
		for epoch := range before {
			if !after[epoch] {
				t.Errorf("%s: checkpoint %d is gone", clock, epoch)
			}
		}
		c.startMember(id)
		c.leader()
	}
	c.stop()
}

// retained returns the epochs of the first app's committed checkpoints.
func (c *cluster) retained() map[uint64]bool {
	c.t.Helper()
	epochs := map[uint64]bool{}
	for name := range c.apps {
		var list control.CheckpointList
		must(c.t, c.ctl.Do(c.within(patience), control.VerbCheckpoints, control.AppRequest{App: name}, &list))
		for _, k := range list.Checkpoints {
			if k.State == "committed" {
				epochs[uint64(k.Epoch)] = true
			}
		}
		break
	}
	return epochs
}
