package faults

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/test/program"
)

// cluster is a NATS server inside the test process, plus one process per service.
type cluster struct {
	t        *testing.T
	binary   string // of the processes that are started next; "" for the binary of the other tests
	url      string
	store    string // folder
	peers    string
	address  map[string]string // of members, by id
	settings []string
	rules    []string // fault rules of all processes, from their start
	nc       *nats.Conn
	js       jetstream.JetStream
	ctl      control.Client
	members  map[string]*process
	begun    []*process     // the others
	apps     map[string]int // deployed, with their partitions
	watch    *witness
}

// newCluster starts the given number of checkpointers.
func newCluster(t *testing.T, members int, settings ...string) *cluster {
	t.Helper()
	return newClusterArmed(t, members, nil, settings...)
}

// newClusterArmed is newCluster with fault rules that apply to all processes from their start.
func newClusterArmed(t *testing.T, members int, rules []string, settings ...string) *cluster {
	t.Helper()
	return newClusterAs(t, binary, members, rules, settings...)
}

// newClusterOf is newCluster with another build of the program.
func newClusterOf(t *testing.T, program string, members int, settings ...string) *cluster {
	t.Helper()
	return newClusterAs(t, program, members, nil, settings...)
}

func newClusterAs(t *testing.T, program string, members int, rules []string, settings ...string) *cluster {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	c := &cluster{
		t: t, binary: program, url: srv.URL(), store: t.TempDir(), settings: settings, rules: rules,
		address: map[string]string{}, members: map[string]*process{},
	}
	c.nc, err = nats.Connect(c.url)
	must(t, err)
	t.Cleanup(c.nc.Close)
	c.js, err = jetstream.New(c.nc)
	must(t, err)
	c.ctl.Conn = c.nc
	var peers []string
	for i := range members {
		id := fmt.Sprintf("c%d", i+1)
		peers = append(peers, id+"="+c.addressOf(id))
	}
	c.peers = strings.Join(peers, ",")
	for id := range c.address {
		c.startMember(id)
	}
	return c
}

// addressOf returns the address of a member. It stays the same across restarts.
func (c *cluster) addressOf(id string) string {
	c.t.Helper()
	if c.address[id] == "" {
		c.address[id] = program.Address(c.t)
	}
	return c.address[id]
}

func (c *cluster) program() string { return cmp.Or(c.binary, binary) }

// serve starts services in one process.
func (c *cluster) serve(services, data string, args ...string) *process {
	c.t.Helper()
	all := []string{
		"serve", "--services", services, "--nats.url", c.url, "--store.url", "file:" + c.store, "--data", data,
		"--wal.durability", "fast", "--log.level", "debug", "--ingest.lag_max", "1h", // see runArmed
	}
	return launch(c.t, exec.Command(c.program(), append(append(all, c.settings...), args...)...), c.rules...)
}

// startMember starts or restarts a checkpointer.
func (c *cluster) startMember(id string, args ...string) *process {
	c.t.Helper()
	own := []string{"--raft.id", id, "--raft.listen", c.addressOf(id), "--raft.peers", c.peers}
	p := c.serve("checkpointer", c.dataOf(id), append(own, args...)...)
	c.members[id] = p
	return p
}

// dataOf returns the data folder of a member. It stays the same across restarts.
func (c *cluster) dataOf(id string) string {
	return filepath.Join(c.store, "..", filepath.Base(c.store)+"-"+id)
}

func (c *cluster) startProcessor(id string, args ...string) *process {
	c.t.Helper()
	p := c.serve("processor", c.t.TempDir(), append(args, "--processor.id", id)...)
	c.begun = append(c.begun, p)
	return p
}

// deploy deploys apps of testdata, and starts a processor and an ingest. It returns the processor
// once events are accepted.
func (c *cluster) deploy(names ...string) *process {
	c.t.Helper()
	c.apps = map[string]int{}
	for _, name := range names {
		c.apps[name] = max(logs[name], 1)
		text, err := os.ReadFile(app(strings.ToLower(name)))
		must(c.t, err)
		_, err = c.ctl.Deploy(c.within(patience), control.DeployRequest{Text: string(text)})
		must(c.t, err)
	}
	p := c.startProcessor("p1")
	in := c.serve("ingest", c.t.TempDir())
	c.begun = append(c.begun, in)
	in.awaitReady()
	c.watch = c.observe()
	return p
}

func (c *cluster) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

// status asks one member. It returns nil if the member does not answer.
func (c *cluster) status(id string) *control.Status {
	m, err := c.nc.Request(natsconn.ServiceSubject(control.Service, "node."+id+"."+control.VerbStatus), nil, time.Second)
	if err != nil {
		return nil
	}
	s := new(control.Status)
	if json.Unmarshal(m.Data, s) != nil {
		return nil
	}
	return s
}

// leader waits until all members that answer agree on who leads, and returns its id.
func (c *cluster) leader() (id string) {
	c.t.Helper()
	eventually(c.t, "a checkpointer leads", func() bool {
		id = ""
		for member := range c.members {
			s := c.status(member)
			if s == nil {
				continue
			}
			if s.Leader == "" || id != "" && id != s.Leader {
				return false
			}
			id = s.Leader
		}
		s := c.status(id)
		return s != nil && s.State == "leader"
	})
	return id
}

