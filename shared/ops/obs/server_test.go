package obs_test

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/ops/obs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServer(t *testing.T) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "x_bytes", Help: "X."}, func() float64 { return 7 }))
	var health obs.Health
	s, err := obs.Listen("127.0.0.1:0", metrics, &health, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get := func(path string) (int, string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + s.Address() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "x_bytes 7") {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := get("/other"); code != 404 {
		t.Errorf("another path: %d", code)
	}
	var wrong error
	health.Add(obs.Check{Name: "loop", Ask: func() error { return nil }})
	remove := health.Add(obs.Check{Name: "connected", Of: obs.Ready, Ask: func() error { return wrong }})
	defer health.Add(obs.Check{Name: "slow", Of: obs.Warning, Ask: func() error { return wrong }})()
	for _, c := range []struct {
		wrong error
		path  string
		code  int
		names string
	}{
		{nil, "/healthz", 200, "loop slow"},
		{nil, "/readyz", 200, "connected loop slow"},
		{errors.New("away"), "/healthz", 200, "loop slow?away"},
		{errors.New("away"), "/readyz", 503, "connected:away loop slow?away"},
	} {
		wrong = c.wrong
		code, body := get(c.path)
		var status obs.Status
		if err := json.Unmarshal([]byte(body), &status); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, r := range status.Checks {
			name := r.Name
			if !r.OK {
				name += ":" + r.Error
			}
			if r.Warning != "" {
				name += "?" + r.Warning
			}
			names = append(names, name)
		}
		if got := strings.Join(names, " "); code != c.code || status.OK != (code == 200) || got != c.names {
			t.Errorf("%s: %d %s", c.path, code, body)
		}
	}
	remove()
	if code, _ := get("/readyz"); code != 200 {
		t.Errorf("what was removed is still asked: %d", code)
	}
}

func TestListenSaysWhatToDo(t *testing.T) {
	s, err := obs.Listen("127.0.0.1:0", prometheus.NewRegistry(), &obs.Health{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = obs.Listen(s.Address(), prometheus.NewRegistry(), &obs.Health{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Error(err)
	}
}

// Profiles are on a server of their own: who may see metrics need not see memory.
func TestProfiles(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	profiles, err := obs.ListenProfiles("127.0.0.1:0", quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer profiles.Close()
	metrics, err := obs.Listen("127.0.0.1:0", prometheus.NewRegistry(), &obs.Health{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer metrics.Close()
	for at, want := range map[string]int{
		profiles.Address() + "/debug/pprof/heap?debug=1":      http.StatusOK,
		profiles.Address() + "/debug/pprof/goroutine?debug=1": http.StatusOK,
		profiles.Address() + "/metrics":                       http.StatusNotFound,
		metrics.Address() + "/debug/pprof/heap":               http.StatusNotFound,
	} {
		resp, err := http.Get("http://" + at)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", at, resp.StatusCode, want)
		}
	}
}

func TestBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b obs.Heartbeat
		if err := b.Check(time.Second); err != nil || b.Within(time.Second) {
			t.Error("a loop that has not started:", err)
		}
		b.Now()
		<-time.After(time.Second)
		if err := b.Check(time.Second); err != nil || !b.Within(time.Second) {
			t.Error(err)
		}
		<-time.After(time.Second)
		if err := b.Check(time.Second); err == nil || b.Within(time.Second) {
			t.Error("a loop that stands still is not noticed")
		}
		b.Stop()
		if err := b.Check(time.Second); err != nil {
			t.Error("a loop that has ended:", err)
		}
	})
}

// Spans go to where the standard variables say, and nowhere without them.
func TestExporter(t *testing.T) {
	paths := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
	defer server.Close()
	log := slog.New(slog.DiscardHandler)
	off, err := obs.OpenExporter(t.Context(), "1.0.0", log)
	if err != nil {
		t.Fatal(err)
	}
	if _, span := off.Tracer().Start(t.Context(), "x"); span.IsRecording() {
		t.Error("spans are recorded that go nowhere")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
	if _, err := obs.OpenExporter(t.Context(), "1.0.0", log); err == nil {
		t.Error("a protocol that is not spoken")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "")
	on, err := obs.OpenExporter(t.Context(), "1.0.0", log)
	if err != nil {
		t.Fatal(err)
	}
	on.Tracer().Steps(t.Context(), "restore").End(nil)
	if err := on.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-paths; got != "/v1/traces" {
		t.Errorf("sent to %s", got)
	}
}
