package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const windowApp = `@app:name('w') define stream S (k string, v int);
	from S#length(50) select k, sum(v) as total, max(v) as most insert into Out;`

// newChain returns a node that makes checkpoints only on demand.
func newChain(t *testing.T, apps ...string) *chain {
	c := &chain{t: t, cfg: config.Default(), apps: apps}
	c.cfg.Data, c.cfg.Listen, c.cfg.WAL.Durability = t.TempDir(), "127.0.0.1:0", "fast"
	c.cfg.Checkpoint.Interval, c.cfg.Log.Level = time.Hour, slog.LevelError
	return c
}

func (c *chain) trigger(app string) state.Epoch {
	c.t.Helper()
	o, err := c.node.control.Trigger(c.within(), control.AppRequest{App: app})
	if err != nil || !o.Committed {
		c.t.Fatalf("trigger: %+v, %v", o, err)
	}
	return o.Epoch
}

// task waits until the task of app w is in the wanted state, and returns its info.
func (c *chain) task(want string) (found processor.TaskInfo) {
	c.t.Helper()
	var list struct{ Tasks []processor.TaskInfo }
	for ctx := c.within(); ctx.Err() == nil; <-time.After(2 * time.Millisecond) {
		m, err := c.nc.RequestWithContext(ctx, "ef.processor.tasks", nil)
		if errors.Is(err, nats.ErrNoResponders) {
			continue // the app is served, and the processor is about to announce itself
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if err := json.Unmarshal(m.Data, &list); err != nil {
			c.t.Fatal(err)
		}
		if len(list.Tasks) == 0 {
			continue // not assigned yet
		}
		if found = list.Tasks[0]; string(found.State) == want {
			return found
		}
	}
	c.t.Fatalf("the task is %+v, want %s", found, want)
	return found
}

func (c *chain) publishAll(from, to int) {
	c.t.Helper()
	for i := from; i < to; i++ {
		c.publish(i)
	}
}

// folder is the folder of the store.
func (c *chain) folder() string {
	if c.cfg.Store.URL != "" {
		return strings.TrimPrefix(c.cfg.Store.URL, "file:")
	}
	return filepath.Join(c.cfg.Data, "checkpoints")
}

// manifest reads a retained checkpoint from the store.
func (c *chain) manifest(epoch state.Epoch) (file string, m *checkpoint.Manifest) {
	c.t.Helper()
	file = filepath.Join(c.folder(), checkpoint.ManifestName("w", epoch))
	data, err := os.ReadFile(file)
	if err != nil {
		c.t.Fatal(err)
	}
	if m, err = checkpoint.DecodeManifest(file, data); err != nil {
		c.t.Fatal(err)
	}
	return file, m
}

// run returns a component's newest run, and the file that has it.
func (c *chain) run(epoch state.Epoch, component string) (file string, run checkpoint.Run) {
	c.t.Helper()
	_, m := c.manifest(epoch)
	for _, k := range m.Partitions[0].Components {
		if k.ID == component {
			run = k.Runs[len(k.Runs)-1]
			kind, name, _ := strings.Cut(run.Object(), "/")
			return filepath.Join(c.folder(), kind, name[:2], name), run
		}
	}
	c.t.Fatalf("checkpoint %d has no component %s", epoch, component)
	return "", run
}

// flipRun damages a component's newest run.
func (c *chain) flipRun(epoch state.Epoch, component string) {
	c.t.Helper()
	file, run := c.run(epoch, component)
	flipAt(c.t, file, run.Offset+run.Bytes/2)
}

// kill stops the node without a last checkpoint.
func (c *chain) kill() {
	c.t.Helper()
	c.nc.Close()
	c.node.skipLast = true
	c.stop()
	if err := <-c.done; err != nil {
		c.t.Fatal("stop:", err)
	}
	if err := c.node.Close(); err != nil {
		c.t.Fatal("stop:", err)
	}
}

// undisturbed returns the results of the app when nothing fails.
func undisturbed(t *testing.T, events, rows int) []string {
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, events)
	want := c.rows("w", rows)
	c.end()
	return want
}

// A restart continues from the newest checkpoint, wherever the log was trimmed.
func TestRestartFromCheckpoint(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 300, 300)
	c := newChain(t, windowApp)
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 1, time.Millisecond
	c.start()
	c.publishAll(0, 200)
	c.trigger("w")
	second := c.trigger("w")
	c.publishAll(200, 250)
	c.kill()
	c.start()
	if got := c.task("running"); got.Restored != uint64(second) || got.Events > 50 {
		t.Errorf("restored %d and applied %d events; want checkpoint %d and the 50 events after it", got.Restored, got.Events, second)
	}
	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err != nil {
		t.Fatal(err)
	}
	if s := log.CachedInfo().State; s.FirstSeq < 200 {
		t.Errorf("the log starts at %d", s.FirstSeq)
	}
	c.publishAll(250, 300)
	if got := c.rows("w", 300); !slices.Equal(got, want) {
		t.Error("other results than without a restart")
	}
	c.end()
}

