package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// One command publishes to a server and reports what became of the events; another one prints the
// messages on a subject.
func TestPublishAndSubscribe(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	_, err = nc.Subscribe("events.S", func(m *nats.Msg) {
		if string(m.Data) == "wrong" {
			_ = m.Respond([]byte(`{"error":{"code":400,"err_code":20004,"description":"1 of 1 events refused"},"rejected_count":1,"rejected":[{"index":0,"reason":"not JSON"}]}`))
			return
		}
		_ = nc.Publish("out.A.S.0", m.Data)
		_ = m.Respond([]byte(`{"stream":"EFW_A_0","seq":1}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(file, []byte("{\"a\":1}\nwrong\n{\"a\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	results := make(chan string)
	go func() {
		out, _, _ := run("subscribe out.A.> --count 2 --server "+s.ClientURL(), "")
		results <- out
	}()
	// The subscriber listens once the server knows of the subject.
	for !s.GlobalAccount().SubscriptionInterest("out.A.S.0") {
		runtime.Gosched()
		if t.Context().Err() != nil {
			t.Fatal("the subscriber does not listen")
		}
	}
	stdout, stderr, code := run("publish S "+file+" --in-flight 1 --server "+s.ClientURL(), "")
	if code != exitFailed || !regexp.MustCompile(`^accepted 2, refused 1 events in \S+\n$`).MatchString(stdout) {
		t.Errorf("exit %d, %q", code, stdout)
	}
	if want := file + ":2: not JSON\neventflux: 1 event of " + file + " not accepted\n"; stderr != want {
		t.Errorf("error output is %q, want %q", stderr, want)
	}
	if got, want := <-results, "out.A.S.0\t{\"a\":1}\nout.A.S.0\t{\"a\":2}\n"; got != want {
		t.Errorf("subscriber printed %q, want %q", got, want)
	}
}
