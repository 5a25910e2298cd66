package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/file"
	"github.com/eventflux/eventflux/shared/testing/azuretest"
	"github.com/eventflux/eventflux/shared/testing/buckettest"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
	"github.com/eventflux/eventflux/shared/testing/gcstest"
	"github.com/eventflux/eventflux/shared/testing/redistest"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// TestKillAtSteps kills the process at the steps of a checkpoint, and now and then at a random
// moment, while events are published. The results must not show it, every retained checkpoint is
// whole, and neither log nor store keep garbage.
func TestKillAtSteps(t *testing.T) {
	data := t.TempDir()
	killAtSteps(t, data, *events, slices.Concat(faultpoint.OfLeader, faultpoint.OfTask, faultpoint.OfFile))
	checkSwept(t, data)
}

// TestKillAtStepsWithRedis does the same with checkpoints in Redis.
func TestKillAtStepsWithRedis(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable...)
	killAtSteps(t, t.TempDir(), *events, slices.Concat(faultpoint.OfLeader, faultpoint.OfTask), "--store.url="+redis.URL())
}

// TestKillAtStepsWithS3 does the same with checkpoints in S3, where every fifth answer to a put is
// lost.
func TestKillAtStepsWithS3(t *testing.T) {
	killWithBucket(t, s3test.Start(t), faultpoint.RunBefore, faultpoint.RunDone, faultpoint.ManifestBefore, faultpoint.ManifestDone, faultpoint.CommitBefore)
}

// TestKillAtStepsWithAzure is the same with checkpoints in Azure.
func TestKillAtStepsWithAzure(t *testing.T) {
	killWithBucket(t, azuretest.Start(t), faultpoint.RunDone, faultpoint.ManifestBefore)
}

// TestKillAtStepsWithGCS is the same with checkpoints in Google Cloud Storage.
func TestKillAtStepsWithGCS(t *testing.T) {
	killWithBucket(t, gcstest.Start(t), faultpoint.RunBefore, faultpoint.CommitBefore)
}

// TestKillAtStepsWithPatterns does the same with patterns: partial matches survive, and their
// deadlines pass after a restore exactly when they would have.
func TestKillAtStepsWithPatterns(t *testing.T) {
	const name = "Follows"
	rnd, began, data := random(t), time.Now(), t.TempDir()
	n, steps := *events, slices.Concat(faultpoint.OfLeader, faultpoint.OfTask, faultpoint.OfFile)
	if testing.Short() {
		n, steps = min(n, 1000), []faultpoint.Point{faultpoint.RunBefore, faultpoint.RunDone, faultpoint.ManifestDone, faultpoint.CommitBefore}
	}
	messages := trades(rnd, n)
	want := results{}
	replay(t, name, replayLines(messages), want)
	pub := newPublisher(t, rnd, messages)
	died := killWhilePublished(t, rnd, pub, steps, data, app("follows"))
	p := serving(t, data, app("follows"))
	must(t, pub.run(p.url(), len(messages), 256))
	p.stop()
	if len(want) < 6 {
		t.Errorf("%d of 6 queries have results", len(want))
	}
	checkSame(t, storedOf(t, data, name), want)
	report(t, "deaths", died, pub, want, began)
}

// killWithBucket kills at the steps of a checkpoint, of a merge and of a sweep; in the short form
// only at some, with fewer events.
func killWithBucket(t *testing.T, server buckettest.Server, short ...faultpoint.Point) {
	var puts atomic.Int64
	server.LoseAnswers(func(r *http.Request) bool {
		return (r.Method == http.MethodPut || r.Method == http.MethodPost) && puts.Add(1)%5 == 0
	})
	n, steps := *events, slices.Concat(faultpoint.OfLeader, faultpoint.OfTask, faultpoint.OfSwap, faultpoint.OfMerger)
	settings := []string{"--store.url=" + server.URL("kills"), "--merger.chain_max=1", "--merger.interval=100ms"}
	if testing.Short() {
		n, steps, settings = min(n, 600), short, settings[:1]
	}
	killAtSteps(t, t.TempDir(), n, steps, settings...)
	if n := puts.Load(); n < 10 {
		t.Errorf("only %d puts came to the bucket", n)
	}
}

func killAtSteps(t *testing.T, data string, events int, steps []faultpoint.Point, settings ...string) {
	rnd := random(t)
	began := time.Now()
	messages := trades(rnd, events)
	want := offline(t, messages)
	pub := newPublisher(t, rnd, messages)
	died := killWhilePublished(t, rnd, pub, steps, data, slices.Concat(apps(), settings)...)
	finish(t, data, pub, settings...)
	checkWhole(t, data, settings...)
	checkSame(t, stored(t, data), want)
	report(t, "deaths", died, pub, want, began)
}

// mergePatience is how long a process may take to come to a step of a merge or a sweep. Then it is
// killed where it is: there may be nothing to merge.
const mergePatience = 20 * time.Second

