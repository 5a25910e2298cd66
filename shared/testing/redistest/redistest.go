// Package redistest runs real Redis servers for tests: one, a Cluster, or one that
// Sentinels watch. They listen on free ports of the loopback, keep their files in a
// folder of the test, and end with it.
package redistest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// patience is how long anything may take on a busy machine.
const patience = 30 * time.Second

// Durable are the arguments of a server that has all it acknowledged after a crash.
var Durable = []string{"--appendonly", "yes", "--appendfsync", "always"}

// Server is a redis-server of a test.
type Server struct {
	Addr string // host:port
	Port string
	Dir  string

	t    testing.TB
	args []string
	cmd  *exec.Cmd
	done chan struct{} // closed once the process is gone
	said bytes.Buffer  // only read after done
	// replicas were started of it.
	replicas int
}

// Port stands in the settings of a server for its port.
const Port = "$PORT"

// Start starts a server with settings, as redis-server takes them. Without any it keeps
// nothing on disk.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	return start(t, nil, func(port string) []string {
		args := []string{"--port", port, "--save", "", "--appendonly", "no"}
		for _, s := range settings {
			args = append(args, strings.ReplaceAll(s, Port, port))
		}
		return args
	})
}

// start starts a server at a port that is free, with arguments for it.
func start(t testing.TB, first []string, args func(port string) []string) *Server {
	t.Helper()
	s := &Server{t: t, Dir: t.TempDir()}
	for range 5 { // another process may have taken the port just now
		s.Port = FreePort(t)
		s.Addr = net.JoinHostPort("127.0.0.1", s.Port)
		s.args = append(append([]string{}, first...), "--bind", "127.0.0.1", "--dir", s.Dir, "--daemonize", "no", "--repl-diskless-sync-delay", "0")
		s.args = append(s.args, args(s.Port)...)
		if s.run() == nil {
			t.Cleanup(s.Kill)
			return s
		}
	}
	t.Fatalf("redis-server does not start:\n%s", s.said.String())
	return nil
}

// FreePort returns a port that nothing listens on.
func FreePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// run starts the process and waits until it listens.
func (s *Server) run() error {
	s.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redis-server is not installed, and tests of the Redis store need it: `make test` installs it, or apt-get install redis-server")
	}
	s.said.Reset()
	s.cmd = exec.Command(binary, s.args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	s.cmd.SysProcAttr = endWithParent()
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // killed, mostly
		close(done)
	}(s.cmd, s.done)
	for deadline := time.Now().Add(patience); ; {
		if conn, err := net.Dial("tcp", s.Addr); err == nil {
			return conn.Close()
		}
		select {
		case <-s.done:
			return errors.New("it ended")
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.Kill()
			return errors.New("it does not listen")
		}
	}
}

// Kill ends the server as a crash does, and waits until it is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may be gone
	<-s.done
}

// Start starts a server again that was killed, on what is in its folder, and with more
// settings, if there are any.
func (s *Server) Start(settings ...string) {
	s.t.Helper()
	s.args = append(s.args, settings...)
	if err := s.run(); err != nil {
		s.t.Fatalf("start redis-server again: %v\n%s", err, s.said.String())
	}
	s.Until("it has loaded its data", func(ctx context.Context, c *goredis.Client) bool {
		err := c.Ping(ctx).Err()
		return err == nil || goredis.HasErrorPrefix(err, "NOAUTH") // it tells strangers nothing
	})
}

// URL is how a store finds the server. The parameters are NAME=VALUE.
func (s *Server) URL(parameters ...string) string {
	return "redis://" + s.Addr + "?" + strings.Join(parameters, "&")
}

// Client returns a client that ends with the test.
func (s *Server) Client() *goredis.Client { return s.ClientAs("", "") }

