package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/test/program"
)

// fleet is a cluster as in production: three NATS servers with three replicas of each stream, Redis
// for the checkpoints, and one process per service.
type fleet struct {
	*cluster
	links  *links
	parts  []*part
	disks  map[string]*disk // by name of the part; some have none
	direct []string         // URLs of the NATS servers that no link leads to
	redis  string           // address
	ran    []*process
	began  time.Time
}

// part is a process that is restarted when it ends, as by a supervisor.
type part struct {
	name    string
	kind    string // the service, nats or redis
	start   func() *process
	binary  string // of a service
	metrics string // of a service: address of its metrics and health
	now     *process
	last    time.Time // when it was started
	down    bool      // it must not be restarted
}

// newFleet starts all processes.
func newFleet(t *testing.T, settings ...string) *fleet {
	t.Helper()
	return newFleetOf(t, binary, settings...)
}

// newFleetOf starts all processes with the given build of the program.
func newFleetOf(t *testing.T, program string, settings ...string) *fleet {
	t.Helper()
	f := &fleet{
		cluster: &cluster{t: t, binary: program, address: map[string]string{}, members: map[string]*process{}, apps: map[string]int{}},
		links:   newLinks(t), disks: map[string]*disk{}, began: time.Now(),
	}
	f.addRedis()
	clients := f.addServers(3)
	settings = append([]string{
		"--nats.url", clients, "--nats.replicas", "3", "--store.url", "redis://" + f.links.to("redis", f.redis),
		"--wal.durability", "fast", "--log.level", "info",
	}, settings...)
	f.addMembers(3, settings)
	for _, id := range []string{"p1", "p2", "p3"} {
		f.addService(id, "processor", append(settings, "--processor.id", id)...)
	}
	for _, id := range []string{"i1", "i2"} {
		f.addService(id, "ingest", settings...)
	}
	f.addService("merger", "merger", settings...)
	f.addService("recovery", "recovery", settings...)
	f.tend()

	f.url = strings.Join(f.direct, ",")
	var err error
	f.nc, err = nats.Connect(f.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.PingInterval(time.Second),
		nats.RetryOnFailedConnect(true))
	must(t, err)
	t.Cleanup(f.nc.Close)
	f.js, err = jetstream.New(f.nc)
	must(t, err)
	f.ctl.Conn = f.nc
	return f
}

func (f *fleet) add(name, kind string, start func() *process) *part {
	p := &part{name: name, kind: kind, start: start}
	f.parts = append(f.parts, p)
	return p
}

func (f *fleet) addRedis() {
	f.redis = program.Address(f.t)
	_, port, _ := strings.Cut(f.redis, ":")
	dir := f.t.TempDir()
	f.add("redis", "redis", func() *process {
		return launch(f.t, exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir,
			"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction"))
	})
}

// addServers adds NATS servers, and returns the URLs that the services use.
func (f *fleet) addServers(n int) (clients string) {
	self, err := os.Executable()
	must(f.t, err)
	listen, route := make([]string, n), make([]string, n)
	var routes, urls []string
	through := make([]string, n) // addresses of the routes
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		listen[i], route[i] = program.Address(f.t), program.Address(f.t)
		through[i] = f.links.to(name, route[i])
		routes = append(routes, "nats-route://"+through[i])
		urls = append(urls, "nats://"+f.links.to(name, listen[i]))
		f.direct = append(f.direct, "nats://"+listen[i])
	}
	for i := range n {
		name := fmt.Sprintf("n%d", i+1)
		disk := newDisk(f.t)
		if disk.own {
			f.disks[name] = disk
		}
		others := slices.Delete(slices.Clone(routes), i, i+1)
		config := write(f.t, name+".conf", fmt.Sprintf(`server_name: %s
listen: %q
max_payload: 8MB
jetstream { store_dir: %q, max_file_store: 64GB }
cluster { name: fleet, listen: %q, advertise: %q, no_advertise: true, routes: ["%s"] }
`, name, listen[i], filepath.Join(disk.dir, "nats"), route[i], through[i], strings.Join(others, `", "`)))
		f.add(name, "nats", func() *process {
			cmd := exec.Command(self)
			cmd.Env = append(cmd.Env, natsVar+"="+config)
			return launch(f.t, cmd)
		})
	}
	return strings.Join(urls, ",")
}

func (f *fleet) addMembers(n int, settings []string) {
	var peers, listen []string
	for i := range n {
		id := fmt.Sprintf("c%d", i+1)
		listen = append(listen, program.Address(f.t))
		peers = append(peers, id+"="+f.links.to(id, listen[i]))
	}
	for i := range n {
		id := fmt.Sprintf("c%d", i+1)
		disk := newDisk(f.t)
		if disk.own {
			f.disks[id] = disk
		}
		f.addServiceIn(disk.dir, id, "checkpointer", append(slices.Clone(settings),
			"--raft.id", id, "--raft.listen", listen[i], "--raft.peers", strings.Join(peers, ","))...)
	}
}

func (f *fleet) addService(name, service string, args ...string) {
	f.addServiceIn(f.t.TempDir(), name, service, args...)
}

