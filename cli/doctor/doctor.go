// Package doctor examines a running EventFlux and the NATS servers below it, and reports what
// is wrong, what that means and what to do. It changes nothing. It covers more than the
// services check when they start, since much goes wrong later.
//
// Read doctor.go, then examination.go (data that is requested once), then the checks in
// servers.go, cluster.go, apps.go, clocks.go and store.go.
package doctor

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// Severity says how serious a finding is.
type Severity string

// The severities. An Error is a broken promise, or one about to break: act now. A Warning will
// become one. Unknown means that the check could not be made.
const (
	OK      Severity = "ok"
	Unknown Severity = "unknown"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is one thing that was found.
type Finding struct {
	Severity Severity `json:"severity"`
	Check    string   `json:"check"`   // the name of the check
	Subject  string   `json:"subject"` // what it is about: a stream, an app, a service
	Meaning  string   `json:"meaning"` // what was found, and its consequence
	Fix      string   `json:"fix,omitempty"`
}

// Config says what to examine.
type Config struct {
	Conn     *nats.Conn
	Settings *config.Config // the services' settings
}

// Examine makes all checks and returns their findings in the order of the checks. An error
// means that NATS could not be asked.
func Examine(ctx context.Context, cfg Config) ([]Finding, error) {
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, err
	}
	p := &examination{Config: cfg, js: js, control: &control.Client{Conn: cfg.Conn}}
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	for _, check := range []struct {
		name string
		run  func(context.Context, *report)
	}{
		{"server", p.checkServer},
		{"sync", p.checkSync},
		{"subscribers", p.checkSubscribers},
		{"services", p.checkServices},
		{"versions", p.checkVersions},
		{"leader", p.checkLeader},
		{"tasks", p.checkTasks},
		{"texts", p.checkTexts},
		{"streams", p.checkStreams},
		{"replicas", p.checkReplicas},
		{"checkpoints", p.checkCheckpoints},
		{"logs", p.checkLogs},
		{"results", p.checkResults},
		{"ingest", p.checkIngest},
		{"clocks", p.checkClocks},
		{"store", p.checkStore},
	} {
		r := &report{check: check.name}
		check.run(ctx, r)
		if ctx.Err() != nil {
			return p.findings, ctx.Err()
		}
		p.findings = append(p.findings, r.findings...)
	}
	return p.findings, nil
}

// report collects the findings of one check.
type report struct {
	check    string
	findings []Finding
}

func (r *report) add(s Severity, subject, fix, meaning string, args ...any) {
	r.findings = append(r.findings, Finding{s, r.check, subject, fmt.Sprintf(meaning, args...), fix})
}

// fine reports that all is well, unless the check found a problem.
func (r *report) fine(subject, meaning string, args ...any) {
	if len(r.findings) == 0 {
		r.add(OK, subject, "", meaning, args...)
	}
}
