package deploy

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const app = root + "/examples/flights.siddhi"

// flights writes the first n flights of the examples to a file.
func flights(t testing.TB, n int) string {
	t.Helper()
	data, err := os.ReadFile(root + "/examples/data/flights.ndjson")
	must(t, err)
	lines := bytes.SplitAfterN(data, []byte("\n"), n+1)
	file := filepath.Join(t.TempDir(), "flights.ndjson")
	must(t, os.WriteFile(file, bytes.Join(lines[:n], nil), 0o600))
	return file
}

// The processes of compose.yaml, with the users and certificates of deploy, give the results of a
// replay while each of them and each server is killed in turn. They log no secret.
func TestEveryContainerIsKilled(t *testing.T) {
	s := newStack(t, []string{"compose.yaml"})
	for _, name := range s.services() {
		s.start(name)
	}
	for _, name := range s.services() {
		s.running[name].awaitReady()
	}
	deployed, err := s.command("operator", "app", "deploy", app, "--timeout", patience.String())
	must(t, err)
	if !strings.Contains(deployed, "app Flights is deployed") {
		t.Fatal(deployed)
	}
	for _, name := range []string{"ingest-1", "ingest-2"} {
		p := s.running[name]
		eventually(t, name+" takes events of the app", func() bool { return strings.Contains(p.out.String(), "app Flights") })
	}
	events := flights(t, *events)
	published := make(chan error, 1)
	go func() {
		_, err := s.command("publisher", "publish", "Flights", events, "--ts", "time", "--in-flight", "1", "--timeout", patience.String())
		published <- err
	}()
	for _, name := range s.services() {
		s.running[name].kill()
		s.start(name).awaitReady()
	}
	for _, srv := range s.servers {
		srv.stop()
		srv.start()
		srv.awaitHealthy()
	}
	must(t, <-published)

	want := replayed(t, events)
	got := s.results(len(want))
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("result %d is\n%s\nwant\n%s", i, got[i], want[i])
		}
	}
	if out, err := s.command("operator", "checkpoint", "trigger", "Flights"); err != nil || !strings.Contains(out, "committed") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := s.command("operator", "checkpointer", "status"); err != nil || strings.Count(out, "voter") != 2 || strings.Count(out, "leader") != 2 {
		t.Errorf("%v: %s", err, out)
	}
	s.upgrade()
	for _, args := range [][]string{{"recover", "Flights", "--dry-run"}, {"checkpoint", "verify", "Flights", "--full"}, {"checkpoint", "chain", "Flights"}} {
		if _, err := s.command("operator", args...); err != nil {
			t.Error(err)
		}
	}
	s.replicas()
	s.noPurgeByProxy()
	// Start with the processes that need others in order to stop.
	for _, name := range slices.Backward(s.services()) {
		s.running[name].stop()
	}
	s.logs()
}

// upgrade adds a query to the app, first as a shadow, then in all processes, and makes a checkpoint
// after the change.
func (s *stack) upgrade() {
	s.t.Helper()
	text, err := os.ReadFile(app)
	must(s.t, err)
	changed := filepath.Join(s.t.TempDir(), "flights.siddhi")
	must(s.t, os.WriteFile(changed, append(text, "\nfrom Flights select count() as flights insert into Counts;\n"...), 0o600))
	if out, err := s.command("operator", "app", "shadow", changed, "--timeout", patience.String()); err != nil || !strings.Contains(out, "following, from checkpoint") {
		s.t.Fatalf("%v: %s", err, out)
	}
	if out, err := s.command("operator", "app", "upgrade", changed, "--shadowed", "--yes"); err != nil {
		s.t.Fatalf("%v: %s", err, out)
	}
	if out, err := s.command("operator", "checkpoint", "trigger", "Flights"); err != nil || !strings.Contains(out, "committed") {
		s.t.Errorf("after the upgrade: %v: %s", err, out)
	}
}

// replayed returns the results of a replay as subject and row.
func replayed(t testing.TB, events string) []string {
	t.Helper()
	out, err := exec.Command(binary, "replay", app, "--events", events, "--stream", "Flights", "--ts", "time").Output()
	must(t, err)
	var rows []string
	for line := range bytes.Lines(out) {
		var row struct {
			Stream string
			Data   []json.RawMessage
		}
		must(t, json.Unmarshal(line, &row))
		text := "out.Flights." + row.Stream + ".0"
		for _, value := range row.Data {
			text += " " + string(value)
		}
		rows = append(rows, text)
	}
	return rows
}