// If the newest checkpoint is damaged, a start logs it and uses the previous one.
func TestDamagedCheckpoint(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 150, 150)
	for name, damage := range map[string]func(*chain, state.Epoch){
		"bit in a run": func(c *chain, e state.Epoch) { c.flipRun(e, "query1/window") },
		"run gone":     func(c *chain, e state.Epoch) { file, _ := c.run(e, "query1/window"); removeFile(t, file) },
		"manifest":     func(c *chain, e state.Epoch) { file, _ := c.manifest(e); flip(t, file) },
		"no manifest":  func(c *chain, e state.Epoch) { file, _ := c.manifest(e); removeFile(t, file) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, windowApp)
			c.start()
			c.publishAll(0, 70)
			first := c.trigger("w")
			c.publishAll(70, 100)
			second := c.trigger("w")
			damage(c, second)
			var report control.VerifyReport
			if err := c.node.control.Do(c.within(), control.VerbVerify, control.CheckpointRequest{App: "w"}, &report); err != nil || report.Sound || len(report.Problems) == 0 {
				t.Errorf("verify: %+v, %v", report, err)
			}
			c.kill()
			c.start()
			if got := c.task("running"); got.Restored != uint64(first) || got.Unusable != 1 {
				t.Errorf("restored %d and passed over %d; want checkpoint %d and 1", got.Restored, got.Unusable, first)
			}
			c.publishAll(100, 150)
			c.trigger("w") // the next one is whole again
			if err := c.node.control.Do(c.within(), control.VerbVerify, control.CheckpointRequest{App: "w"}, &report); err != nil || !report.Sound {
				t.Errorf("verify the next: %+v, %v", report, err)
			}
			if got := c.rows("w", 150); !slices.Equal(got, want) {
				t.Error("other results than without damage")
			}
			c.end()
		})
	}
}

// An output stream that lost its tail is completed from an earlier checkpoint.
func TestLostOutputTail(t *testing.T) {
	t.Parallel()
	want := undisturbed(t, 120, 120)
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 40)
	first := c.trigger("w")
	c.publishAll(40, 100)
	c.rows("w", 100)
	c.trigger("w")
	// The results of the last 30 events are lost; the fence before them remains.
	out, err := c.js.Stream(c.within(), natsconn.OutStream("w", 0))
	if err != nil {
		t.Fatal(err)
	}
	for seq := out.CachedInfo().State.LastSeq; seq > out.CachedInfo().State.LastSeq-30; seq-- {
		if err := out.DeleteMsg(c.within(), seq); err != nil {
			t.Fatal(err)
		}
	}
	c.kill()
	c.start()
	if got := c.task("running"); got.Restored != uint64(first) {
		t.Errorf("restored %d, want checkpoint %d", got.Restored, first)
	}
	c.publishAll(100, 120)
	if got := c.rows("w", 120); !slices.Equal(got, want) {
		t.Error("other results than without the loss")
	}
	c.end()
}

// dropLog deletes a log while the node is not running, and its witness too if blind is set. If
// another is set, it creates an empty stream with the same name and configuration.
func (c *chain) dropLog(name string, blind, another bool) {
	c.t.Helper()
	check := func(err error) {
		c.t.Helper()
		if err != nil {
			c.t.Fatal(err)
		}
	}
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: filepath.Join(c.cfg.Data, "nats"), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	check(err)
	defer func() { check(srv.Close()) }()
	nc, err := natsconn.Connect(c.within(), natsconn.ConnectConfig{Embedded: srv, Log: slog.New(slog.DiscardHandler)})
	check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	check(err)
	log, err := js.Stream(c.within(), name)
	check(err)
	check(js.DeleteStream(c.within(), name))
	if another {
		_, err := js.CreateStream(c.within(), log.CachedInfo().Config)
		check(err)
	}
	if blind {
		check(os.Remove(filepath.Join(c.cfg.Data, witnessFolder, name)))
	}
}

// A missing log is not created again. If the witness knows its end, the task halts because frames
// are missing; without the witness, the start is refused.
func TestLogIsGone(t *testing.T) {
	t.Parallel()
	t.Run("with its witness", func(t *testing.T) { testLogIsGone(t, false) })
	t.Run("without", func(t *testing.T) { testLogIsGone(t, true) })
}

func testLogIsGone(t *testing.T, blind bool) {
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 20)
	c.trigger("w")
	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err != nil {
		t.Fatal(err)
	}
	name := log.CachedInfo().Config.Name
	c.kill()
	c.dropLog(name, blind, false)
	if blind {
		n, err := Open(c.within(), c.cfg, Services, c.apps, "1.0.0", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		err = errors.Join(n.Run(c.within(), func([]*siddhiql.Plan) {}), n.Close())
		if err == nil || !strings.Contains(err.Error(), name+" is gone") {
			t.Errorf("the start says %v", err)
		}
		return
	}
	c.start()
	if got := c.task("halted"); !strings.Contains(got.Error, "the log starts at 23") {
		t.Errorf("the task says %q", got.Error)
	}
	c.end()
}

// An app can be deployed to a running node, and stays deployed after a restart.
func TestDeployWhileRunning(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	const other = `@app:name('a') define stream O (v int); from O select v insert into Out;`
	if _, err := c.node.control.Deploy(c.within(), control.DeployRequest{Text: other}); err != nil {
		t.Fatal(err)
	}
	publish := func(v int) {
		t.Helper()
		for ctx := c.within(); ; <-time.After(5 * time.Millisecond) {
			_, err := c.js.Publish(ctx, "events.O", fmt.Appendf(nil, `{"v":%d}`, v))
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	publish(1)
	c.end()
	c.start()
	publish(2)
	if got := c.rows("a", 2); !slices.Equal(got, []string{`{"v":1}`, `{"v":2}`}) {
		t.Errorf("%q", got)
	}
	c.end()
}

func flip(t *testing.T, file string) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	flipAt(t, file, info.Size()/2)
}

func flipAt(t *testing.T, file string, at int64) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
}
