//go:build compose

package compose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	root     = "../.."
	port     = "14222"
	scraped  = "19090" // the port of Prometheus
	rate     = 80      // events per second: the file lasts longer than the kills
	app      = root + "/examples/flights.siddhi"
	patience = 5 * time.Minute
)

// stack is a compose project of a test, with its own volumes.
type stack struct {
	t       *testing.T
	dir     string // a folder of the test
	files   []string
	secrets string
	binary  string
}

// docker runs a docker command. If it fails, its output is in the test's error.
func (s *stack) docker(args ...string) string {
	s.t.Helper()
	out, err := s.try("docker", args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *stack) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "NATS_PORT="+port, "PROMETHEUS_PORT="+scraped)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

func (s *stack) compose(args ...string) string {
	s.t.Helper()
	all := []string{"compose", "-p", "eventflux-test"}
	for _, f := range s.files {
		all = append(all, "-f", f)
	}
	return s.docker(append(all, args...)...)
}

// up starts the named services, or all, and waits until they are healthy.
func (s *stack) up(services ...string) {
	s.t.Helper()
	s.compose(append([]string{"up", "-d", "--wait", "--wait-timeout", "300"}, services...)...)
}

// newStack starts the services of a compose file.
func newStack(t *testing.T, file string) *stack {
	t.Helper()
	s := &stack{t: t, dir: t.TempDir(), files: []string{file}}
	if _, err := s.try("docker", "info"); err != nil {
		t.Fatalf("there is no Docker engine: start one, or set DOCKER_HOST to one that runs. Without, go test ./test/deploy runs the same set-up as processes.\n%v", err)
	}
	if _, err := s.try("docker", "compose", "version"); err != nil {
		t.Fatalf("docker has no compose plugin: install docker-compose-plugin.\n%v", err)
	}
	s.binary = filepath.Join(s.dir, "eventflux")
	if _, err := s.try("go", "build", "-o", s.binary, "./cmd/eventflux"); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("BASE_IMAGES") == "local" {
		s.localImages()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.compose("logs", "--tail", "30"))
		}
		s.compose("--profile", "tools", "down", "-v", "--timeout", "120")
	})
	s.compose("build")
	s.up()
	return s
}

// localImages builds the base images of the Dockerfile from programs of this machine.
func (s *stack) localImages() {
	s.t.Helper()
	golang := filepath.Join(s.dir, "golang")
	s.copyTree(strings.TrimSpace(s.run("go", "env", "GOROOT")), filepath.Join(golang, "usr/local/go"))
	modules := filepath.Join(s.dir, "modules")
	here := strings.Fields(s.run("go", "env", "GOMODCACHE", "GOPROXY"))
	s.run("env", "GOMODCACHE="+modules, "GOPROXY=file://"+here[0]+"/cache/download,"+here[1], "GOFLAGS=-modcacherw", "go", "mod", "download")
	s.copyTree(filepath.Join(modules, "cache/download"), filepath.Join(golang, "modules"))
	s.must(os.MkdirAll(filepath.Join(golang, "tmp"), 0o777))
	s.image("eventflux-base-go", golang, `
ENV PATH=/usr/local/go/bin:/usr/bin:/bin GOPATH=/go GOPROXY=file:///modules GOSUMDB=off
`, "sh", "mkdir")
	nats := filepath.Join(s.dir, "nats")
	s.must(os.MkdirAll(filepath.Join(nats, "usr/local/bin"), 0o755))
	s.run("env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", filepath.Join(nats, "usr/local/bin/nats-server"), "github.com/nats-io/nats-server/v2")
	s.image("eventflux-base-nats", nats, "", "sh", "wget")
	s.image("eventflux-base-redis", filepath.Join(s.dir, "redis"), "", "sh", "grep", "redis-server", "redis-cli")
	s.image("eventflux-base-prometheus", filepath.Join(s.dir, "prometheus"), `
USER 65534:65534
WORKDIR /prometheus
ENTRYPOINT ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
`, "prometheus")

	var b strings.Builder
	b.WriteString("services:\n")
	for _, service := range strings.Fields(s.compose("--profile", "tools", "config", "--services")) {
		if service == "prometheus" {
			b.WriteString("  prometheus: {image: eventflux-base-prometheus, pull_policy: never}\n")
			continue
		}
		fmt.Fprintf(&b, "  %s: {build: {args: {GO_IMAGE: eventflux-base-go, NATS_IMAGE: eventflux-base-nats, REDIS_IMAGE: eventflux-base-redis}}}\n", service)
	}
	override := filepath.Join(s.dir, "local.yaml")
	s.must(os.WriteFile(override, []byte(b.String()), 0o600))
	s.files = append(s.files, override)
}

