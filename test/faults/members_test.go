package faults

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// eventflux runs a command against the cluster, and returns its output.
func (c *cluster) eventflux(args ...string) string {
	c.t.Helper()
	out, err := exec.Command(c.program(), append(args, "--server", c.url)...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("eventflux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// awaitMembers waits until the leader reports these members.
func (c *cluster) awaitMembers(ids ...string) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("the members are %v", ids), func() bool {
		s := c.status(c.leader())
		if s == nil {
			return false
		}
		var have []string
		for _, p := range s.Peers {
			have = append(have, p.ID)
		}
		slices.Sort(have)
		return slices.Equal(have, ids)
	})
}

// commitsGoOn waits until another checkpoint is committed.
func (c *cluster) commitsGoOn() {
	c.t.Helper()
	n := c.watch.count("committed")
	eventually(c.t, "another checkpoint is committed", func() bool { return c.watch.count("committed") > n })
}

// TestMembers adds, promotes, removes and re-adds members while checkpoints are made. Each member
// is a process.
func TestMembers(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	messages := trades(rnd, 1000)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	c := newCluster(t, 3, often...)
	c.deploy("Shapes")
	c.watch.awaitCommits(0)
	must(t, pub.run(c.url, len(messages)/2, 16))

	c.peers += ",c4=" + c.addressOf("c4")
	fourth := c.startMember("c4")
	fourth.awaitLog("is not a member of the group")
	delete(c.members, "c4")
	c.commitsGoOn()
	c.members["c4"] = fourth
	c.eventflux("checkpointer", "add", "c4="+c.addressOf("c4"))
	c.awaitMembers("c1", "c2", "c3", "c4")
	c.eventflux("checkpointer", "transfer", "c4")
	eventually(t, "the new member leads", func() bool { return c.leader() == "c4" })
	c.commitsGoOn()

	first := c.members["c1"]
	delete(c.members, "c1") // its answers no longer count
	c.eventflux("checkpointer", "remove", "c1")
	c.awaitMembers("c2", "c3", "c4")
	c.commitsGoOn() // although it still gets some of the requests
	first.stop()
	delete(c.members, "c4")
	c.eventflux("checkpointer", "remove", "c4") // the leader
	fourth.stop()
	c.awaitMembers("c2", "c3")
	c.commitsGoOn()

	c.eventflux("checkpointer", "add", "c1="+c.addressOf("c1"))
	c.startMember("c1").awaitLog("raft.peers differ from the members of the group") // on its old folder
	c.awaitMembers("c1", "c2", "c3")
	for id, p := range c.members { // one after the other
		p.stop()
		c.startMember(id)
		eventually(t, id+" is back", func() bool { s := c.status(id); return s != nil && s.Leader != "" })
		c.commitsGoOn()
	}
	must(t, pub.run(c.url, len(messages), 16))
	c.awaitResults(want)
	c.stop()
}

// TestLeaderHandsOver stops the leader with SIGTERM: another one leads at once.
func TestLeaderHandsOver(t *testing.T) {
	c := newCluster(t, 3, often...)
	c.deploy("Shapes")
	c.watch.awaitCommits(0)
	var took spread
	handed := 0
	for range *kills {
		id := c.leader()
		leader, term := c.members[id], c.status(id).Term
		delete(c.members, id)
		leader.signal(syscall.SIGTERM)
		began := time.Now()
		first, _ := c.watch.awaitCommits(term)
		took = append(took, first.Sub(began))
		if code := leader.end(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if !strings.Contains(leader.log.String(), "without handing over") {
			handed++
		}
		c.startMember(id)
		c.leader()
	}
	t.Logf("from SIGTERM to the next leader's first commit: %s", took)
	if handed == 0 {
		t.Error("no leader handed over")
	}
}

// TestWrongPeers starts checkpointers that do not fit into the group. They exit and say why.
func TestWrongPeers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, often...)
	c.deploy("Shapes")
	c.watch.awaitCommits(0)

	for name, test := range map[string]struct {
		args []string
		says []string
	}{
		"not among them":      {[]string{"--raft.id", "c9", "--raft.listen", "127.0.0.1:0", "--raft.peers", c.peers}, []string{`"c9" is not among raft.peers`, "raft.id"}},
		"a group of its own":  {nil, []string{"a group of checkpointers leads here already", "c1=", "raft.peers"}},
		"no address":          {[]string{"--raft.id", "c1", "--raft.peers", c.peers}, []string{"raft.listen"}},
		"address is not ours": {[]string{"--raft.id", "c1", "--raft.listen", c.addressOf("c2"), "--raft.peers", c.peers}, []string{c.addressOf("c2"), "in use"}},
	} {
		p := c.serve("checkpointer", t.TempDir(), test.args...)
		if code := p.end(); code != 1 {
			t.Errorf("%s: exit code %d", name, code)
		}
		for _, text := range test.says {
			if !strings.Contains(p.log.String(), text) {
				t.Errorf("%s: it does not say %q:\n%s", name, text, p.log.tail())
			}
		}
	}

	// A checkpointer with only itself as peer starts no group here, either. It joins once it is
	// added.
	alone := "c5=" + c.addressOf("c5")
	p := c.serve("checkpointer", t.TempDir(), "--raft.id", "c5", "--raft.listen", c.addressOf("c5"), "--raft.peers", alone)
	p.awaitLog("is not a member of the group")
	before := c.status(c.leader())
	c.eventflux("checkpointer", "add", alone)
	eventually(t, "it has the group's state", func() bool {
		s := c.status("c5")
		return s != nil && s.Leader == before.Leader && s.Applied >= before.Commit
	})
	c.commitsGoOn()
}
