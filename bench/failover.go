package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	failoverKills = 12
	failoverLimit = 20 * time.Minute
	// failoverEvery is the time between messages of rowsPerMessage rows. The last row of each has a
	// result.
	failoverEvery = 10 * time.Millisecond
	// failoverApart is the longest time that a processor runs before it is killed, so that kills
	// come at any distance from a heartbeat and a checkpoint.
	failoverApart = 3 * time.Second
)

// runFailover measures how long a partition has no results when its processor is killed.
func runFailover(ctx context.Context, b *bench) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	t := table{
		title: "When a processor is killed",
		about: fmt.Sprintf("Checkpointer, ingest and two processors each in their own process, next to the process of NATS and the\n"+
			"publisher; all settings but one are defaults. An app has a window of 900,000 rows (64 MiB as rows) and\n"+
			"gets %s rows/s. The owner of its partition is killed (`kill -9`) %d times, at any distance from a\n"+
			"checkpoint. The time is from the kill to the next result on the output subject. The time until the fence\n"+
			"is spent on noticing the death, placing the partition and attaching the successor.", rate(rowsPerMessage/failoverEvery.Seconds()), failoverKills),
		unit: "time",
	}
	for _, mode := range []struct {
		what, standby string
		goal          float64
		bound         string
	}{
		{"`processor.standby: off`", "off", 3, "the timeout, the state that has to be loaded and the tail that has to be replayed."},
		{"`processor.standby: on`", "on", 1, "the silence after which a standby is put in a processor's place."},
	} {
		all, fenced, err := b.failover(ctx, mode.standby)
		if err != nil {
			return nil, fmt.Errorf("standby %s: %w", mode.standby, err)
		}
		t.rows = append(t.rows,
			row{
				what: mode.what + ", median", value: medianOf(duration, all...), goal: mode.goal, lower: true, bound: mode.bound,
				extra: fmt.Sprintf("of it %s until the fence", medianOf(duration, fenced...)),
			},
			row{what: mode.what + ", longest", value: given(duration, percentile(all, 100)), goal: mode.goal, lower: true, bound: mode.bound})
	}
	t.rows = append(t.rows,
		row{what: "limit: silence after which a processor counts as dead", value: given(duration, control.HeartbeatTimeout.Seconds())},
		row{what: "limit: silence after which a standby takes over", value: given(duration, control.QuietTimeout.Seconds())})
	return []table{t}, nil
}

