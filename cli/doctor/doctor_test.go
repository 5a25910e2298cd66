package doctor_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A healthy system has no findings.
func TestNothingIsWrong(t *testing.T) {
	w := open(t, nil).run()
	w.publish(10)
	if o := w.checkpoint(); !o.Committed {
		t.Fatalf("%+v", o)
	}
	found := w.examine()
	checks := map[string]bool{}
	for _, f := range found {
		checks[f.Check] = true
		// The disk that the test runs on may be full.
		if f.Severity != doctor.OK && f.Check != "store" {
			t.Errorf("%+v", f)
		}
	}
	for _, name := range []string{
		"server", "sync", "subscribers", "services", "versions", "leader", "tasks", "texts", "streams",
		"replicas", "checkpoints", "logs", "results", "ingest", "clocks", "store",
	} {
		if !checks[name] {
			t.Errorf("%s says nothing", name)
		}
	}
}

// fault is something wrong, and the finding that says so.
type fault struct {
	options  func(*server.Options)
	settings func(*config.Config)
	idle     bool // no services run
	fault    func(*ward)
	check    string
	severity doctor.Severity
	meaning  string
}

// testFaults checks that each fault is found by its check, with a fix.
func testFaults(t *testing.T, faults map[string]fault) {
	t.Parallel()
	for name, c := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, c.options)
			if c.settings != nil {
				c.settings(w.cfg)
			}
			if !c.idle {
				w.run()
			}
			if c.fault != nil {
				c.fault(w)
			}
			found := w.examine()
			for _, f := range found {
				if f.Check == c.check && f.Severity == c.severity && strings.Contains(f.Meaning, c.meaning) {
					if f.Fix == "" {
						t.Errorf("no fix: %+v", f)
					}
					return
				}
			}
			t.Errorf("not found: %s %s %q; but\n%s", c.severity, c.check, c.meaning, text(found))
		})
	}
}