// ClientAs is Client for a user.
func (s *Server) ClientAs(user, password string) *goredis.Client {
	c := goredis.NewClient(&goredis.Options{
		Addr: s.Addr, Username: user, Password: password, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// Do sends one command, which must succeed.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := s.Client()
	defer c.Close()
	answer, err := c.Do(ctx, args...).Result()
	if err != nil {
		s.t.Fatalf("%v: %v", args, err)
	}
	return answer
}

// Until waits until something holds of the server.
func (s *Server) Until(what string, holds func(context.Context, *goredis.Client) bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := s.Client()
	defer c.Close()
	for !holds(ctx, c) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			s.t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

// Says waits until INFO of the server has a line that starts with a text.
func (s *Server) Says(line string) {
	s.t.Helper()
	s.Until(line, func(ctx context.Context, c *goredis.Client) bool {
		return strings.Contains(c.Info(ctx).Val(), "\r\n"+line)
	})
}

// Replica starts a server that follows another.
func (s *Server) Replica(settings ...string) *Server {
	s.t.Helper()
	r := Start(s.t, append([]string{"--replicaof", "127.0.0.1 " + s.Port}, settings...)...)
	s.awaitReplica(r)
	return r
}

func (s *Server) awaitReplica(r *Server) {
	s.t.Helper()
	r.Says("master_link_status:up")
	// The master counts it only once it has confirmed something, and is asked to.
	s.Until("all replicas confirm what they get", func(ctx context.Context, c *goredis.Client) bool {
		var got *goredis.Cmd
		_, err := c.Pipelined(ctx, func(p goredis.Pipeliner) error {
			p.Publish(ctx, "replicated", r.Port) // it goes to replicas as a write does
			got = p.Do(ctx, "WAIT", s.replicas+1, 100)
			return nil
		})
		return err == nil && got.Val() == int64(s.replicas+1)
	})
	s.replicas++
}

// Cluster starts a Cluster of masters that share the slots.
func Cluster(t testing.TB, nodes int, settings ...string) []*Server {
	t.Helper()
	all := make([]*Server, nodes)
	for i := range all {
		all[i] = clusterNode(t, settings...)
	}
	const slots = 16384
	for i, s := range all {
		s.Do("CLUSTER", "ADDSLOTSRANGE", slots*i/nodes, slots*(i+1)/nodes-1)
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i > 0 {
			s.meet(all[0])
		}
	}
	for _, s := range all {
		s.awaitNodes(nodes)
	}
	return all
}

// ClusterReplicas adds a replica to each master of a Cluster.
func ClusterReplicas(t testing.TB, masters []*Server) []*Server {
	t.Helper()
	all := make([]*Server, len(masters))
	for i, master := range masters {
		r := clusterNode(t)
		all[i] = r
		id := master.Do("CLUSTER", "MYID")
		r.meet(master)
		r.Until("the node knows its master", func(ctx context.Context, c *goredis.Client) bool {
			return c.Do(ctx, "CLUSTER", "REPLICATE", id).Err() == nil
		})
		master.awaitReplica(r)
	}
	for _, s := range append(all, masters...) {
		s.awaitNodes(2 * len(masters)) // one that does not know all has no vote
	}
	return all
}

func clusterNode(t testing.TB, settings ...string) *Server {
	t.Helper()
	return Start(t, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", FreePort(t)}, settings...)...)
}

func (s *Server) awaitNodes(n int) {
	s.t.Helper()
	s.Until("the Cluster is complete", func(ctx context.Context, c *goredis.Client) bool {
		info := c.ClusterInfo(ctx).Val()
		return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d\r", n))
	})
}

func (s *Server) meet(other *Server) {
	s.t.Helper()
	bus := "0"
	for i, a := range other.args {
		if a == "--cluster-port" {
			bus = other.args[i+1]
		}
	}
	s.Do("CLUSTER", "MEET", "127.0.0.1", other.Port, bus)
}

// Sentinels starts Sentinels that watch a master under a name, and waits until they
// know each other and its replicas.
func Sentinels(t testing.TB, name string, master *Server, n, replicas int) []*Server {
	t.Helper()
	all := make([]*Server, n)
	for i := range all {
		file := filepath.Join(t.TempDir(), "sentinel.conf") // it writes what it learns into it
		text := fmt.Sprintf("sentinel monitor %[1]s 127.0.0.1 %[2]s %[3]d\nsentinel down-after-milliseconds %[1]s 500\nsentinel failover-timeout %[1]s 3000\n",
			name, master.Port, n/2+1)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all[i] = start(t, []string{file, "--sentinel"}, func(port string) []string { return []string{"--port", port} })
		// They look at each other every few seconds, which is long for a test.
		all[i].Do("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 200, "PING-PERIOD", 100, "ELECTION-TIMEOUT", 1000, "SLAVE-RECONF-TIMEOUT", 1000)
	}
	for _, s := range all {
		s.Says(fmt.Sprintf("master0:name=%s,status=ok,address=%s,slaves=%d,sentinels=%d", name, master.Addr, replicas, n))
	}
	return all
}