// failover returns how long there were no results after each kill, and how much of that passed
// until the successor's fence.
func (b *bench) failover(ctx context.Context, standby string) (all, fenced []float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "failover-*")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	binary, err := b.build(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := b.openServer()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p, err := newProcesses(ctx, b, binary, dir, s.URL(), "--processor.standby", standby)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	nc, err := s.connect(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	ctl := control.Client{Conn: nc}
	if _, err := ctl.Deploy(ctx, control.DeployRequest{Text: killedApp}); err != nil {
		return nil, nil, err
	}
	for _, name := range []string{"p1", "p2"} {
		if err := p.start(ctx, name, "processor"); err != nil {
			return nil, nil, err
		}
	}
	o := &owners{nc: nc, standby: standby == "on"}
	if _, err := o.await(ctx); err != nil {
		return nil, nil, err
	}
	if err := b.fillRows(ctx, nc); err != nil {
		return nil, nil, err
	}
	sight, err := watchPartition(nc)
	if err != nil {
		return nil, nil, err
	}
	feeding, stop := context.WithCancel(ctx)
	fed := make(chan error, 1)
	go func() { fed <- feedRows(feeding, nc) }()
	defer func() {
		stop()
		err = errors.Join(err, <-fed)
	}()
	for range failoverKills {
		owner, err := o.await(ctx)
		if err != nil {
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(rand.N(failoverApart)):
		}
		seen := sight.next()
		killed := time.Now()
		if err := p.kill(owner); err != nil {
			return nil, nil, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-seen.result:
		}
		all = append(all, seen.resultAt.Sub(killed).Seconds())
		fenced = append(fenced, seen.fenceAt.Sub(killed).Seconds())
		b.say("standby %s: a result after %s, the fence after %s", standby, duration(all[len(all)-1]), duration(fenced[len(fenced)-1]))
		if err := p.start(ctx, owner, "processor"); err != nil {
			return nil, nil, err
		}
	}
	return all, fenced, nil
}

// fillRows fills the window once events are accepted.
func (b *bench) fillRows(ctx context.Context, nc *nats.Conn) error {
	if err := (&killed{b: b}).hear(ctx, nc); err != nil {
		return err
	}
	p, err := newPublisher(nc, natsconn.WALStream(appName, 0))
	if err != nil {
		return err
	}
	return p.publish(ctx, rowsSubject, (&covered{}).messages(), killedRows/rowsPerMessage, 256)
}

// feedRows publishes rows at an even pace until ctx ends. The last row of each message has a
// result.
func feedRows(ctx context.Context, nc *nats.Conn) error {
	messages := (&covered{}).messages()
	for i := range messages {
		messages[i] = append(messages[i], `{"k":-1,"text":"","v":0}`...)
	}
	tick := time.NewTicker(failoverEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := nc.Publish(rowsSubject, messages[i%len(messages)]); err != nil {
			return err
		}
	}
}

// owners tracks what the processors do.
type owners struct {
	nc      *nats.Conn
	standby bool // one has to stand by
}

// await waits until one processor runs the partition and another one could take it over. It returns
// the first one.
func (o *owners) await(ctx context.Context) (owner string, err error) {
	sub, err := o.nc.SubscribeSync(o.nc.NewInbox())
	if err != nil {
		return "", err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for states := map[string]string{}; ; {
		if err := o.nc.PublishRequest(natsconn.ServiceSubject("processor", "tasks"), sub.Subject, nil); err != nil {
			return "", err
		}
		for range 2 {
			limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			m, err := sub.NextMsgWithContext(limited)
			cancel()
			if ctx.Err() != nil {
				return "", ctx.Err()
			}
			if err != nil || len(m.Data) == 0 { // no processor runs it yet
				continue
			}
			var is struct {
				Processor string
				Tasks     []processor.TaskInfo
			}
			if err := json.Unmarshal(m.Data, &is); err != nil {
				return "", err
			}
			states[is.Processor] = "none"
			for _, t := range is.Tasks {
				states[is.Processor] = string(t.State)
			}
		}
		for name, other := range map[string]string{"p1": "p2", "p2": "p1"} {
			if states[name] == "running" && (states[other] == "standby" || states[other] == "none" && !o.standby) {
				return name, nil
			}
		}
	}
}

// partitionSight watches for a fence of a partition, and then for a result.
type partitionSight struct {
	mu  sync.Mutex
	now *sighting
}

type sighting struct {
	fenceAt, resultAt time.Time
	result            chan struct{} // closed
}

func watchPartition(nc *nats.Conn) (*partitionSight, error) {
	s := &partitionSight{now: &sighting{}}
	if _, err := nc.Subscribe(natsconn.FenceSubject(appName, 0), func(*nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.now.fenceAt.IsZero() {
			s.now.fenceAt = time.Now()
		}
	}); err != nil {
		return nil, err
	}
	_, err := nc.Subscribe(natsconn.OutSubject(appName, "Heard", 0), func(*nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.now.resultAt.IsZero() && !s.now.fenceAt.IsZero() && s.now.result != nil {
			s.now.resultAt = time.Now()
			close(s.now.result)
		}
	})
	return s, errors.Join(err, nc.Flush())
}

// next returns the next sighting. Since a result only counts after a new fence, it is a result of
// the next owner.
func (s *partitionSight) next() *sighting {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = &sighting{result: make(chan struct{})}
	return s.now
}
