package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// missing waits until the list of what an app still needs is as wanted, and returns it.
func (c *cluster) missing(app string, want func(string) bool) string {
	c.t.Helper()
	text := ""
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		a, err := c.ctl.App(ctx, control.AppRequest{App: app})
		if err != nil {
			c.t.Fatal(err)
		}
		if text = strings.Join(a.Missing, "; "); want(text) {
			return text
		}
	}
	c.t.Fatalf("app %s misses %q", app, text)
	return ""
}

func has(texts ...string) func(string) bool {
	return func(missing string) bool {
		for _, text := range texts {
			if !strings.Contains(missing, text) {
				return false
			}
		}
		return true
	}
}

func onlyTasks(missing string) bool {
	return !strings.Contains(missing, "ingest") && strings.Contains(missing, "without a task")
}

func nothing(missing string) bool { return missing == "" }

// accepted publishes an event, and returns an error if the answer does not accept it.
func (c *cluster) accepted(subject, payload string) error {
	m, err := c.nc.RequestWithContext(c.within(), subject, []byte(payload))
	if err != nil {
		return err
	}
	var ack struct {
		Seq   uint64
		Error json.RawMessage
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil || ack.Seq == 0 {
		return fmt.Errorf("answer %s: %w", m.Data, err)
	}
	return nil
}

// A deployed app reports what it still needs until it is served. Without a processor its events
// wait in the log, even those that arrive at an ingest that restarts on a log with events.
func TestDeployedAppSaysWhatItMisses(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("", "checkpointer")
	d, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp})
	if err != nil || len(d.Missing) == 0 {
		t.Fatalf("%+v, %v", d, err)
	}
	c.missing("spread", has("there is no ingest", "partitions 0, 1, 2, 3: without a task, because there is no processor"))
	first := c.start("first", "ingest")
	c.missing("spread", onlyTasks)
	c.publish(0, 40)
	c.end(first)
	c.missing("spread", has("there is no ingest"))
	c.start("second", "ingest")
	c.missing("spread", onlyTasks)
	c.publish(40, 80)
	processor := c.start("p", "processor")
	c.missing("spread", nothing)
	c.allResults("spread", 80)
	c.end(processor)
	c.missing("spread", has("partitions 0, 1, 2, 3: without a task, because there is no processor"))
}

// Once no ingest is missing, every ingest accepts the app's events, not only the first one that
// knew the app.
func TestServedByAllIngests(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("", "checkpointer")
	for range 3 {
		c.start("", "ingest")
	}
	for i := range 10 {
		app := fmt.Sprintf("@app:name('app%d') define stream S%[1]d (v int); from S%[1]d select v insert into Out;", i)
		if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: app}); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("app%d", i)
		c.missing(name, onlyTasks)
		for range 20 { // NATS chooses an ingest for each
			if err := c.accepted(fmt.Sprintf("events.S%d", i), `{"v":1}`); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}
