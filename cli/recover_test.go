package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// liveNode is a node that serves one app, and a client of it.
type liveNode struct {
	t        *testing.T
	cfg      *config.Config
	services []string // services
	apps     []string

	url  string
	js   jetstream.JetStream
	nc   *nats.Conn
	stop func() error
}

func startNode(t *testing.T, app string) *liveNode {
	t.Helper()
	return startNodeOf(t, node.Services, app)
}

func startNodeOf(t *testing.T, services []string, app string, adapt ...func(*config.Config)) *liveNode {
	t.Helper()
	cfg := config.Default()
	for _, f := range adapt {
		f(cfg)
	}
	cfg.Data, cfg.Listen, cfg.WAL.Durability = t.TempDir(), "127.0.0.1:0", "fast"
	cfg.Checkpoint.Interval, cfg.Log.Level = time.Hour, slog.LevelError
	s := &liveNode{t: t, cfg: cfg, services: services}
	if app != "" {
		s.apps = []string{app}
	}
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	s.start()
	return s
}

// start runs the node over its folder.
func (s *liveNode) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = func() error { cancel(); return nil }
	n, err := node.Open(ctx, s.cfg, s.services, s.apps, "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	ready := make(chan struct{})
	done := make(chan error, 1)
	once := sync.OnceFunc(func() { close(ready) }) // ready is called again when apps change
	go func() { done <- n.Run(ctx, func([]*siddhiql.Plan) { once() }) }()
	s.url = n.URL()
	s.stop = func() error {
		if s.nc != nil {
			s.nc.Close()
		}
		cancel()
		return errors.Join(<-done, n.Close())
	}
	select {
	case <-ready:
	case err := <-done:
		done <- err
		s.t.Fatal(err)
	}
	if s.nc, err = nats.Connect(n.URL()); err != nil {
		s.t.Fatal(err)
	}
	if s.js, err = jetstream.New(s.nc); err != nil {
		s.t.Fatal(err)
	}
}

// restart stops the node, and starts it again.
func (s *liveNode) restart() {
	s.t.Helper()
	if err := s.stop(); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}

func (s *liveNode) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

