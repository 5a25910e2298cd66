package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/checkpointer"
	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/test/program"
)

const (
	former = "1.4.0"
	later  = "1.5.0" // can share a cluster with former
	other  = "2.0.0" // cannot
)

var building sync.Mutex

// built returns the path of the program as the given release. In the short form it is the same
// program, which only says that it is another release; in the long form it is built for it, and the
// later release has more fields in its messages.
func built(t *testing.T, release string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	file := binary + "-" + release
	if _, err := os.Stat(file); err == nil {
		return file
	}
	if testing.Short() {
		must(t, os.WriteFile(file, fmt.Appendf(nil, "#!/bin/sh\nFAULTPOINTS_RELEASE=%s exec %s \"$@\"\n", release, binary), 0o700))
		return file
	}
	flags := append(buildFlags(), "-ldflags", program.Stripped+" -X github.com/eventflux/eventflux/shared/ops/build.release="+release)
	if release == later {
		flags = append(flags, "-overlay", withLaterFields(t))
	}
	must(t, program.Build(file, flags...))
	return file
}

// agreed are message types that are also part of formats: Raft's log and snapshots, and a report.
// They are the same in all minor versions.
var agreed = []string{"App", "Owner", "CheckpointRef", "Restored", "Problem"}

// withLaterFields returns an overlay with the sources of a later version: each request and answer
// of shared/control has one more field, as minor versions may add.
func withLaterFields(t *testing.T) string {
	t.Helper()
	header := regexp.MustCompile(`(?m)^type (\w+) struct \{$`)
	replaced, n := map[string]string{}, 0
	for _, name := range []string{"control.go", "merging.go", "restore.go"} {
		path, err := filepath.Abs(filepath.Join("..", "..", "shared", "control", name))
		must(t, err)
		text, err := os.ReadFile(path)
		must(t, err)
		replaced[path] = write(t, name, header.ReplaceAllStringFunc(string(text), func(line string) string {
			if slices.Contains(agreed, header.FindStringSubmatch(line)[1]) {
				return line
			}
			n++
			return line + "\n\tLater [1]int `json:\"later\"`"
		}))
	}
	if n < 20 {
		t.Fatalf("only %d types of messages were found", n)
	}
	data, err := json.Marshal(map[string]any{"Replace": replaced})
	must(t, err)
	return write(t, "overlay.json", string(data))
}

// TestRollingUpgrade upgrades a whole cluster to the next minor version and back, one process at a
// time, as docs/operations.md describes, while events come in. No result is lost or repeated, and
// metrics, logs and doctor report the versions in use.
func TestRollingUpgrade(t *testing.T) {
	rnd := random(t)
	oldOne, newOne := built(t, former), built(t, later)
	f := newFleetOf(t, oldOne, "--checkpoint.interval=1s", "--checkpoint.timeout=10s", "--checkpoint.full_every=5",
		"--retention.span=100h", "--merger.chain_max=3")
	want := f.load(rnd, func(trade *feed) {
		f.awaitVersions(former)
		f.replaceCheckpointers(newOne)
		f.awaitVersions(former, later)
		f.checkDoctor("warning", "1.4.0 (ingest on", "processor p1, processor p2, processor p3", "1.5.0 (checkpointer c1, checkpointer c2, checkpointer c3)")
		f.replace(newOne, "merger", "recovery", "p1")
		// From here on, another version takes over from a killed process.
		f.killed("p1")
		f.replace(newOne, "p2", "p3", "i1", "i2")
		f.awaitVersions(later)
		f.checkDoctor("ok", "all have version 1.5.0")
		f.say("one version on; longest time without an acknowledgement: %s", trade.longest().Round(time.Millisecond))
		if testing.Short() {
			return // the long form also replaces the NATS servers, and goes back
		}
		f.replaceServers()

		f.replace(oldOne, "i2", "i1", "p3", "p2", "p1", "recovery", "merger")
		f.checkDoctor("warning", "1.4.0 (ingest on", "1.5.0 (checkpointer c1")
		f.replaceCheckpointers(oldOne)
		f.awaitVersions(former)
		f.checkDoctor("ok", "all have version 1.4.0")
		f.say("and back; longest time without an acknowledgement: %s", trade.longest().Round(time.Millisecond))
	})
	f.checkUnhalted()
	f.awaitAll(want)
	f.say("all %d results are there, once and in order; %d checkpoints are sound", want.count(), f.verifyAll())
	f.checkSaid("checkpointer", "processor", "ingest")
	if !testing.Short() { // in the short form it may be replaced before it asks anyone
		f.checkSaid("merger")
	}
}

// checkUnhalted checks that no process failed and no task halted.
func (f *fleet) checkUnhalted() {
	f.t.Helper()
	for _, p := range f.ran {
		if dead(p) && p.code > 0 {
			f.t.Errorf("%s ended with code %d", p.cmd, p.code)
		}
		for line := range strings.Lines(p.log.String()) {
			if strings.Contains(line, "halted") {
				f.t.Errorf("%s: %s", p.cmd, line)
			}
		}
	}
	if f.t.Failed() {
		f.t.FailNow()
	}
}

