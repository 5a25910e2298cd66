package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	electionRounds = 6
	electionLimit  = 20 * time.Minute
	electionEvery  = 10 * time.Millisecond // between messages
	natsServers    = 3
	electionApp    = "@app:name('" + appName + "')\ndefine stream Rows (k long); from Rows select k insert into Heard;"

	// natsVar names a file with a server configuration. If it is set, this program runs as that
	// NATS server, so that it can be killed and nothing has to be installed.
	natsVar = "BENCH_NATS"
)

func serveNATS(file string) error {
	opts, err := natsserver.ProcessConfigFile(file)
	if err != nil {
		return err
	}
	s, err := natsserver.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	s.Start()
	s.WaitForShutdown()
	return nil
}

// runElection measures how long publishers and results wait when the NATS server that leads the log
// goes away.
func runElection(ctx context.Context, b *bench) ([]table, error) {
	ctx, cancel := context.WithTimeout(ctx, electionLimit)
	defer cancel()
	t := table{
		title: "When the NATS server that leads the log ends",
		about: fmt.Sprintf("Three NATS servers with sync and three replicas of each JetStream stream; servers, checkpointer, ingest\n"+
			"and a processor each in their own process. Messages are published every %s through each of the servers.\n"+
			"The server that leads the log is killed (`kill -9`) %d times, and stopped (SIGTERM) as often. The time\n"+
			"is between two acknowledgements, or between two accepted results. The limit is the time without a\n"+
			"JetStream leader of the log, polled continuously.", electionEvery, electionRounds),
		unit: "time",
	}
	e, err := b.openElection(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := e.measure(ctx)
	if err := errors.Join(err, e.close()); err != nil {
		return nil, err
	}
	t.rows = rows
	return []table{t}, nil
}

// election is a cluster of NATS servers with the services and clients on it.
type election struct {
	b        *bench
	dir      string
	urls     []string
	servers  []*exec.Cmd
	conns    []*nats.Conn // one per server
	services *processes

	mu     sync.Mutex
	pauses map[string]*pause // by kind of sighting
}

// pause is the longest time between two sightings.
type pause struct {
	last    time.Time
	longest time.Duration
}

func (e *election) saw(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, p := time.Now(), e.pauses[what]
	if p == nil {
		p = &pause{last: now}
		e.pauses[what] = p
	}
	p.longest = max(p.longest, now.Sub(p.last))
	p.last = now
}

// longest returns the longest pause since the previous call.
func (e *election) longest(what string) (d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d, e.pauses[what].longest = e.pauses[what].longest, 0
	return d
}

func (b *bench) openElection(ctx context.Context) (_ *election, err error) {
	e := &election{b: b, servers: make([]*exec.Cmd, natsServers), pauses: map[string]*pause{}}
	if e.dir, err = os.MkdirTemp(b.dir, "election-*"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	if err := e.configure(); err != nil {
		return nil, err
	}
	for i := range natsServers {
		if err := e.startServer(ctx, i); err != nil {
			return nil, err
		}
	}
	for _, url := range e.urls {
		nc, err := nats.Connect(url, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond),
			nats.ReconnectBufSize(-1), nats.IgnoreDiscoveredServers())
		if err != nil {
			return nil, err
		}
		e.conns = append(e.conns, nc)
	}
	binary, err := b.build(ctx, e.dir)
	if err != nil {
		return nil, err
	}
	if e.services, err = newProcesses(ctx, b, binary, e.dir, strings.Join(e.urls, ","), "--nats.replicas", fmt.Sprint(natsServers)); err != nil {
		return nil, err
	}
	if err := e.services.start(ctx, "p1", "processor"); err != nil {
		return nil, err
	}
	for ctl := (control.Client{Conn: e.conns[0]}); ; {
		if _, err := ctl.Deploy(ctx, control.DeployRequest{Text: electionApp}); err == nil || ctx.Err() != nil {
			return e, ctx.Err()
		}
	}
}

// configure writes the configurations of the servers.
func (e *election) configure() error {
	var routes, listen, cluster []string
	for range natsServers {
		for _, list := range []*[]string{&listen, &cluster} {
			address, err := freePort()
			if err != nil {
				return err
			}
			*list = append(*list, address)
		}
	}
	for i := range natsServers {
		routes = append(routes, "nats-route://"+cluster[i])
		e.urls = append(e.urls, "nats://"+listen[i])
	}
	for i := range natsServers {
		others := slices.Delete(slices.Clone(routes), i, i+1)
		text := fmt.Sprintf(`server_name: n%d
listen: %q
jetstream { store_dir: %q, sync_interval: always }
cluster { name: bench, listen: %q, no_advertise: true, routes: ["%s"] }
`, i, listen[i], filepath.Join(e.dir, fmt.Sprint("nats", i)), cluster[i], strings.Join(others, `", "`))
		if err := os.WriteFile(e.config(i), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (e *election) config(i int) string { return filepath.Join(e.dir, fmt.Sprintf("n%d.conf", i)) }

func (e *election) startServer(ctx context.Context, i int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), natsVar+"="+e.config(i))
	e.servers[i] = cmd
	return cmd.Start()
}

func (e *election) endServer(i int, s syscall.Signal) error {
	cmd := e.servers[i]
	e.servers[i] = nil
	err := cmd.Process.Signal(s)
	_ = cmd.Wait() // it was ordered to end
	return err
}

func (e *election) close() error {
	for _, nc := range e.conns {
		nc.Close()
	}
	var all []error
	if e.services != nil {
		all = append(all, e.services.close())
	}
	for i, cmd := range e.servers {
		if cmd != nil {
			all = append(all, e.endServer(i, syscall.SIGKILL))
		}
	}
	return errors.Join(append(all, os.RemoveAll(e.dir))...)
}

const (
	sawAck    = "acknowledgement"
	sawResult = "result"
	sawLeader = "leader"
)

func (e *election) measure(ctx context.Context) (rows []row, err error) {
	ctx, stop := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer stop()
	inbox := e.conns[0].NewInbox()
	for _, nc := range e.conns {
		if err := e.listen(nc, inbox); err != nil {
			return nil, err
		}
		work.Go(func() { e.feed(ctx, nc, inbox) })
	}
	for _, end := range []struct {
		what   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"stopped", syscall.SIGTERM}} {
		took := map[string][]float64{}
		for range electionRounds {
			if err := e.round(ctx, end.what, end.signal, took); err != nil {
				return nil, err
			}
		}
		beyond := func(kind string) string {
			var all []float64
			for i, d := range took[kind] {
				all = append(all, max(0, d-took[sawLeader][i]))
			}
			return medianOf(duration, all...).String() + " beyond the limit"
		}
		rows = append(rows,
			row{what: end.what + ": until an event is acknowledged again", value: medianOf(duration, took[sawAck]...), extra: beyond(sawAck)},
			row{what: end.what + ": until a result is taken again", value: medianOf(duration, took[sawResult]...), extra: beyond(sawResult)},
			row{what: "limit: " + end.what + ": until the log has a leader again", value: medianOf(duration, took[sawLeader]...)})
	}
	return rows, nil
}

// listen takes note of acknowledgements, results and answers of the log's leader.
func (e *election) listen(nc *nats.Conn, inbox string) error {
	if _, err := nc.Subscribe(inbox+".ack", func(m *nats.Msg) {
		if strings.HasPrefix(string(m.Data), `{"stream":"EFW_`) {
			e.saw(sawAck)
		}
	}); err != nil {
		return err
	}
	// A result that is sent again was not taken: only the next one says that it is.
	var newest string
	if _, err := nc.Subscribe(natsconn.OutSubject(appName, "Heard", 0), func(m *nats.Msg) {
		if at := m.Header.Get("Ef-Position"); at != newest {
			newest = at
			e.saw(sawResult)
		}
	}); err != nil {
		return err
	}
	_, err := nc.Subscribe(inbox+".info", func(m *nats.Msg) {
		if leaderIn(m.Data) != "" {
			e.saw(sawLeader)
		}
	})
	return err
}

// feed publishes and asks for the log, over one connection.
func (e *election) feed(ctx context.Context, nc *nats.Conn, inbox string) {
	tick := time.NewTicker(electionEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// Either fails while the server is away; then the others' do not.
		_ = nc.PublishRequest(rowsSubject, inbox+".ack", []byte(`{"k":1}`))
		_ = nc.PublishRequest(jetstream.DefaultAPIPrefix+"STREAM.INFO."+natsconn.WALStream(appName, 0), inbox+".info", nil)
	}
}

func leaderIn(info []byte) string {
	var i jetstream.StreamInfo
	if json.Unmarshal(info, &i) != nil || i.Cluster == nil {
		return ""
	}
	return i.Cluster.Leader
}

// round ends the server that leads the log, and starts it again once there are results.
func (e *election) round(ctx context.Context, what string, signal syscall.Signal, took map[string][]float64) error {
	leader, err := e.calm(ctx)
	if err != nil {
		return err
	}
	for _, kind := range []string{sawAck, sawResult, sawLeader} {
		e.longest(kind)
	}
	began := time.Now()
	if err := e.endServer(leader, signal); err != nil {
		return err
	}
	const begun = time.Second // by then there is a pause, if there is any
	for time.Since(began) < begun || !e.allComes() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, kind := range []string{sawAck, sawResult, sawLeader} {
		took[kind] = append(took[kind], e.longest(kind).Seconds())
	}
	last := func(kind string) string { return duration(took[kind][len(took[kind])-1]) }
	e.b.say("%s: %s without an acknowledgement, %s without a result, %s without a leader", what, last(sawAck), last(sawResult), last(sawLeader))
	return e.startServer(ctx, leader)
}

// calm waits until all copies of the log are there, everything comes again, and returns
// which server leads.
func (e *election) calm(ctx context.Context) (int, error) {
	for {
		for _, nc := range e.conns {
			limited, cancel := context.WithTimeout(ctx, time.Second)
			m, err := nc.RequestWithContext(limited, jetstream.DefaultAPIPrefix+"STREAM.INFO."+natsconn.WALStream(appName, 0), nil)
			cancel()
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			var i jetstream.StreamInfo
			if err != nil || json.Unmarshal(m.Data, &i) != nil || i.Cluster == nil || i.Cluster.Leader == "" {
				continue
			}
			current := 0
			for _, peer := range i.Cluster.Replicas {
				if peer.Current && !peer.Offline {
					current++
				}
			}
			if current == natsServers-1 && e.allComes() {
				return slices.IndexFunc([]string{"n0", "n1", "n2"}, func(name string) bool { return name == i.Cluster.Leader }), nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// allComes reports whether each kind of sighting was seen just now.
func (e *election) allComes() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, kind := range []string{sawAck, sawResult, sawLeader} {
		if p := e.pauses[kind]; p == nil || time.Since(p.last) > 100*time.Millisecond {
			return false
		}
	}
	return true
}