// results returns the results of the output stream, read as user reader, once there are n.
func (s *stack) results(n int) []string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	operator, err := s.servers[0].as(s.secrets, "operator")
	must(s.t, err)
	defer operator.Close()
	js, err := jetstream.New(operator)
	must(s.t, err)
	stream := s.stream(js, "EFO_Flights_0")
	_, err = stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: "reader", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "out.Flights.*.0", MaxAckPending: n + 100,
	})
	must(s.t, err)

	reader, err := s.servers[1].as(s.secrets, "reader")
	must(s.t, err)
	defer reader.Close()
	if js, err = jetstream.New(reader); err != nil {
		s.t.Fatal(err)
	}
	consumer, err := js.Consumer(ctx, "EFO_Flights_0", "reader")
	must(s.t, err)
	var rows []string
	for len(rows) < n {
		batch, err := consumer.Fetch(n-len(rows), jetstream.FetchMaxWait(time.Second))
		must(s.t, err)
		for m := range batch.Messages() {
			rows = append(rows, m.Subject()+values(s.t, m.Data()))
			must(s.t, m.Ack())
		}
		if ctx.Err() != nil {
			s.t.Fatalf("%d results, want %d", len(rows), n)
		}
	}
	if info, err := stream.Info(ctx); err != nil || len(rows) != n {
		s.t.Errorf("%d results, want %d (%v)", len(rows), n, err)
	} else if pending, err := consumer.Info(ctx); err != nil || pending.NumPending > 0 {
		s.t.Errorf("%+v of %d results are more than wanted (%v)", pending, info.State.Msgs, err)
	}
	return rows
}

// stream looks up a stream. It retries, since the servers may be electing a leader.
func (s *stack) stream(js jetstream.JetStream, name string) (stream jetstream.Stream) {
	s.t.Helper()
	eventually(s.t, "stream "+name+" answers", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		stream, err = js.Stream(ctx, name)
		return err == nil
	})
	return stream
}

// values returns the values of a JSON object in order.
func values(t testing.TB, object []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(object))
	_, err := d.Token()
	must(t, err)
	var text strings.Builder
	for d.More() {
		_, err := d.Token()
		must(t, err)
		var value json.RawMessage
		must(t, d.Decode(&value))
		text.WriteString(" " + string(value))
	}
	return text.String()
}

// replicas checks that everything has the number of replicas that compose.yaml sets.
func (s *stack) replicas() {
	s.t.Helper()
	nc, err := s.servers[0].as(s.secrets, "operator")
	must(s.t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(s.t, err)
	for _, name := range []string{"EFW_Flights_0", "EFO_Flights_0", "EFD_Flights", "KV_EF_CLUSTER"} {
		if n := s.stream(js, name).CachedInfo().Config.Replicas; n != 3 {
			s.t.Errorf("stream %s has %d copies", name, n)
		}
	}
}

// noPurgeByProxy checks that no user can make a service purge a log. JetStream treats any message
// on the subject of a request as the request, even an answer to a reply subject.
func (s *stack) noPurgeByProxy() {
	s.t.Helper()
	operator, err := s.servers[0].as(s.secrets, "operator")
	must(s.t, err)
	defer operator.Close()
	js, err := jetstream.New(operator)
	must(s.t, err)
	before := s.stream(js, "EFO_Flights_0").CachedInfo().State.FirstSeq
	for user, ask := range map[string]string{
		"ingest": "ef.checkpointer.app", "processor": "ef.checkpointer.trigger", "publisher": "events.Flights", "operator": "ef.checkpointer.checkpoint",
	} {
		nc, err := s.servers[0].as(s.secrets, user, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
		must(s.t, err)
		for range 5 { // so that every member gets one
			must(s.t, nc.PublishRequest(ask, "$JS.API.STREAM.PURGE.EFO_Flights_0", []byte("no JSON")))
		}
		must(s.t, nc.Flush())
		nc.Close()
	}
	// Members answer in order, so these answers show that the requests above are handled.
	for range 5 {
		_, err := s.command("operator", "checkpointer", "status")
		must(s.t, err)
	}
	if after := s.stream(js, "EFO_Flights_0").CachedInfo().State.FirstSeq; after != before {
		s.t.Errorf("results before %d are purged", after)
	}
}

// logs searches the logs of all processes for secrets, and for refused permissions.
func (s *stack) logs() {
	s.t.Helper()
	files, err := filepath.Glob(s.secrets + "/*/*")
	must(s.t, err)
	secrets := map[string]string{}
	for _, file := range files {
		if name := filepath.Base(file); name == "user.nk" || name == "store.password" {
			data, err := os.ReadFile(file)
			must(s.t, err)
			secrets[string(bytes.TrimSpace(data))] = file
		}
	}
	if len(secrets) == 0 {
		s.t.Error("there are no secrets")
	}
	for _, p := range s.all {
		text := p.out.String() + p.log.String()
		for secret, file := range secrets {
			if strings.Contains(text, secret) {
				s.t.Errorf("%s logs the secret in %s", p.name, file)
			}
		}
		for line := range strings.Lines(text) {
			if strings.Contains(strings.ToLower(line), "permissions violation") {
				s.t.Errorf("%s: %s", p.name, line)
				break
			}
		}
	}
}