// replace stops processes with SIGTERM, one at a time, and starts each with another build. It waits
// until a process is ready before it stops the next one.
func (f *fleet) replace(program string, names ...string) {
	f.t.Helper()
	f.binary = program // also for commands
	for _, name := range names {
		p := f.part(name)
		f.stopped(p)
		p.binary = program
		f.started(p)
	}
}

func (f *fleet) stopped(p *part) {
	f.t.Helper()
	p.down = true
	began := time.Now()
	p.now.stop()
	f.say("%s has stopped after %s", p.name, time.Since(began).Round(time.Millisecond))
	p.now = nil
}

func (f *fleet) started(p *part) {
	f.t.Helper()
	p.down, p.last = false, time.Time{}
	f.tend()
	if p.metrics != "" {
		f.await(p.name+" is ready", func() bool { _, err := get(p.metrics, "/readyz"); return err == nil })
		f.say("%s is ready", p.name)
	}
}

// replaceCheckpointers replaces the followers first, and then the leader once another one leads.
func (f *fleet) replaceCheckpointers(program string) {
	f.t.Helper()
	leader := f.leader()
	for _, id := range []string{"c1", "c2", "c3"} {
		if id != leader {
			f.replace(program, id)
		}
	}
	f.await("another one leads", func() bool {
		out, err := exec.Command(program, "checkpointer", "transfer", "--server", f.url).CombinedOutput()
		if err != nil {
			f.say("transfer: %s", out)
		}
		return f.leader() != leader
	})
	f.replace(program, leader)
}

// replaceServers restarts the NATS servers one at a time, each once all replicas are current.
func (f *fleet) replaceServers() {
	f.t.Helper()
	for _, p := range f.of("nats") {
		f.await("every stream has all its copies", f.copied)
		p.down = true
		p.now.signal(syscall.SIGTERM)
		p.now.end()
		p.now = nil
		f.started(p)
	}
	f.await("every stream has all its copies", f.copied)
	f.say("NATS servers are replaced")
}

// copied reports whether every stream has a leader and current replicas.
func (f *fleet) copied() bool {
	list := f.js.ListStreams(f.within(3 * time.Second))
	n := 0
	for s := range list.Info() {
		n++
		if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) != 2 ||
			slices.ContainsFunc(s.Cluster.Replicas, func(r *jetstream.PeerInfo) bool { return !r.Current || r.Offline }) {
			return false
		}
	}
	return list.Err() == nil && n > 0
}

// killed kills a process and starts it again.
func (f *fleet) killed(name string) {
	f.t.Helper()
	p := f.part(name)
	p.down = true
	p.now.signal(syscall.SIGKILL)
	p.now.end()
	f.say("%s was killed", name)
	f.started(p)
}

// get reads the metrics or the health of a process.
func get(address, path string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + path)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", resp.Status, body)
	}
	return string(body), err
}

// awaitVersions waits until the metrics of all services report exactly these versions.
func (f *fleet) awaitVersions(want ...string) {
	f.t.Helper()
	f.await(fmt.Sprintf("the versions are %v", want), func() bool {
		var have []string
		for _, p := range f.parts {
			if p.metrics == "" {
				continue
			}
			text, err := get(p.metrics, "/metrics")
			if err != nil {
				return false
			}
			_, rest, told := strings.Cut(text, "eventflux_build_info{")
			_, rest, _ = strings.Cut(rest, `version="`)
			version, _, _ := strings.Cut(rest, `"`)
			if !told {
				f.t.Fatalf("%s has no eventflux_build_info", p.name)
			}
			have = append(have, version)
		}
		slices.Sort(have)
		return slices.Equal(slices.Compact(have), want)
	})
}

// checkDoctor checks what doctor reports about versions.
func (f *fleet) checkDoctor(severity string, says ...string) {
	f.t.Helper()
	var about struct {
		Findings []struct{ Severity, Check, Meaning, Fix string }
	}
	out, err := exec.Command(f.program(), "doctor", "--json", "--server", f.url).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // code 1 may be about other findings
		f.t.Fatal(err)
	}
	must(f.t, json.Unmarshal(out, &about))
	for _, one := range about.Findings {
		if one.Check != "versions" {
			continue
		}
		f.say("doctor: %s: %s; %s", one.Severity, one.Meaning, one.Fix)
		ok := one.Severity == severity && (severity == "ok" || strings.Contains(one.Fix, "docs/operations.md"))
		for _, text := range says {
			ok = ok && strings.Contains(one.Meaning, text)
		}
		if ok {
			return
		}
	}
	f.t.Errorf("the doctor does not say %s and %q of the versions: %s", severity, says, out)
}

// checkSaid checks that processes of the given services logged that there is another version, and
// that no process logged the same twice.
func (f *fleet) checkSaid(services ...string) {
	f.t.Helper()
	said := map[string]bool{}
	for _, p := range f.ran {
		service, seen := p.cmd.Args[min(3, len(p.cmd.Args)-1)], map[string]bool{}
		for line := range strings.Lines(p.log.String()) {
			_, what, found := strings.Cut(line, "another version is in the cluster")
			if !found {
				continue
			}
			if seen[what] {
				f.t.Errorf("%s has said twice: %s", service, line)
			}
			seen[what], said[service] = true, true
		}
	}
	for _, service := range services {
		if !said[service] {
			f.t.Errorf("no %s has said that there is another version", service)
		}
	}
}

