package faults

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// TestStaleLeader pauses a leader until another one leads, and lets it continue with its next step.
// Each such step is refused and has no effect.
func TestStaleLeader(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	messages := trades(rnd, 2000)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	// The one app, with nothing to delete, makes sure that the paused leader holds no lock of the
	// store.
	c := newCluster(t, 3, "--checkpoint.interval=100ms", "--checkpoint.timeout=5s")
	processor := c.deploy("Shapes")
	c.watch.awaitCommits(0)
	stale := c.barriers()
	steps := []struct {
		at      faultpoint.Point
		refused func(leader *process, term checkpoint.Term) string // returns "" if the step was not reached
	}{
		{faultpoint.BarrierBefore, func(_ *process, term checkpoint.Term) string {
			late := stale.afterNewer(term)
			if late != "" {
				processor.awaitLog("barrier needs no answer")
			}
			return late
		}},
		{faultpoint.ManifestBefore, func(leader *process, _ checkpoint.Term) string {
			return leader.line("manifest not stored", "fenced by a newer term")
		}},
		{faultpoint.CommitBefore, func(leader *process, term checkpoint.Term) string {
			return leader.line(fmt.Sprintf("term=%d step=committed", term), "leader")
		}},
	}
	for i, step := range steps {
		// The leader may learn of the new one before it continues, and give up. Then try again.
		refused := ""
		for round := 0; refused == "" && round < roundsMax; round++ {
			said := fmt.Sprintf("faultpoint %s: stop", step.at)
			before := map[*process]int{}
			for _, p := range c.members {
				before[p] = strings.Count(p.log.String(), said)
			}
			stopped := func(p *process) bool { return strings.Count(p.log.String(), said) > before[p] }
			id, term := c.strikeLeader(stopped, fmt.Sprintf("stop %s 1", step.at))
			leader := c.members[id]
			c.watch.awaitCommits(term)
			must(t, pub.run(c.url, len(messages)*(i*roundsMax+round+1)/(len(steps)*roundsMax), 16))
			leader.arm()
			leader.signal(syscall.SIGCONT)
			eventually(t, id+" follows", func() bool { s := c.status(id); return s != nil && s.State == "follower" && s.Term > term })
			now := c.status(c.leader()).Term
			c.watch.awaitCommits(now - 1)
			refused = step.refused(leader, term)
		}
		if refused == "" {
			t.Errorf("%s: the former leader gave up by itself %d times", step.at, roundsMax)
		}
		t.Logf("%s of a former leader: %s", step.at, refused)
	}
	must(t, pub.run(c.url, len(messages), 16))
	c.awaitResults(want)
	c.stop()
}

// roundsMax is far more than the one or two rounds that an idle machine needs.
const roundsMax = 30

// line returns a line of the process log that contains all texts, or "".
func (p *process) line(texts ...string) string {
lines:
	for line := range strings.Lines(p.log.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue lines
			}
		}
		return strings.TrimSpace(line)
	}
	return ""
}

// barriers records the barriers of all logs, in order.
type barriers struct {
	mu   sync.Mutex
	seen map[string]bool
	of   map[string]uint64 // largest term by log
	late map[uint64]string // first barrier of a term that came after one of a later term
}

func (c *cluster) barriers() *barriers {
	c.t.Helper()
	b := &barriers{seen: map[string]bool{}, of: map[string]uint64{}, late: map[uint64]string{}}
	var decoder frame.Decoder
	_, err := c.nc.Subscribe("ef.wal.>", func(m *nats.Msg) {
		f, err := decoder.Decode(m.Data)
		if err != nil || f.Kind != frame.Barrier {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		said := fmt.Sprint(m.Subject, f.Cut.Epoch, f.Cut.Term)
		if b.seen[said] {
			return // the writer got no answer and repeats it
		}
		b.seen[said] = true
		if newest := b.of[m.Subject]; f.Cut.Term < newest && b.late[f.Cut.Term] == "" {
			b.late[f.Cut.Term] = fmt.Sprintf("%s, epoch %d, term %d, after one of term %d", m.Subject, f.Cut.Epoch, f.Cut.Term, newest)
		}
		b.of[m.Subject] = max(b.of[m.Subject], f.Cut.Term)
	})
	must(c.t, err)
	return b
}

func (b *barriers) afterNewer(term checkpoint.Term) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late[uint64(term)]
}
