package obs_test

import (
	"encoding/json"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/ops/obs"
)

func TestTextIsForAPerson(t *testing.T) {
	var b strings.Builder
	log := obs.NewLogger(&b, slog.LevelInfo, false)
	log.Debug("not this")
	log.Info("task started", "app", "Flights")
	want := regexp.MustCompile(`^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S* level=INFO msg="task started" app=Flights\n$`)
	if !want.MatchString(b.String()) {
		t.Errorf("log is %q", b.String())
	}
}

func TestJSONIsOneObjectPerLine(t *testing.T) {
	var b strings.Builder
	log := obs.NewLogger(&b, slog.LevelWarn, true)
	log.Info("not this")
	log.Warn("task halted", "partition", 3)
	var line struct {
		Level, Msg string
		Partition  int
	}
	if err := json.Unmarshal([]byte(b.String()), &line); err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	if line.Level != "WARN" || line.Msg != "task halted" || line.Partition != 3 {
		t.Errorf("log is %q", b.String())
	}
}

// A library that logs how long something took under the name of the time ends nothing.
func TestTimeOfAnotherKind(t *testing.T) {
	var b strings.Builder
	obs.NewLogger(&b, slog.LevelInfo, false).Warn("failed to contact", "time", 250*time.Millisecond)
	if !strings.HasSuffix(b.String(), `msg="failed to contact" time=250ms`+"\n") {
		t.Errorf("log is %q", b.String())
	}
}