func (s *liveNode) publish(from, to int) {
	s.t.Helper()
	for i := from; i < to; i++ {
		if _, err := s.js.Publish(s.within(), "events.S", fmt.Appendf(nil, `{"k":"k%d","v":%d}`, i%3, i)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// cli runs a command line, which has to end with the code, and returns what it printed.
func (s *liveNode) cli(code int, line string) string {
	s.t.Helper()
	stdout, stderr, got := run(line+" --server "+s.url, "")
	if got != code {
		s.t.Fatalf("%s: exit %d\n%s%s", line, got, stdout, stderr)
	}
	return stdout + stderr
}

func (s *liveNode) prints(code int, line string, want ...string) {
	s.t.Helper()
	got := s.cli(code, line)
	for _, w := range want {
		if !strings.Contains(got, w) {
			s.t.Errorf("%s prints\n%s\nwithout %q", line, got, w)
		}
	}
}

const sumsApp = `@app:name('sums') define stream S (k string, v int);
	@info(name='sums') from S#length(4) select k, sum(v) as total group by k insert into Out;`

func TestRecoveryCommands(t *testing.T) {
	s := startNode(t, sumsApp)
	s.publish(0, 8)
	s.prints(0, "checkpoint trigger sums", "checkpoint 1 committed")
	s.publish(8, 12)
	s.prints(0, "checkpoint trigger sums", "checkpoint 2 committed")
	s.publish(12, 14)

	s.prints(0, "state get sums/aggregate --key k1", "k1\t{\"rows\":2,\"values\":{\"total\":23}}") // 10 and 13
	s.prints(0, "state get sums/window sums --limit 1", "row 10\t", "and more; --limit N")
	s.prints(0, "state get sums/aggregate --key nobody", "nothing has the key nobody")
	s.prints(0, "state get sums/window sums --json", `"more": false`[:0], `"items"`)
	s.prints(1, "state get sums sums", "name one")
	s.prints(0, "checkpoint diff 1 2", "0/sums/aggregate", "0/sums/window row 8: none → ")
	s.prints(0, "checkpoint diff 1 2 sums --components sums/aggregate --explain k1", `S {"k":"k1","v":10}`)
	s.prints(1, "checkpoint diff 2 1 sums", "the older one first")
	s.prints(0, "checkpoint verify sums 2 --full", "checkpoint 2 of sums is proved: checkpoint 1 and the 4 events after it")
	s.prints(0, "checkpoint verify sums 1 --full", "cannot be proved", "eventflux checkpoint trigger sums")
	s.prints(0, "recover --to 1 --dry-run", "to checkpoint 1, from checkpoint 1", "takes about")
	s.prints(0, "recover sums --to 1 --dry-run --components sums/window", "kept", "warning", "all else stays as in checkpoint 2")
	s.prints(1, "recover sums --dry-run --components sums/window", "after the newest checkpoint, 2,", "next: eventflux checkpoint trigger sums")
	s.prints(1, "recover sums --to 7 --dry-run", "eventflux checkpoint ls sums")
	s.prints(1, "recover sums --at seq:1 --dry-run", "checkpoint 1 is passed over", "eventflux recover sums --to 1")
	s.prints(2, "recover sums --hold --fork", "only one of them")
	s.prints(2, "recover sums --to 1 --fork --keep-version", "--fork and --components do not go with it")
	s.prints(2, "recover sums --keep-version", "--to or --at")
	for _, other := range []string{"--dry-run", "--to 1", "--at seq:1", "--hold", "--fork", "--keep-version", "--adopt", "--components sums", "--verify full", "--parallel 2"} {
		s.prints(2, "recover sums --release "+other, "nothing else goes with it")
	}
	s.prints(2, "recover sums --adopt --verify full", "only --to goes with it")
	s.prints(2, "recover --log --verify full", "only --data")
	s.prints(1, "recover sums --at yesterday", "is not an instant")
}

// What is exported runs without a server, and gives the rows and the state that the
// server gave.
func TestExportRunsAnywhere(t *testing.T) {
	s := startNode(t, sumsApp)
	s.publish(0, 8)
	s.cli(0, "checkpoint trigger sums")
	s.publish(8, 14)
	file := filepath.Join(t.TempDir(), "sums.efx")
	s.prints(0, "checkpoint export sums -o "+file, "checkpoint 1 of sums", "6 frames")
	stdout, stderr, code := run("replay --from "+file+" --digest", "")
	if code != 0 {
		t.Fatal(stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if want := `{"query":"sums","stream":"Out","kind":"current"`; !strings.HasPrefix(lines[0], want) || !strings.Contains(lines[0], `"data":["k2",13],`) || !strings.Contains(lines[5], `"input":6,`) {
		t.Errorf("%s", stdout)
	}
	for _, line := range lines[6:] {
		var d struct{ Component, Digest string }
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatal(err)
		}
		var at struct{ Partitions []struct{ Digest string } }
		if err := json.Unmarshal([]byte(s.cli(0, "state get "+d.Component+" --json")), &at); err != nil || at.Partitions[0].Digest != d.Digest {
			t.Errorf("%s: %+v, %v", line, at, err)
		}
	}
	if n := len(lines); n < 10 {
		t.Errorf("%d lines", n)
	}
	compareVersions(t, file)
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{data[:len(data)-3], append([]byte("x"), data...), nil} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if stdout, stderr, code := run("replay --from "+file, ""); code != 1 || stdout != "" || !strings.Contains(stderr, "corrupt export") {
			t.Errorf("exit %d, %q, %q", code, stdout, stderr)
		}
	}
}

// compareVersions compares the exported app with next versions of it.
func compareVersions(t *testing.T, file string) {
	for _, c := range []struct {
		text, flags string
		code        int
		want        []string
	}{
		{sumsApp, "", 0, []string{"kept  sums/window", "Out     6      0          0         0", "6 frames, 6 events"}},
		{sumsApp, " --json", 0, []string{`"equal": 6,`, `"outcome": "kept"`}},
		{strings.Replace(sumsApp, "length(4)", "length(3)", 1), "", 1, []string{
			"adapted  sums/window", "total in 6", "Out different, seq:11.1 of S", "  old  11.0", "  new  11.0", "the results of the two versions differ",
		}},
		{strings.Replace(sumsApp, "S#length", "S[v != 9]#length", 1), " --json", 1, []string{`"only_old": 1`, `"kind": "only old"`, `"cause": "seq:12.1 of S"`}},
		{strings.Replace(sumsApp, "length(4)", "time(1 sec)", 1), "", 1, []string{"refused  sums/window", "--drop compares without the state"}},
		{strings.Replace(sumsApp, "length(4)", "time(1 sec)", 1), " --drop", 1, []string{"dropped  sums/window", "the results of the two versions differ"}},
		{strings.Replace(sumsApp, "select k", "select nobody", 1), "", 1, []string{"nobody"}},
		{strings.Replace(sumsApp, "'sums'", "'other'", 1), "", 1, []string{"the app is \"sums\""}},
		{sumsApp, " --digest", 2, []string{"do not go together"}},
	} {
		app := filepath.Join(t.TempDir(), "next.siddhi")
		if err := os.WriteFile(app, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, code := run("replay --from "+file+" --app "+app+" --compare"+c.flags, "")
		for _, w := range c.want {
			if code != c.code || !strings.Contains(stdout+stderr, w) {
				t.Errorf("%s%s: exit %d, want %d and %q:\n%s%s", c.text, c.flags, code, c.code, w, stdout, stderr)
			}
		}
	}
	for _, line := range []string{"replay --from " + file + " --app x.siddhi", "replay --from " + file + " --compare", "replay x.siddhi --events - --compare"} {
		if _, stderr, code := run(line, ""); code != 2 {
			t.Errorf("%s: exit %d, %s", line, code, stderr)
		}
	}
}

// An adoption that cannot start ends with a reason. Here the app has no task.
func TestAdoptDoesNotHang(t *testing.T) {
	s := startNodeOf(t, []string{"checkpointer"}, sumsApp)
	client := newClient(s.nc)
	_, err := firstCheckpoint(s.within(), client, "sums", 200*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "app sums made no checkpoint in 200ms") ||
		!strings.Contains(err.Error(), "0 of 1 partitions of app sums have a task") || !strings.Contains(err.Error(), "eventflux doctor") {
		t.Errorf("%v", err)
	}
}
