package deploy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/cli/certs"
	"github.com/eventflux/eventflux/test/program"
)

// keys makes the keys of a cluster and returns their folder.
func keys(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "secrets")
	must(t, certs.Make(certs.Config{Dir: dir, Servers: 3, Checkpointers: 3, Valid: time.Hour}))
	return dir
}

// natsServer is a NATS server with the files of deploy/nats.
type natsServer struct {
	t       testing.TB
	env     map[string]string // the environment of its container in compose.yaml
	config  string
	running *server.Server
}

// newServer prepares server number i (from 1), with the files in secrets/nats-<i>. Its data folder
// and its address are the test's.
func newServer(t testing.TB, secrets string, i int, routes string, cluster string) *natsServer {
	t.Helper()
	own := filepath.Join(secrets, fmt.Sprint("nats-", i))
	dir := t.TempDir()
	for _, name := range []string{"nats.conf", "auth.conf"} {
		data, err := os.ReadFile(filepath.Join(root, "deploy/nats", name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	must(t, os.Symlink(own, filepath.Join(dir, "secrets")))
	listen := program.Address(t)
	return &natsServer{t: t, config: filepath.Join(dir, "nats.conf"), env: map[string]string{
		"NATS_NAME": fmt.Sprint("nats-", i), "NATS_LISTEN": listen, "NATS_ADVERTISE": listen, "NATS_MONITOR": program.Address(t),
		"NATS_CLUSTER": cluster, "NATS_CLUSTER_ADVERTISE": cluster, "NATS_ROUTES": routes, "NATS_STORE": t.TempDir(),
		"NATS_CA": own + "/ca.crt", "NATS_CERT": own + "/tls.crt", "NATS_CERT_KEY": own + "/tls.key",
	}}
}

// start starts the server. The test stops it at its end.
func (s *natsServer) start() {
	s.t.Helper()
	for name, value := range s.env {
		must(s.t, os.Setenv(name, value))
		defer os.Unsetenv(name)
	}
	opts, err := server.ProcessConfigFile(s.config)
	must(s.t, err)
	opts.NoSigs, opts.NoLog = true, true
	s.running, err = server.NewServer(opts)
	must(s.t, err)
	s.running.Start()
	running := s.running
	s.t.Cleanup(func() { running.Shutdown(); running.WaitForShutdown() })
}

// stop kills the server.
func (s *natsServer) stop() {
	s.running.Shutdown()
	s.running.WaitForShutdown()
}

// awaitHealthy waits until the container's health check would pass.
func (s *natsServer) awaitHealthy() {
	s.t.Helper()
	eventually(s.t, "server "+s.env["NATS_NAME"]+" is healthy", func() bool {
		answer, err := http.Get("http://" + s.env["NATS_MONITOR"] + "/healthz")
		if err != nil {
			return false
		}
		return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
}

func (s *natsServer) listen() string { return s.env["NATS_LISTEN"] }

// alone starts one server of a cluster whose others never start. That is enough to test users and
// certificates.
func alone(t testing.TB, secrets string) *natsServer {
	t.Helper()
	s := newServer(t, secrets, 1, "[tls://127.0.0.1:1]", program.Address(t))
	s.start()
	if !s.running.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	return s
}

// cluster starts three servers and returns once JetStream has a leader.
func cluster(t testing.TB, secrets string) []*natsServer {
	t.Helper()
	at := []string{program.Address(t), program.Address(t), program.Address(t)}
	routes := "[tls://" + strings.Join(at, ", tls://") + "]"
	var all []*natsServer
	for i := range at {
		s := newServer(t, secrets, i+1, routes, at[i])
		s.start()
		all = append(all, s)
	}
	eventually(t, "JetStream has a leader that knows all three", func() bool {
		for _, s := range all {
			if s.running.JetStreamIsLeader() && len(s.running.JetStreamClusterPeers()) == 3 {
				return true
			}
		}
		return false
	})
	return all
}

// as connects as a user.
func (s *natsServer) as(secrets, user string, more ...nats.Option) (*nats.Conn, error) {
	folder := user
	if user == "checkpointer" {
		folder = "checkpointer-1"
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(secrets, folder, "user.nk"))
	must(s.t, err)
	opts := append([]nats.Option{key, nats.RootCAs(filepath.Join(secrets, folder, "ca.crt"))}, more...)
	if user != "publisher" && user != "subscriber" {
		opts = append(opts, nats.CustomInboxPrefix("EF_INBOX."+user))
	}
	return nats.Connect("tls://"+s.listen(), opts...)
}