func (s *stack) copyTree(from, to string) {
	s.t.Helper()
	s.must(os.MkdirAll(filepath.Dir(to), 0o755))
	s.run("cp", "-rL", from, to)
}

// image builds an image from a folder and from programs with their shared libraries. rest is the
// remainder of its Dockerfile.
func (s *stack) image(name, dir, rest string, programs ...string) {
	s.t.Helper()
	for _, p := range programs {
		path, err := exec.LookPath(p)
		if err != nil {
			s.t.Fatalf("the image %s is made of %s: install it, or unset BASE_IMAGES where registries can be reached: %v", name, p, err)
		}
		files := []string{path}
		libraries, _ := exec.Command("ldd", path).Output() // fails for a static program
		for _, word := range strings.Fields(string(libraries)) {
			if strings.HasPrefix(word, "/") {
				files = append(files, word)
			}
		}
		for _, f := range files {
			data, err := os.ReadFile(f) // reads through links
			s.must(err)
			s.must(os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755))
			s.must(os.WriteFile(filepath.Join(dir, f), data, 0o755))
		}
		if p == "sh" { // the path that health checks use
			data, err := os.ReadFile(path)
			s.must(err)
			s.must(os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
			s.must(os.WriteFile(filepath.Join(dir, "bin/sh"), data, 0o755))
		}
	}
	s.must(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY . /\n"+rest), 0o600))
	s.docker("build", "-t", name, dir)
}

func (s *stack) run(name string, args ...string) string {
	s.t.Helper()
	out, err := s.try(name, args...)
	s.must(err)
	return out
}

func (s *stack) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// as connects as a user through the port on the host.
func (s *stack) as(user string) jetstream.JetStream {
	s.t.Helper()
	key, err := nats.NkeyOptionFromSeed(filepath.Join(s.secrets, user, "user.nk"))
	s.must(err)
	nc, err := nats.Connect("tls://127.0.0.1:"+port, key, nats.RootCAs(filepath.Join(s.secrets, user, "ca.crt")),
		nats.CustomInboxPrefix("EF_INBOX."+user), nats.IgnoreDiscoveredServers(), nats.MaxReconnects(-1))
	s.must(err)
	s.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	s.must(err)
	return js
}

func TestEveryContainerIsKilled(t *testing.T) {
	s := newStack(t, "deploy/compose.yaml")
	s.secrets = filepath.Join(s.dir, "secrets")
	s.compose("cp", "certs:/secrets", s.secrets)
	deployed := s.operator("app", "deploy", "/apps/flights.siddhi", "--timeout", "60s")
	if !strings.Contains(deployed, "app Flights is deployed") {
		t.Fatal(deployed)
	}
	file := "examples/data/flights.ndjson"
	published := make(chan error, 1)
	go func() {
		_, err := s.try(s.binary, "publish", "Flights", file, "--ts", "time", "--in-flight", "1", "--rate", fmt.Sprint(rate), "--timeout", "120s", "--wait", "10s",
			"--server", "tls://127.0.0.1:"+port, "--nats.ca", s.secrets+"/publisher/ca.crt", "--nats.nkey", s.secrets+"/publisher/user.nk")
		published <- err
	}()
	for _, service := range strings.Fields(s.compose("ps", "--services")) {
		if service == "certs" {
			continue
		}
		t.Logf("kill %s", service)
		s.compose("kill", service)
		s.up(service)
	}
	select {
	case err := <-published:
		t.Fatalf("all was published before every container was killed: %v", err)
	default:
	}
	s.must(<-published)

	want := s.replayed(file)
	got := s.results(len(want))
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("result %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
	t.Logf("%d results, as a replay has them", len(got))
	t.Logf("%d checkpoints are sound", s.verified())
	s.observed()
}

// TestSingle runs the stack for a laptop, which must give its results, and go on after a kill.
func TestSingle(t *testing.T) {
	s := newStack(t, "deploy/compose.single.yaml")
	server := "nats://127.0.0.1:" + port
	for range 2 {
		s.run(s.binary, "publish", "Flights", "examples/data/flights.ndjson", "--ts", "time", "--id-prefix", "f", "--wait", "60s", "--server", server)
		s.compose("kill", "eventflux")
		s.up()
	}
	want := len(s.replayed("examples/data/flights.ndjson"))
	nc, err := nats.Connect(server)
	s.must(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	s.must(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for got := 0; got != want; <-time.After(100 * time.Millisecond) {
		stream, err := js.Stream(ctx, "EFO_Flights_0")
		s.must(err)
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter("out.Flights.*.0"))
		s.must(err)
		got = 0
		for _, n := range info.State.Subjects {
			got += int(n)
		}
		if got > want {
			t.Fatalf("%d results, a replay has %d", got, want)
		}
	}
	t.Logf("%d results, as a replay has", want)
}

// operator runs a command in a container of the operator.
func (s *stack) operator(args ...string) string {
	s.t.Helper()
	return s.compose(append([]string{"run", "--rm", "operator"}, args...)...)
}

// verified verifies the retained checkpoints, and returns their number.
func (s *stack) verified() int {
	s.t.Helper()
	s.operator("checkpoint", "trigger", "Flights")
	var list struct {
		Checkpoints []struct {
			Epoch uint64
			State string
		}
	}
	s.must(json.Unmarshal([]byte(s.operator("checkpoint", "ls", "Flights", "--json")), &list))
	n := 0
	for _, c := range list.Checkpoints {
		if c.State == "committed" {
			s.operator("checkpoint", "verify", "Flights", fmt.Sprint(c.Epoch))
			n++
		}
	}
	if n == 0 {
		s.t.Error("no checkpoint is committed")
	}
	return n
}

// observed waits until Prometheus has scraped every process of the stack.
func (s *stack) observed() {
	s.t.Helper()
	want := 0
	for _, name := range strings.Fields(s.compose("ps", "--services")) {
		switch strings.TrimRight(name, "-123") {
		case "checkpointer", "ingest", "processor", "merger", "recovery":
			want++
		}
	}
	var body []byte
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-time.After(time.Second) {
		answer, err := http.Get("http://127.0.0.1:" + scraped + "/api/v1/query?query=sum(up)")
		if err != nil {
			continue
		}
		body, err = io.ReadAll(answer.Body)
		s.must(errors.Join(err, answer.Body.Close()))
		if bytes.Contains(body, fmt.Appendf(nil, `"%d"]`, want)) {
			return
		}
	}
	s.t.Errorf("Prometheus does not reach %d processes: %s", want, body)
}

// replayed returns the results of a replay as subject and values.
func (s *stack) replayed(file string) []string {
	s.t.Helper()
	out, err := s.try(s.binary, "replay", "examples/flights.siddhi", "--events", file, "--stream", "Flights", "--ts", "time")
	s.must(err)
	var rows []string
	for line := range strings.Lines(out) {
		var row struct {
			Stream string
			Data   []json.RawMessage
		}
		s.must(json.Unmarshal([]byte(line), &row))
		text := "out.Flights." + row.Stream + ".0"
		for _, value := range row.Data {
			text += " " + string(value)
		}
		rows = append(rows, text)
	}
	return rows
}

// results returns the results of the output stream, once there are n.
func (s *stack) results(n int) []string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := s.as("operator").CreateConsumer(ctx, "EFO_Flights_0", jetstream.ConsumerConfig{
		Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "out.Flights.*.0", MaxAckPending: n + 100,
	})
	s.must(err)
	consumer, err := s.as("reader").Consumer(ctx, "EFO_Flights_0", "reader")
	s.must(err)
	var rows []string
	for len(rows) < n {
		batch, err := consumer.Fetch(n-len(rows), jetstream.FetchMaxWait(time.Second))
		s.must(err)
		for m := range batch.Messages() {
			d := json.NewDecoder(bytes.NewReader(m.Data()))
			_, err := d.Token()
			s.must(err)
			text := m.Subject()
			for d.More() {
				_, err := d.Token()
				s.must(err)
				var value json.RawMessage
				s.must(d.Decode(&value))
				text += " " + string(value)
			}
			rows = append(rows, text)
			s.must(m.Ack())
		}
		s.must(ctx.Err())
	}
	if info, err := consumer.Info(ctx); err != nil || info.NumPending > 0 {
		s.t.Errorf("there are more results: %+v, %v", info, err)
	}
	return rows
}