func (f *fleet) addServiceIn(dir, name, service string, args ...string) {
	metrics := program.Address(f.t)
	all := append([]string{"serve", "--services", service, "--data", filepath.Join(dir, "data"), "--metrics.listen", metrics}, args...)
	one := f.add(name, service, nil)
	one.binary, one.metrics = f.program(), metrics
	one.start = func() *process {
		p := launch(f.t, exec.Command(one.binary, all...))
		if service == "checkpointer" {
			f.members[name] = p
		}
		return p
	}
}

// part returns the part with the given name.
func (f *fleet) part(name string) *part {
	return f.parts[slices.IndexFunc(f.parts, func(p *part) bool { return p.name == name })]
}

// of returns the parts of the given kinds.
func (f *fleet) of(kinds ...string) (all []*part) {
	for _, p := range f.parts {
		if slices.Contains(kinds, p.kind) {
			all = append(all, p)
		}
	}
	return all
}

// tend restarts the parts that have ended and should run.
func (f *fleet) tend() {
	f.t.Helper()
	for _, p := range f.parts {
		switch {
		case p.down || p.now != nil && !dead(p.now) || time.Since(p.last) < time.Second:
			continue
		case p.now != nil && p.now.code != -1:
			f.say("%s ended by itself, with code %d: %s", p.name, p.now.code, lastLine(p.now.log.tail()))
		}
		p.now, p.last = p.start(), time.Now()
		f.ran = append(f.ran, p.now)
		f.links.know(p.name, p.now.cmd.Process.Pid)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// say logs a message with the time since the start.
func (f *fleet) say(format string, args ...any) {
	f.t.Helper()
	f.t.Logf("%6.1fs  %s", time.Since(f.began).Seconds(), fmt.Sprintf(format, args...))
}

func (f *fleet) pass(d time.Duration) {
	f.t.Helper()
	over := time.After(d)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
			f.tend()
		}
	}
}

// await waits until done returns true. Its limit is generous: some conditions need several
// elections in several groups, one after the other.
func (f *fleet) await(what string, done func() bool) {
	f.t.Helper()
	const limit = patience
	for deadline := time.Now().Add(limit); !done(); f.pass(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited %s until %s", limit, what)
		}
	}
}

// deployAll deploys apps of testdata.
func (f *fleet) deployAll(partitions map[string]int) {
	f.t.Helper()
	for name, n := range partitions {
		text, err := os.ReadFile(app(strings.ToLower(name)))
		must(f.t, err)
		f.await("app "+name+" is deployed", func() bool {
			_, err := f.ctl.Deploy(f.within(5*time.Second), control.DeployRequest{Text: string(text)})
			return err == nil
		})
		f.apps[name] = n
	}
	f.say("deployed")
}

// refused returns how many tasks ended because another processor had taken over their partition,
// and how many of these noticed it by a refused write: of results, or of their part of a
// checkpoint.
func (f *fleet) refused() (tasks, results, prepared int) {
	for _, p := range f.ran {
		for line := range strings.Lines(p.log.String()) {
			switch {
			case !strings.Contains(line, "its partition was taken over"):
				continue
			case strings.Contains(line, "results refused"):
				results++
			case strings.Contains(line, "prepare checkpoint"):
				prepared++
			}
			tasks++
		}
	}
	return tasks, results, prepared
}

// leads returns the server that leads a JetStream stream, or "".
func (f *fleet) leads(stream string) string {
	s, err := f.js.Stream(f.within(3*time.Second), stream)
	if err != nil || s.CachedInfo().Cluster == nil {
		return ""
	}
	return s.CachedInfo().Cluster.Leader
}

// verifyAll verifies every committed checkpoint, and returns their number.
func (f *fleet) verifyAll() (n int) {
	f.t.Helper()
	for name := range f.apps {
		var list control.CheckpointList
		f.await("the checkpoints of "+name+" are listed", func() bool {
			return f.ctl.Do(f.within(10*time.Second), control.VerbCheckpoints, control.AppRequest{App: name}, &list) == nil
		})
		for _, k := range list.Checkpoints {
			if k.State != "committed" {
				continue
			}
			var r control.VerifyReport
			f.await(fmt.Sprintf("checkpoint %d of %s is verified", k.Epoch, name), func() bool {
				return f.ctl.Do(f.within(30*time.Second), control.VerbVerify, control.CheckpointRequest{App: name, Epoch: k.Epoch}, &r) == nil
			})
			if !r.Sound {
				f.t.Errorf("checkpoint %d of %s: %+v", k.Epoch, name, r.Problems)
			}
			n++
		}
		middle := list.Checkpoints[len(list.Checkpoints)/2] // one that was made under load
		if middle.State == "committed" {
			f.say("%s", lastLine(f.eventflux("checkpoint", "verify", name, fmt.Sprint(middle.Epoch), "--full")))
		}
	}
	return n
}

// outputs returns the number of messages in all output streams.
func (f *fleet) outputs() uint64 {
	var n uint64
	for name, partitions := range f.apps {
		for p := range partitions {
			if s, err := f.js.Stream(f.within(3*time.Second), natsconn.OutStream(name, uint32(p))); err == nil {
				n += s.CachedInfo().State.Msgs
			}
		}
	}
	return n
}
