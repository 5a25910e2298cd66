package natsconn

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// The server's warning after each kill is no alarm, and is logged once for each stream. Its
// other warnings stay.
func TestOutdatedIndexIsNoAlarm(t *testing.T) {
	var out bytes.Buffer
	l := &serverLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))}
	l.Warnf("Filestore [%s] Stream state outdated, last block has additional entries, will rebuild", "EFW_a_0")
	l.Warnf("Filestore [%s] Recovering stream state from index errored: %v", "EFW_a_0", "prior state file")
	l.Warnf("Filestore [%s] Stream state too short (%d bytes)", "EFO_a_0", 3)
	l.Warnf("Filestore [%s] loadBlock error: %v", "EFW_a_0", "bad")
	l.Warnf("Waiting for routing to be established...")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 4 || strings.Count(out.String(), "level=WARN") != 2 || strings.Count(out.String(), "none is lost") != 2 {
		t.Errorf("logged:\n%s", out.String())
	}
}
