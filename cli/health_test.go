package cli

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/ops/obs"
)

func TestHealthCommand(t *testing.T) {
	unsetSettings(t)
	var health obs.Health
	s, err := obs.Listen("127.0.0.1:0", prometheus.NewRegistry(), &health, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	health.Add(obs.Check{Name: "tasks", Of: obs.Ready, Ask: func() error { return errors.New("one has halted") }})
	address := s.Address()
	for _, c := range []struct {
		command, stdout, stderr string
		code                    int
	}{
		{"health --url http://" + address, "", "", exitOK},
		{"health --metrics.listen " + address, "", "", exitOK},
		{"health --json --url http://" + address + "/metrics", `{"ok":true,"checks":[]}`, "", exitOK},
		{"health --ready --url http://" + address, "", "tasks: one has halted", exitFailed},
		{"health", "", "set metrics.listen", exitUsage},
		{"health --url nowhere", "", "is no URL", exitUsage},
	} {
		stdout, stderr, code := run(c.command, "")
		if code != c.code || strings.TrimSpace(stdout) != c.stdout || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: exit %d\n%s%s", c.command, code, stdout, stderr)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, stderr, code := run("health --url http://"+address, ""); code != exitFailed || !strings.Contains(stderr, "does not answer") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

func TestBaseURL(t *testing.T) {
	for listen, want := range map[string]string{
		":9464": "http://127.0.0.1:9464", "0.0.0.0:9464": "http://127.0.0.1:9464", "[::]:9464": "http://127.0.0.1:9464",
		"10.1.2.3:9": "http://10.1.2.3:9", "": "", "127.0.0.1:0": "",
	} {
		if got := baseURL(listen); got != want {
			t.Errorf("%q: %q, want %q", listen, got, want)
		}
	}
}