// TestOtherMajorVersion starts services of another major version in a cluster. Each is refused and
// names itself, where it runs, and what to do. The cluster goes on.
func TestOtherMajorVersion(t *testing.T) {
	t.Parallel()
	c := newClusterOf(t, built(t, former), 1, "--processor.standby=off")
	c.deploy("Shapes")
	wrong := built(t, other)
	c.binary = wrong
	const says = "has version 2.0.0, and checkpointer c1 has 1.4.0: versions that differ in the first number do not work together; run a version 1.x as "
	for services, args := range map[string][]string{
		"processor":    {"--processor.id", "p2"},
		"ingest":       nil,
		"checkpointer": {"--raft.id", "c2", "--raft.listen", c.addressOf("c2"), "--raft.peers", "c2=" + c.addressOf("c2")},
	} {
		p := c.serve(services, t.TempDir(), args...)
		if code := p.end(); code != 1 {
			t.Errorf("%s of another major version: exit code %d, want 1", services, code)
		}
		if log := p.log.String(); !strings.Contains(log, "eventflux: ") || !strings.Contains(log, says) || !strings.Contains(log, "docs/operations.md") {
			t.Errorf("%s says %s, want %q in it", services, log, says)
		}
	}
	merger := c.serve("merger", t.TempDir())
	merger.awaitLog("run a version 1.x as merger")
	c.members["c1"].awaitLog("another major version is in the cluster, and refused")
	out, err := exec.Command(wrong, "app", "ls", "--server", c.url).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the eventflux command has version 2.0.0, and checkpointer c1 has 1.4.0") {
		t.Errorf("a command of another major version: %v, %s", err, out)
	}
	f := &fleet{cluster: c, began: time.Now()}
	f.checkDoctor("error", "1.4.0 (checkpointer c1, ingest on", "processor p1), 2.0.0 (merger on")
	merger.stop()
	c.binary = c.members["c1"].cmd.Path
	f.checkDoctor("ok", "all have version 1.4.0")

	nc := c.nc
	sub, err := nc.SubscribeSync("out.Shapes.>")
	must(t, err)
	for _, m := range trades(random(t), 50) {
		answer, err := nc.RequestMsg(m.msg(""), patience)
		must(t, err)
		must(t, readAnswer(answer))
	}
	_, err = sub.NextMsg(patience)
	must(t, err)
	list, err := c.ctl.Apps(c.within(patience))
	must(t, err)
	if o := list.Apps[0].Owners; len(o) != 1 || o[0].Processor != "p1" || o[0].State != "running" {
		t.Errorf("the partition is at %+v", o)
	}
}

// TestUnknownCommand starts a version that does not know a command in Raft's log. It halts and says
// what to do, at every start: it never skips a command.
func TestUnknownCommand(t *testing.T) {
	t.Parallel()
	t.Run("serve", func(t *testing.T) {
		c := newClusterOf(t, built(t, former), 1)
		c.leader()
		c.members["c1"].stop()
		at := c.addressOf("c1")
		index := commandOf(t, "1.9.0", consensus.Config{
			ID: "c1", Dir: filepath.Join(c.dataOf("c1"), "raft"), Listen: at, Peers: []consensus.Peer{{ID: "c1", Address: at}},
		})
		for range 2 {
			checkUnknown(t, c.startMember("c1"), index, "1.9.0")
		}
	})
	t.Run("run", func(t *testing.T) {
		data := t.TempDir()
		serving(t, data, app("shapes")).stop()
		index := commandOf(t, "0.9.0", consensus.Config{ID: "single", Dir: filepath.Join(data, "raft")})
		checkUnknown(t, run(t, data, app("shapes")), index, "0.9.0")
	})
}

// commandOf makes a group of one commit a command that only a later version knows, and returns its
// index.
func commandOf(t *testing.T, version string, cfg consensus.Config) (index uint64) {
	t.Helper()
	fsm, err := checkpointer.NewFSM(version)
	must(t, err)
	cfg.FSM, cfg.Log = fsm, slog.New(slog.DiscardHandler)
	member, err := consensus.Open(cfg)
	must(t, err)
	for l := range member.Leadership() {
		if l.Leader {
			break
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, index, err = member.Apply(ctx, fmt.Appendf(nil, `{"version":%q,"kind":"pause","app":"Shapes"}`, version))
	must(t, errors.Join(err, member.Close(ctx)))
	return index
}

func checkUnknown(t *testing.T, p *process, index uint64, version string) {
	t.Helper()
	if code := p.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	want := fmt.Sprintf(`entry %d of the Raft log: it is a "pause" of version %s, which this version does not know; run version %[2]s here`, index, version)
	if log := p.log.String(); !strings.Contains(log, want) {
		t.Errorf("says %s, want %q", log, want)
	}
}
