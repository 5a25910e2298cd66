package doctor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/test/program"
)

// modes are the ways to run the services: with an embedded NATS server, or on an existing one.
var modes = map[string]func(*testing.T) *ward{
	"embedded": func(t *testing.T) *ward {
		w := open(t, nil)
		w.cfg.NATS.URL, w.cfg.NATS.Monitor, w.cfg.Listen = "", "", "127.0.0.1:0"
		return w
	},
	"external": func(t *testing.T) *ward { return open(t, nil) },
}

// finding waits until doctor has a finding whose meaning contains a text, or until it has none.
func (w *ward) finding(meaning string, there bool) (found doctor.Finding) {
	w.t.Helper()
	var all []doctor.Finding
	for ctx := w.within(); ctx.Err() == nil; {
		all = w.examine()
		has := false
		for _, f := range all {
			if f.Severity != doctor.OK && strings.Contains(f.Meaning, meaning) {
				has, found = true, f
			}
		}
		if has == there {
			return found
		}
	}
	w.t.Fatalf("doctor finds %q is not %t:\n%s", meaning, there, text(all))
	return found
}

// warning waits until the process reports the same warning on both paths, and returns it.
func (w *ward) warning(check string) string {
	w.t.Helper()
	told := map[string]string{}
	for ctx := w.within(); ctx.Err() == nil && len(told) < 2; <-time.After(5 * time.Millisecond) {
		for _, path := range []string{"/healthz", "/readyz"} {
			resp, err := http.Get("http://" + w.cfg.Metrics.Listen + path)
			if err != nil {
				w.t.Fatal(err)
			}
			var s obs.Status
			err = json.NewDecoder(resp.Body).Decode(&s)
			if resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK || !s.OK {
				w.t.Fatalf("%s: %s %+v %v", path, resp.Status, s, err)
			}
			for _, r := range s.Checks {
				if r.Name == check && r.Warning != "" {
					told[path] = r.Warning
				}
			}
		}
	}
	if len(told) < 2 {
		w.t.Fatalf("check %s warns of nothing: %q", check, told)
	}
	http.DefaultClient.CloseIdleConnections()
	return told["/readyz"]
}

// A task whose state exceeds its memory limit is found, with the fix for the mode that runs. The
// fix works: with a higher limit, its events are accepted again.
func TestStateOverItsLimit(t *testing.T) {
	for mode, open := range modes {
		t.Run(mode, func(t *testing.T) {
			w := open(t)
			w.cfg.Processor.StateBytesMax, w.cfg.Metrics.Listen = 300_000, program.Address(t)
			w.app = `@app:name('w') define stream S (k string, v int); from S#length(100000) select k, v insert into Out;`
			w.run()
			publish := func() error {
				_, err := w.js.Publish(w.within(), "events.S", fmt.Appendf(nil, `{"k":"%s","v":1}`, strings.Repeat("k", 10_000)))
				return err
			}
			for publish() == nil { // until an event is refused
			}
			w.mode(w.finding("processor.state_bytes_max", true), mode, "raise processor.state_bytes_max")
			for _, check := range []string{"tasks within their limits", "events are refused"} {
				if got := w.warning(check); !strings.Contains(got, "processor.state_bytes_max") {
					t.Errorf("%s: %s", check, got)
				}
			}
			w.stop()
			w.cfg.Processor.StateBytesMax = 1 << 30
			w.run()
			w.finding("processor.state_bytes_max", false)
			if err := publish(); err != nil {
				t.Errorf("with a higher limit: %v", err)
			}
		})
	}
}

// A task that halted because an event led to too many rows is found, with the limit. The fix in the
// reason works.
func TestRowsOverTheirLimit(t *testing.T) {
	for mode, open := range modes {
		t.Run(mode, func(t *testing.T) {
			w := open(t)
			w.cfg.Limits.EventRowsMax = 10
			w.app = `@app:name('w') define stream S (k string, v int);
				from S select k, v insert into A; from S select k, v insert into A;
				from A[v > 1] select k, v insert into B; from A[v > 1] select k, v insert into B;
				from B select k, v insert into Out; from B select k, v insert into Out;`
			w.run()
			w.publish(2) // these lead to few rows
			if o := w.checkpoint(); !o.Committed {
				t.Fatalf("%+v", o)
			}
			if _, err := w.js.Publish(w.within(), "events.S", []byte(`{"k":"a","v":2}`)); err != nil {
				t.Fatal(err)
			}
			halted := w.finding("limits.event_rows_max", true)
			w.mode(halted, mode, "do what the reason says")
			_, seq, _ := strings.Cut(halted.Meaning, "log sequence ")
			seq, _, _ = strings.Cut(seq, ":")
			if !strings.Contains(halted.Meaning, "eventflux recover w --skip SEQ") {
				t.Errorf("the reason does not say how to go on: %s", halted.Meaning)
			}
			w.recover(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w"}, Skip: []string{seq}})
			w.finding("limits.event_rows_max", false)
			w.publish(2)
			w.await("running")
		})
	}
}

// A log whose task lags more than ingest.lag_max is found and reported as a warning. It goes away
// by itself.
func TestLagOverItsLimit(t *testing.T) {
	for mode, open := range modes {
		t.Run(mode, func(t *testing.T) {
			w := open(t)
			w.cfg.Ingest.LagMax, w.cfg.Metrics.Listen = time.Nanosecond, program.Address(t)
			w.run()
			var found doctor.Finding
			for ctx := w.within(); found.Fix == ""; {
				for range 100 { // faster than the task applies them: some are refused
					if _, err := w.js.PublishAsync("events.S", []byte(`{"k":"a","v":1}`)); err != nil {
						t.Fatal(err)
					}
				}
				select {
				case <-w.js.PublishAsyncComplete():
				case <-ctx.Done():
					t.Fatal("no event was refused")
				}
				for _, f := range w.examine() {
					if strings.Contains(f.Meaning, "ingest.lag_max") {
						found = f
					}
				}
			}
			w.mode(found, mode, "publish again")
			w.finding("ingest.lag_max", false)
		})
	}
}

// mode checks that a fix is for the given mode.
func (w *ward) mode(f doctor.Finding, mode, want string) {
	w.t.Helper()
	if !strings.Contains(f.Fix, want) || strings.Contains(f.Fix, "eventflux run") != (mode == "embedded") {
		w.t.Errorf("%s: fix of %q: %s", mode, f.Meaning, f.Fix)
	}
}

// recover restores the app, and returns once that is done.
func (w *ward) recover(r recovery.RestoreRequest) {
	w.t.Helper()
	var job recovery.Job
	w.ask(recovery.VerbRestore, r, &job)
	for ctx := w.within(); ; {
		id := job.Job
		job = recovery.Job{}
		if w.ask(recovery.VerbJob, recovery.JobRequest{Job: id}, &job); job.State != "running" {
			break
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			w.t.Fatalf("still running: %+v", job)
		}
	}
	if job.State != "done" {
		w.t.Fatalf("%+v", job)
	}
}

func (w *ward) ask(verb string, request, answer any) {
	w.t.Helper()
	client := &control.Client{Conn: w.nc, Service: recovery.ServiceName}
	if err := client.Do(w.within(), verb, request, answer); err != nil {
		w.t.Fatal(err)
	}
}
