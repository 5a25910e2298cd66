package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// TestProcessorDies repeatedly kills one of two processors while events are published. The other
// one takes over its partitions, and the results are those of an undisturbed run.
func TestProcessorDies(t *testing.T) {
	processorsDie(t, "off")
}

// TestStandbyTakesOver does the same with standbys.
func TestStandbyTakesOver(t *testing.T) {
	promoted := processorsDie(t, "on")
	if promoted == 0 {
		t.Error("no standby was promoted")
	}
	t.Logf("%d standbys were promoted", promoted)
}

// processorsDie returns how many standbys were promoted.
func processorsDie(t *testing.T, standby string) (promoted int) {
	rnd := random(t)
	messages := trades(rnd, *events)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	c := newCluster(t, 1, append(slices.Clone(often), "--processor.standby="+standby)...)
	processors := map[string]*process{"p1": c.deploy("Spread")}
	processors["p2"] = c.startProcessor("p2")
	seen := c.seeResults("Spread")
	var took spread
	rounds := max(*kills, 2)
	for i := range rounds {
		var owned map[string][]int
		eventually(t, "both processors run partitions", func() bool {
			owned = c.owners("Spread")
			return len(owned["p1"]) > 0 && len(owned["p2"]) > 0
		})
		if standby == "on" {
			eventually(t, "each partition has a standby", func() bool { return c.count("standby") == c.apps["Spread"] })
		}
		c.commitsGoOn()
		victim := []string{"p1", "p2"}[rnd.IntN(2)]
		published := make(chan error, 1)
		go func() { published <- pub.run(c.url, len(messages)*(i+1)/rounds, 16) }()
		mark := pub.acknowledged()
		eventually(t, "events are accepted", func() bool { return pub.acknowledged() > mark+20 })
		processors[victim].signal(syscall.SIGKILL)
		died := time.Now()
		processors[victim].end()
		for _, partition := range owned[victim] {
			var next time.Time
			eventually(t, "its partitions have results", func() bool { next = seen.after(partition, died); return !next.IsZero() })
			took = append(took, next.Sub(died))
		}
		must(t, <-published)
		processors[victim] = c.startProcessor(victim)
	}
	must(t, pub.run(c.url, len(messages), 16))
	c.awaitResults(want)
	t.Logf("from the death of a processor to the next result of each of its partitions: %s", took)
	for _, p := range c.begun {
		promoted += strings.Count(p.log.String(), "task is promoted")
	}
	return promoted
}

// TestStandbyIsOvertaken pauses a standby that has loaded a checkpoint, until that checkpoint is
// retired and its part of the log trimmed. The standby must load a newer one.
func TestStandbyIsOvertaken(t *testing.T) {
	// The interval gives it time to load a checkpoint before the next two are made.
	c := newCluster(t, 1, append(slices.Clone(often), "--processor.standby=on", "--checkpoint.interval=1s")...)
	c.deploy("Shapes")
	c.rules = []string{fmt.Sprintf("stop %s 1", faultpoint.LoadDone)}
	second := c.startProcessor("p2")
	second.awaitLog(fmt.Sprintf("faultpoint %s: stop", faultpoint.LoadDone))
	_, end := c.logOf("Shapes")
	eventually(t, "what it has loaded is trimmed", func() bool {
		first, _ := c.logOf("Shapes")
		return first > end
	})
	second.arm()
	second.signal(syscall.SIGCONT)
	eventually(t, "it stands by", func() bool { return c.count("standby") == 1 })
	c.stop()
}

// logOf returns the first and the last sequence of the log of partition 0.
func (c *cluster) logOf(app string) (first, last uint64) {
	c.t.Helper()
	s, err := c.js.Stream(c.within(patience), natsconn.WALStream(app, 0))
	must(c.t, err)
	return s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
}

// count returns how many tasks of all processors are in the given state.
func (c *cluster) count(state string) (n int) {
	c.t.Helper()
	sub, err := c.nc.SubscribeSync(nats.NewInbox())
	must(c.t, err)
	defer func() { must(c.t, sub.Unsubscribe()) }()
	must(c.t, c.nc.PublishRequest("ef.processor.tasks", sub.Subject, nil))
	for wait := patience; ; wait = 100 * time.Millisecond {
		m, err := sub.NextMsg(wait)
		if err != nil { // all processors have answered, or none is there yet
			return n
		}
		var list struct{ Tasks []task }
		must(c.t, json.Unmarshal(m.Data, &list))
		for _, one := range list.Tasks {
			if one.State == state {
				n++
			}
		}
	}
}

// owners returns the partitions of an app by the processor that runs them.
func (c *cluster) owners(app string) map[string][]int {
	c.t.Helper()
	a, err := c.ctl.App(c.within(patience), control.AppRequest{App: app})
	must(c.t, err)
	by := map[string][]int{}
	for _, o := range a.Owners {
		if o.State == "running" {
			by[o.Processor] = append(by[o.Processor], int(o.Partition))
		}
	}
	return by
}

// seen records when results arrived, by partition.
type seen struct {
	mu sync.Mutex
	of map[int][]time.Time
}

func (c *cluster) seeResults(app string) *seen {
	c.t.Helper()
	s := &seen{of: map[int][]time.Time{}}
	_, err := c.nc.Subscribe("out."+app+".>", func(m *nats.Msg) {
		partition, err := strconv.Atoi(m.Subject[strings.LastIndex(m.Subject, ".")+1:])
		if err != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.of[partition] = append(s.of[partition], time.Now())
	})
	must(c.t, err)
	return s
}

// after returns the time of the first result that a former owner cannot have sent, because it came
// too late to have been in flight at the given moment.
func (s *seen) after(partition int, moment time.Time) time.Time {
	const underway = 50 * time.Millisecond
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.of[partition] {
		if at.After(moment.Add(underway)) {
			return at
		}
	}
	return time.Time{}
}
