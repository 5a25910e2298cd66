package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/testing/redistest"
)

// TestKill kills the process at random moments while events are published and published again. The
// results must not show it.
func TestKill(t *testing.T) {
	killAll(t, func(int) {})
}

// TestKillWithRedis does the same with checkpoints in Redis. Every other time it kills Redis as
// well.
func TestKillWithRedis(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	killAll(t, func(i int) {
		if i%2 == 1 {
			redis.Kill()
			redis.Start()
		}
	}, "--store.url="+redis.URL())
	if redis.Do("HGET", "eventflux:h:{apps/Shapes}", "manifest") == nil {
		t.Error("no checkpoint is in Redis")
	}
}

// killAll kills the process at random moments. After each kill it calls between with the kill's
// number.
func killAll(t *testing.T, between func(i int), settings ...string) {
	rnd := random(t)
	began := time.Now()
	messages := trades(rnd, *events)
	want := offline(t, messages)
	data := t.TempDir()
	pub := newPublisher(t, rnd, messages)
	phases := map[string]int{}
	for i, f := range faultPlan(rnd, len(messages)) {
		p := run(t, data, slices.Concat(apps(), f.checkpoints(), settings)...)
		phase := f.strike(p, pub, syscall.SIGKILL)
		phases[phase]++
		if code := p.end(); code != -1 {
			t.Fatalf("exit code %d after a kill while %s", code, phase)
		}
		between(i)
	}
	finish(t, data, pub, settings...)
	checkSame(t, stored(t, data), want)
	report(t, "kills", phases, pub, want, began)
}

// TestUndisturbed does the same without a kill, to check the test itself against replay.
func TestUndisturbed(t *testing.T) {
	rnd := random(t)
	messages := trades(rnd, *events)
	data := t.TempDir()
	finish(t, data, newPublisher(t, rnd, messages))
	checkSame(t, stored(t, data), offline(t, messages))
}

// finish publishes the remaining messages, and stops.
func finish(t *testing.T, data string, pub *publisher, settings ...string) {
	t.Helper()
	p := serving(t, data, append(apps(), settings...)...)
	must(t, pub.run(p.url(), len(pub.messages), 256))
	if n := pub.acknowledged(); n != len(pub.messages) {
		t.Fatalf("%d of %d messages acknowledged", n, len(pub.messages))
	}
	p.stop()
}

func report(t *testing.T, what string, phases map[string]int, pub *publisher, want results, began time.Time) {
	last := pub.messages[len(pub.messages)-1]
	_, again := pub.published()
	t.Logf("%d events in %d messages, %d of them published again, %d results, %s %v, %.1f s",
		last.events, len(pub.messages), again, want.count(), what, phases, time.Since(began).Seconds())
}

// checkpoints returns settings that make checkpoints so often that many kills hit one in progress,
// and that trim the log after each.
func (f fault) checkpoints() []string {
	return []string{
		fmt.Sprintf("--checkpoint.interval=%s", f.interval), "--checkpoint.full_every=3",
		"--retention.checkpoints=1", "--retention.span=1ms",
	}
}

// fault is a moment to strike.
type fault struct {
	interval time.Duration // of checkpoints
	kind     faultKind
	acked    int           // messages
	upTo     int           // messages that are published before the fault, at most
	delay    time.Duration // after the start, after readiness, or after that many acknowledgements
	window   int           // messages that the publisher has in flight
}

type faultKind int

const (
	onAcked faultKind = iota
	onStart
	onReady
	onAckedToo // the same: half of all faults are of this kind
)

func (k faultKind) delayMax() time.Duration {
	switch k {
	case onStart:
		return 60 * time.Millisecond
	case onReady:
		return 40 * time.Millisecond
	default:
		return 5 * time.Millisecond
	}
}

// faultPlan spreads the faults over n messages: some while the process starts,
// some while it replays the log, most while events are published.
func faultPlan(rnd *rand.Rand, n int) []fault {
	var plan []fault
	at := make([]int, *kills)
	for i := range at {
		at[i] = 1 + rnd.IntN(n*9/10)
	}
	slices.Sort(at)
	for i, acked := range at {
		f := fault{kind: faultKind(i % 4), acked: acked, window: []int{1, 16, 256, 2000}[rnd.IntN(4)]}
		f.interval = []time.Duration{2, 10, 50, 250}[rnd.IntN(4)] * time.Millisecond
		plan = append(plan, f)
	}
	// Every kind must occur at every size of the log.
	rnd.Shuffle(len(plan), func(i, j int) { plan[i].kind, plan[j].kind = plan[j].kind, plan[i].kind })
	for i := range plan {
		plan[i].upTo = n // enough must be left for the later faults
		if i+1 < len(plan) {
			plan[i].upTo = at[i+1]
		}
		plan[i].delay = time.Duration(rnd.Int64N(int64(plan[i].kind.delayMax())))
	}
	return plan
}

// strike publishes until the moment of the fault, sends the signal, and returns once the process is
// gone. It returns what the process was doing.
func (f fault) strike(p *process, pub *publisher, s syscall.Signal) (phase string) {
	p.t.Helper()
	if f.kind == onStart {
		wait(p, time.After(f.delay))
		return f.strikeUnused(p, s)
	}
	p.awaitReady()
	nc := p.connect()
	defer nc.Close()
	moment, reached := context.WithCancel(context.Background())
	defer reached()
	if f.kind != onReady {
		pub.onProgress(func(acked int) {
			if acked >= f.acked {
				reached()
			}
		})
		defer pub.onProgress(nil)
	} else {
		reached()
	}
	ended := make(chan error, 1)
	go func() {
		err := pub.run(p.url(), f.upTo, f.window)
		reached() // or everything was acknowledged earlier
		ended <- err
	}()
	<-moment.Done()
	wait(p, time.After(f.delay))
	phase = doing(nc)
	if len(ended) > 0 {
		phase = "idle"
		if err := <-ended; err != nil {
			p.t.Fatalf("publishing ended before the fault: %v", err)
		}
		ended <- nil
	}
	p.signal(s)
	p.end()
	<-ended
	return phase
}

// strikeUnused is strike without publishing.
func (f fault) strikeUnused(p *process, s syscall.Signal) (phase string) {
	p.t.Helper()
	phase = "starting"
	select {
	case <-p.ready:
		phase = "ready"
	default:
	}
	p.signal(s)
	p.end()
	return phase
}

// wait waits for the moment of a fault. A process that exits by itself has failed the test.
func wait(p *process, moment <-chan time.Time) {
	p.t.Helper()
	select {
	case <-moment:
	case <-p.exited:
		p.t.Fatalf("ended by itself with code %d", p.code)
	}
}

// doing returns what the tasks of a process are doing.
func doing(nc *nats.Conn) string {
	list, err := tasks(nc)
	if err != nil {
		return fmt.Sprint("unknown: ", err)
	}
	for _, one := range list {
		if one.State != "running" {
			return one.State
		}
	}
	return "publishing"
}
