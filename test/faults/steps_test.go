package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
	"eventflux/shared/faultpoint"
	"eventflux/shared/state"
	"eventflux/shared/store"
	"eventflux/shared/store/file"
)

// TestKillAtSteps kills the process at the steps of a checkpoint, and now and then at any
// moment, while events are published. Nothing of that may show in the results; every
// checkpoint that is left is whole, and neither log nor store keep what nobody needs.
func TestKillAtSteps(t *testing.T) {
	rnd := random(t)
	began := time.Now()
	messages := trades(rnd, *events)
	want := offline(t, messages)
	data := t.TempDir()
	pub := newPublisher(t, rnd, messages)
	died := map[string]int{}
	all := slices.Concat(faultpoint.OfLeader, faultpoint.OfTask, faultpoint.OfFile)
	for _, f := range faultPlan(rnd, len(messages)) {
		settings := append(apps(), f.checkpoints()...)
		if rnd.IntN(4) == 0 {
			f.strike(run(t, data, settings...), pub, syscall.SIGKILL)
			died["anywhere"]++
			continue
		}
		step := all[rnd.IntN(len(all))]
		rules := []string{fmt.Sprintf("kill %s %d", step, 1+rnd.IntN(20))}
		if step == faultpoint.AbortBefore || step == faultpoint.AbortDone {
			rules = append(rules, fmt.Sprintf("fail %s 0", faultpoint.RunBefore))
		}
		p := runArmed(t, rules, data, settings...)
		published := make(chan error, 1)
		go func() {
			select {
			case <-p.ready:
				published <- pub.run(p.url(), f.upTo, f.window)
			case <-p.exited:
				published <- nil
			}
		}()
		if code := p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", step, code)
		}
		<-published
		died[string(step)]++
	}
	finish(t, data, pub)
	checkTidy(t, data)
	checkSame(t, stored(t, data), want)
	report(t, "deaths", died, pub, want, began)
}

// checkTidy starts the process once more, lets it make a checkpoint of each app and sweep
// the store, and looks at what is left.
func checkTidy(t *testing.T, data string) {
	t.Helper()
	if n := tidied(t, data); n > 0 {
		t.Errorf("%d objects are in the store that nothing refers to", n)
	}
}

// tidied is a start, an hour later as far as the store can tell. It returns how many
// objects no checkpoint needs.
func tidied(t *testing.T, data string) (garbage int) {
	t.Helper()
	before := time.Now().Add(-time.Hour)
	must(t, filepath.WalkDir(filepath.Join(data, "checkpoints"), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, before, before))
	}))
	p := run(t, data, append(apps(), "--checkpoint.interval=1h", "--retention.checkpoints=1", "--retention.span=1ms")...)
	p.awaitReady()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := file.Open(filepath.Join(data, "checkpoints"), slog.New(slog.DiscardHandler))
	must(t, err)
	ctl := control.Client{Conn: p.connect()}
	live := map[string]bool{}
	look := func(name string, epoch state.Epoch) {
		m, err := ctl.Checkpoint(ctx, control.CheckpointRequest{App: name, Epoch: epoch})
		must(t, err)
		live[checkpoint.ManifestName(name, m.Epoch)] = true
		for _, part := range m.Partitions {
			for _, c := range part.Components {
				for i := range c.Runs {
					objects, err := checkpoint.Objects(ctx, s, &c.Runs[i])
					must(t, err)
					for _, o := range objects {
						live[o] = true
					}
				}
			}
		}
	}
	for name := range logs { // one app's garbage is swept before another's is known
		var list control.CheckpointList
		must(t, ctl.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: name}, &list))
		for _, k := range list.Checkpoints {
			if k.State == "committed" {
				look(name, k.Epoch)
			}
		}
	}
	for name := range logs {
		eventually(t, "a checkpoint of "+name+" is made", func() bool {
			o, err := ctl.Trigger(ctx, control.AppRequest{App: name})
			return err == nil && o.Committed
		})
		var report control.VerifyReport
		must(t, ctl.Do(ctx, control.VerbVerify, control.CheckpointRequest{App: name}, &report))
		if !report.Sound {
			t.Errorf("checkpoint %d of %s: %+v", report.Epoch, name, report.Problems)
		}
		look(name, report.Epoch)
	}
	checkLogs(ctx, t, p)
	p.awaitLog("swept the store")
	objects := 0
	must(t, s.List(ctx, "", func(o store.Object) error {
		objects++
		// Runs that were folded at once are younger than what a sweep takes.
		if !live[o.Name] && time.Since(o.Used) > time.Minute {
			garbage++
		}
		return nil
	}))
	t.Logf("%d objects are left in the store, %d of them garbage", objects, garbage)
	p.stop()
	return garbage
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
				s, err := js.Stream(ctx, bus.WALStream(name, uint32(part)))
				if err != nil {
					t.Fatalf("%v; the log has %d messages", err, messages)
				}
				messages = s.CachedInfo().State.Msgs
				return messages <= 10
			})
		}
	}
}