// strikeLeader arms the current leader and waits until the fault strikes. It returns the leader's
// id and term. On a busy machine leadership may move before that; then it arms the new leader.
func (c *cluster) strikeLeader(struck func(*process) bool, rules ...string) (id string, term checkpoint.Term) {
	c.t.Helper()
	eventually(c.t, fmt.Sprintf("the leader comes to %q", rules), func() bool {
		id = c.leader()
		p, s := c.members[id], c.status(id)
		if s == nil {
			return false
		}
		term = s.Term
		p.arm(rules...)
		for !struck(p) {
			if s := c.status(id); s != nil && s.State != "leader" {
				p.arm()
				return struck(p)
			}
		}
		return true
	})
	return id, term
}

// dead reports whether a process has exited.
func dead(p *process) bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// stop stops all processes with SIGTERM.
func (c *cluster) stop() {
	c.t.Helper()
	for _, p := range slices.Backward(c.begun) {
		p.stop()
	}
	for _, p := range c.members {
		p.stop()
	}
	c.watch.end()
}

// awaitResults waits for the wanted number of results, and compares them.
func (c *cluster) awaitResults(want results) {
	c.t.Helper()
	maps.DeleteFunc(want, func(subject string, _ []row) bool {
		_, deployed := c.apps[strings.Split(subject, ".")[1]]
		return !deployed
	})
	var got results
	eventually(c.t, "all results are out", func() bool {
		got = c.results()
		return got.count() >= want.count()
	})
	checkSame(c.t, got, want)
}

func (c *cluster) results() results {
	c.t.Helper()
	all := results{}
	for name, partitions := range c.apps {
		for p := range partitions {
			readStream(c.within(patience), c.t, c.js, natsconn.OutStream(name, uint32(p)), all)
		}
	}
	return all
}

// resultCount returns the number of messages in all output streams.
func (c *cluster) resultCount() (n uint64) {
	c.t.Helper()
	for name, partitions := range c.apps {
		for p := range partitions {
			s, err := c.js.Stream(c.within(patience), natsconn.OutStream(name, uint32(p)))
			must(c.t, err)
			n += s.CachedInfo().State.Msgs
		}
	}
	return n
}

// witness polls the checkpoints of all apps and remembers what it saw. It reports epochs whose
// outcome changes.
type witness struct {
	c    *cluster
	quit chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex
	saw  map[string]map[state.Epoch]control.CheckpointInfo
	when map[string]map[state.Epoch]time.Time // when a commit was first seen
}

func (c *cluster) observe() *witness {
	w := &witness{
		c: c, quit: make(chan struct{}),
		saw: map[string]map[state.Epoch]control.CheckpointInfo{}, when: map[string]map[state.Epoch]time.Time{},
	}
	for name := range c.apps {
		w.saw[name], w.when[name] = map[state.Epoch]control.CheckpointInfo{}, map[state.Epoch]time.Time{}
		w.done.Go(func() { w.look(name) })
	}
	c.t.Cleanup(w.end)
	return w
}

func (w *witness) end() {
	w.mu.Lock()
	select {
	case <-w.quit:
	default:
		close(w.quit)
	}
	w.mu.Unlock()
	w.done.Wait()
}

func (w *witness) look(app string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		var list control.CheckpointList
		err := w.c.ctl.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: app}, &list)
		cancel()
		if err == nil {
			w.take(app, list.Checkpoints)
		}
	}
}

func (w *witness) take(app string, list []control.CheckpointInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range list {
		before, seen := w.saw[app][k.Epoch]
		if seen && before.State != "open" && k.State != "open" && before.State != k.State {
			w.c.t.Errorf("epoch %d of %s was %s, and is %s", k.Epoch, app, before.State, k.State)
		}
		if seen && before.State == "committed" && k.State == "committed" && before.Term != k.Term {
			w.c.t.Errorf("epoch %d of %s was committed in term %d, and in term %d", k.Epoch, app, before.Term, k.Term)
		}
		if k.State == "committed" && w.when[app][k.Epoch].IsZero() {
			w.when[app][k.Epoch] = time.Now()
		}
		if !seen || before.State == "open" {
			w.saw[app][k.Epoch] = k
		}
	}
}

// awaitCommits waits until each app has a checkpoint that was committed in a term after the given
// one. It returns when the first and the last of these commits were seen.
func (w *witness) awaitCommits(after checkpoint.Term) (first, last time.Time) {
	w.c.t.Helper()
	var times []time.Time
	eventually(w.c.t, fmt.Sprintf("a term after %d has committed a checkpoint of each app", after), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		times = nil
		for app, all := range w.saw {
			var seen time.Time
			for epoch, k := range all {
				at := w.when[app][epoch]
				if k.State == "committed" && k.Term > after && (seen.IsZero() || at.Before(seen)) {
					seen = at
				}
			}
			if seen.IsZero() {
				return false
			}
			times = append(times, seen)
		}
		return true
	})
	slices.SortFunc(times, time.Time.Compare)
	return times[0], times[len(times)-1]
}

// count returns how many epochs were seen in the given state.
func (w *witness) count(state string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, all := range w.saw {
		for _, k := range all {
			if string(k.State) == state {
				n++
			}
		}
	}
	return n
}

// spread is a list of durations, printed as its median and maximum.
type spread []time.Duration

func (s spread) String() string {
	if len(s) == 0 {
		return "none"
	}
	slices.SortFunc(s, cmp.Compare[time.Duration])
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("median %s, most %s of %d", ms(s[len(s)/2]), ms(s[len(s)-1]), len(s))
}

// awaitLog waits until the process has logged a text.
func (p *process) awaitLog(text string) {
	p.t.Helper()
	eventually(p.t, fmt.Sprintf("the log says %q", text), func() bool { return strings.Contains(p.log.String(), text) })
}
