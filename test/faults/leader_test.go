package faults

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// often makes checkpoints all the time, and retains few.
var often = []string{
	"--checkpoint.interval=100ms", "--checkpoint.timeout=5s", "--checkpoint.full_every=3",
	"--retention.checkpoints=2", "--retention.span=1ms",
}

// TestLeaderDies kills the leading checkpointer at each step of the protocol while events are
// published. No epoch is both committed and aborted, another leader commits the next ones, and the
// results are those of an undisturbed run.
func TestLeaderDies(t *testing.T) {
	rnd := random(t)
	steps := slices.Clone(faultpoint.OfLeader)
	if *points > 0 && *points < len(steps) {
		rnd.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		steps = steps[:*points]
	}
	messages := trades(rnd, *events)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	c := newCluster(t, 3, often...)
	processor := c.deploy("Shapes", "Clock", "Spread")
	c.watch.awaitCommits(0)

	var first, all spread
	for i, step := range steps {
		published := make(chan error, 1)
		go func() { published <- pub.run(c.url, len(messages)*(i+1)/len(steps), 16) }()
		if step == faultpoint.AbortBefore || step == faultpoint.AbortDone {
			processor.arm(fmt.Sprintf("fail %s 0", faultpoint.RunBefore))
		}
		id, term := c.strikeLeader(dead, fmt.Sprintf("kill %s %d", step, 1+rnd.IntN(3)))
		if code := c.members[id].code; code != -1 {
			t.Fatalf("%s: the leader ended with code %d", step, code)
		}
		died := c.members[id].died
		processor.arm()
		delete(c.members, id)
		one, each := c.watch.awaitCommits(term)
		first, all = append(first, one.Sub(died)), append(all, each.Sub(died))
		t.Logf("%-15s first commit of another leader after %s, of each app after %s", step,
			one.Sub(died).Round(time.Millisecond), each.Sub(died).Round(time.Millisecond))
		c.startMember(id)
		eventually(t, id+" is back", func() bool { s := c.status(id); return s != nil && s.Leader != "" })
		must(t, <-published)
	}
	c.awaitResults(want)
	c.stop()
	t.Logf("%d epochs committed, %d aborted; commit after the death of a leader: %s; of each app: %s",
		c.watch.count("committed"), c.watch.count("aborted"), first, all)
}

// TestMinorityDecidesNothing leaves one checkpointer of three. It commits nothing, and processing
// goes on.
func TestMinorityDecidesNothing(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	messages := trades(rnd, 2000)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	c := newCluster(t, 3, often...)
	c.deploy("Shapes", "Clock", "Spread")
	c.watch.awaitCommits(0)
	must(t, pub.run(c.url, len(messages)/3, 16))

	left := c.leader()
	term := c.status(left).Term
	for id, p := range c.members {
		if id != left {
			p.signal(syscall.SIGKILL)
			p.end()
		}
	}
	c.members[left].awaitLog("another checkpointer leads, or none")
	committed, results := c.watch.count("committed"), c.resultCount()
	must(t, pub.run(c.url, len(messages)*2/3, 16))
	eventually(t, "results come without checkpoints", func() bool { return c.resultCount() > results+500 })
	if n := c.watch.count("committed"); n != committed {
		t.Errorf("a minority committed %d checkpoints", n-committed)
	}

	for id := range c.members {
		if id != left {
			began := time.Now()
			c.startMember(id)
			_, each := c.watch.awaitCommits(term)
			t.Logf("checkpoints of each app %s after the start of a second member", each.Sub(began).Round(time.Millisecond))
			break
		}
	}
	must(t, pub.run(c.url, len(messages), 16))
	c.awaitResults(want)
}
