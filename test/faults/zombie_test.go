package faults

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/testing/faultpoint"
	"github.com/eventflux/eventflux/test/program"
)

// TestZombie pauses a processor that is about to write, until another one has taken over its
// partitions and put out results. When the processor continues, its write is refused and counted,
// and the results are those of an undisturbed run.
func TestZombie(t *testing.T) {
	rnd := random(t)
	messages := trades(rnd, *events)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	c := newCluster(t, 1, often...)
	c.deploy("Spread")
	z := &zombie{c: c, metrics: program.Address(t)}
	z.process = c.startProcessor("zombie", "--metrics.listen", z.metrics)
	z.results = c.seeResults("Spread")
	steps := []struct {
		at    faultpoint.Point
		write string
	}{
		{faultpoint.ResultsBefore, "results"},
		{faultpoint.PreparedSaid, "prepared"},
	}
	for i, step := range steps {
		// The answer to an earlier heartbeat may tell it that it lost its partitions. Then try
		// again.
		refused := 0
		for round := 0; refused == 0 && round < roundsMax; round++ {
			upTo := len(messages) * (i*roundsMax + round + 1) / (len(steps) * roundsMax)
			refused = z.rise(pub, upTo, step.at, step.write)
		}
		if refused == 0 {
			t.Errorf("%s: the zombie gave up by itself %d times", step.at, roundsMax)
		}
		t.Logf("%s: %d writes were refused", step.at, refused)
	}
	must(t, pub.run(c.url, len(messages), 16))
	c.awaitResults(want)
	c.stop()
}

// zombie is a paused processor that others believe dead.
type zombie struct {
	c       *cluster
	process *process
	metrics string // address
	results *seen
}

// rise pauses the zombie at a point while messages are published, and continues it once others have
// its partitions. It returns how many of its writes were refused.
func (z *zombie) rise(pub *publisher, upTo int, at faultpoint.Point, write string) int {
	t := z.c.t
	t.Helper()
	var owned []int
	eventually(t, "the zombie runs partitions", func() bool { owned = z.c.owners("Spread")["zombie"]; return len(owned) > 0 })
	before := z.refused(write)
	stop := fmt.Sprintf("faultpoint %s: stop", at)
	stops, begun, ended := z.said(stop), z.said(takesOver), z.said(takenOver)
	published := make(chan error, 1)
	z.process.arm(fmt.Sprintf("stop %s 1", at))
	go func() { published <- pub.run(z.c.url, upTo, 16) }()
	eventually(t, "the zombie is about to write", func() bool { return z.said(stop) > stops })
	stopped := time.Now()
	eventually(t, "others run all partitions", func() bool {
		by := z.c.owners("Spread")
		return len(by["zombie"]) == 0 && len(by["p1"]) == z.c.apps["Spread"]
	})
	for _, partition := range owned {
		eventually(t, "there are results of others", func() bool { return !z.results.after(partition, stopped).IsZero() })
	}
	// Its heartbeats fail, so only a refusal can tell it.
	z.process.arm(fmt.Sprintf("fail %s 0", faultpoint.HeartbeatBefore))
	z.process.signal(syscall.SIGCONT)
	eventually(t, "the zombie has learnt that it is one", func() bool {
		return z.refused(write) > before || z.said(takenOver) > ended || z.said(takesOver) > begun
	})
	z.process.arm()
	must(t, <-published)
	return z.refused(write) - before
}

const (
	takesOver = "task took over"
	takenOver = "its partition was taken over"
)

func (z *zombie) said(text string) int { return strings.Count(z.process.log.String(), text) }

// refused returns the number of refused writes of a kind, from the zombie's metrics.
func (z *zombie) refused(write string) int {
	t := z.c.t
	t.Helper()
	var n int
	eventually(t, "the zombie tells its metrics", func() bool {
		r, err := http.Get("http://" + z.metrics + "/metrics")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		must(t, err)
		_, rest, found := strings.Cut(string(body), fmt.Sprintf("eventflux_task_refused_writes_total{write=%q} ", write))
		text, _, _ := strings.Cut(rest, "\n")
		n, err = strconv.Atoi(text)
		return found && err == nil
	})
	return n
}