// killWhilePublished starts the process again and again, and kills it at a step or at any moment
// while events are published. It returns the number of deaths by step.
func killWhilePublished(t *testing.T, rnd *rand.Rand, pub *publisher, steps []faultpoint.Point, data string, args ...string) map[string]int {
	died, order := map[string]int{}, rnd.Perm(len(steps))
	for i, f := range faultPlan(rnd, len(pub.messages)) {
		all := slices.Concat(args, f.checkpoints())
		if rnd.IntN(4) == 0 {
			f.strike(run(t, data, all...), pub, syscall.SIGKILL)
			died["anywhere"]++
			continue
		}
		step := steps[order[i%len(order)]]
		times, reached := 1+rnd.IntN(20), patience
		merges := slices.Contains(faultpoint.OfMerger, step) || slices.Contains(faultpoint.OfSwap, step)
		if merges {
			times, reached = 1+times%2, mergePatience
		}
		rules := []string{fmt.Sprintf("kill %s %d", step, times)}
		if merges {
			rules = append(rules, shortSpans...)
		}
		if step == faultpoint.AbortBefore || step == faultpoint.AbortDone {
			rules = append(rules, fmt.Sprintf("fail %s 0", faultpoint.RunBefore))
		}
		p := runArmed(t, rules, data, all...)
		published := make(chan error, 1)
		go func() {
			select {
			case <-p.ready:
				published <- pub.run(p.url(), f.upTo, f.window)
			case <-p.exited:
				published <- nil
			}
		}()
		at := string(step)
		select {
		case <-p.exited:
		case <-time.After(reached):
			if !merges {
				break // end says where it hangs
			}
			at += ", not reached"
			p.signal(syscall.SIGKILL)
		}
		if code := p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", at, code)
		}
		<-published
		died[at]++
	}
	return died
}

// seldom retains one checkpoint of each app, and makes them only on demand.
var seldom = []string{"--checkpoint.interval=1h", "--retention.checkpoints=1", "--retention.span=1ms"}

// checkWhole starts the process again, verifies all retained checkpoints, then makes more and
// verifies them, too.
func checkWhole(t *testing.T, data string, settings ...string) {
	t.Helper()
	p := run(t, data, slices.Concat(apps(), seldom, settings)...)
	p.awaitReady()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	ctl := control.Client{Conn: p.connect()}
	verify := func(name string, epoch state.Epoch) {
		var report control.VerifyReport
		must(t, ctl.Do(ctx, control.VerbVerify, control.CheckpointRequest{App: name, Epoch: epoch}, &report))
		if !report.Sound {
			t.Errorf("checkpoint %d of %s: %+v", report.Epoch, name, report.Problems)
		}
	}
	for name := range logs {
		var list control.CheckpointList
		must(t, ctl.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: name}, &list))
		for _, k := range list.Checkpoints {
			if k.State == "committed" {
				verify(name, k.Epoch)
			}
		}
		for range 2 { // the second one releases what tasks needed before the first
			eventually(t, "a checkpoint of "+name+" is made", func() bool {
				o, err := ctl.Trigger(ctx, control.AppRequest{App: name})
				return err == nil && o.Committed
			})
		}
		verify(name, 0)
	}
	checkLogs(ctx, t, p)
	p.stop()
}

// checkSwept starts the process again, an hour later as far as the store can tell, and waits until
// all garbage and all but a few manifests are deleted.
func checkSwept(t *testing.T, data string) {
	t.Helper()
	folder, before := filepath.Join(data, "checkpoints"), time.Now().Add(-time.Hour)
	must(t, filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, before, before))
	}))
	p := run(t, data, slices.Concat(apps(), seldom)...)
	p.awaitReady()
	s, err := file.Open(folder, slog.New(slog.DiscardHandler))
	must(t, err)
	var manifests, live, garbage int
	eventually(t, "the store is swept", func() bool {
		manifests, live, garbage = lookAtStore(t, s, time.Minute)
		return garbage == 0 && manifests <= 4*len(logs)
	})
	t.Logf("%d manifests are left, and %d objects that they refer to", manifests, live)
	p.stop()
}

// lookAtStore counts manifests, the objects that they refer to, and other objects older than old.
func lookAtStore(t *testing.T, s store.Store, old time.Duration) (manifests, live, garbage int) {
	t.Helper()
	ctx := context.Background()
	names := map[string]bool{}
	must(t, s.List(ctx, "apps/", func(o store.Object) error {
		manifests++
		m, err := checkpoint.ReadManifest(ctx, s, o.Name, "")
		if err != nil {
			return nil // deleted in the meantime
		}
		for _, part := range m.Partitions {
			for _, c := range part.Components {
				for i := range c.Runs {
					objects, _ := checkpoint.Objects(ctx, s, &c.Runs[i])
					for _, o := range objects {
						names[o] = true
					}
				}
			}
		}
		return nil
	}))
	must(t, s.List(ctx, "", func(o store.Object) error {
		switch {
		case names[o.Name]:
			live++
		case !strings.HasPrefix(o.Name, "apps/") && time.Since(o.Used) > old:
			garbage++
		}
		return nil
	}))
	return manifests, live, garbage
}

// checkLogs waits until the logs hold only what the newest checkpoints need.
func checkLogs(ctx context.Context, t *testing.T, p *process) {
	t.Helper()
	js, err := jetstream.New(p.connect())
	must(t, err)
	for name, partitions := range logs {
		for part := range partitions {
			var messages uint64
			eventually(t, fmt.Sprintf("log %d of %s is trimmed", part, name), func() bool {
				s, err := js.Stream(ctx, natsconn.WALStream(name, uint32(part)))
				if err != nil {
					t.Fatalf("%v; the log has %d messages", err, messages)
				}
				messages = s.CachedInfo().State.Msgs
				return messages <= 10
			})
		}
	}
}
