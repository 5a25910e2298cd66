package cli

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// If only NATS runs, doctor reports that in text and in JSON, and its exit code is 1.
func TestDoctorCommand(t *testing.T) {
	unsetSettings(t)
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	stdout, stderr, code := run("doctor --server "+srv.URL(), "")
	if code != exitFailed || !strings.Contains(stderr, "3 problems need attention") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	for _, line := range []string{
		"error    services     processor: none runs: no events are applied; those that are accepted wait in the logs\n                      fix: restart eventflux run, and look at its log for why this service ended\n",
		"3 errors, 2 warnings, 1 not known, ",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("not %q in\n%s", line, stdout)
		}
	}
	stdout, _, code = run("doctor --json --nats.url "+srv.URL(), "")
	var says struct{ Findings []doctor.Finding }
	if err := json.Unmarshal([]byte(stdout), &says); err != nil || code != exitFailed || len(says.Findings) < 10 {
		t.Errorf("exit %d, %v, %s", code, err, stdout)
	}
	if _, stderr, code := run("doctor --server 127.0.0.1:1", ""); code != exitFailed || !strings.Contains(stderr, "connect to") {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
