package node

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"eventflux/shared/obs"
)

var rewriteMetrics = flag.Bool("rewrite-metrics", false, "write the table of metrics in docs/metrics.md")

const (
	metricsPage   = "../../../docs/metrics.md"
	dashboardFile = "../../../deploy/grafana/eventflux.json"
	alertsFile    = "../../../deploy/prometheus/alerts.yml"
)

// measuredNode is a node of which every metric has a value.
func measuredNode(t *testing.T) *chain {
	c := newChain(t, fmt.Sprintf(firstApp, ""), secondApp)
	c.cfg.Metrics.Listen = "127.0.0.1:0"
	c.start()
	c.publishAll(0, 20)
	c.rows("second", 11) // 20 rows that came and 15 that left make 11 batches of 3
	c.trigger("first")
	return c
}

// families returns the node's own metrics, by name.
func (c *chain) families() map[string]*dto.MetricFamily {
	c.t.Helper()
	all, err := c.node.seen.metrics.Gather()
	if err != nil {
		c.t.Fatal(err)
	}
	own := map[string]*dto.MetricFamily{}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "eventflux_") {
			own[f.GetName()] = f
		}
	}
	return own
}

// value returns a metric; all labels that are given must be as they are given.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) (float64, bool) {
	for _, m := range families[name].GetMetric() {
		have := map[string]string{}
		for _, l := range m.GetLabel() {
			have[l.GetName()] = l.GetValue()
		}
		same := true
		for i := 0; i < len(labels); i += 2 {
			same = same && have[labels[i]] == labels[i+1]
		}
		if same {
			return m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount()), true
		}
	}
	return 0, false
}

// The page names every metric there is and no other.
func TestMetricsAreDocumented(t *testing.T) {
	c := measuredNode(t)
	defer c.end()
	families := c.families()
	names := make([]string, 0, len(families))
	for name := range families {
		names = append(names, name)
	}
	slices.Sort(names)
	problems, err := testutil.GatherAndLint(c.node.seen.metrics, names...)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		f := families[name]
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- metrics -->\n", "<!-- end of metrics -->"
	before, rest, ok := strings.Cut(string(page), begin)
	table, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the table", metricsPage)
	}
	if table == b.String() {
		return
	}
	if !*rewriteMetrics {
		t.Fatalf("%s has\n%s\nand it is\n%s\n(-rewrite-metrics corrects it)", metricsPage, table, b.String())
	}
	if err := os.WriteFile(metricsPage, []byte(before+begin+b.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What the dashboard shows, and what the alerts look at, exists.
func TestDashboardsNameMetrics(t *testing.T) {
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`eventflux_[a-z0-9_]+`)
	known := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(eventflux_[a-z0-9_]+)` \\| ([a-z]+) ").FindAllStringSubmatch(string(page), -1) {
		known[row[1]] = row[2]
		if row[2] == "histogram" {
			known[row[1]+"_bucket"], known[row[1]+"_count"], known[row[1]+"_sum"] = row[2], row[2], row[2]
		}
	}
	for _, file := range []string{dashboardFile, alertsFile} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := name.FindAllString(string(data), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, m := range found {
			if known[m] == "" {
				t.Errorf("%s: no metric is called %s", file, m)
			}
		}
		if strings.HasSuffix(file, ".json") && !json.Valid(data) {
			t.Errorf("%s is no JSON", file)
		}
	}
}

// Metrics tell what happened.
func TestMetricsTell(t *testing.T) {
	c := measuredNode(t)
	if _, err := c.js.Publish(c.within(), "events.S", []byte(`{"k":7}`)); err == nil {
		t.Error("a number was taken for a string")
	}
	var families map[string]*dto.MetricFamily
	for ctx := c.within(); ctx.Err() == nil; <-time.After(5 * time.Millisecond) {
		families = c.families()
		if lag, _ := value(families, "eventflux_task_lag_frames", "app", "first"); lag == 0 {
			break
		}
	}
	for _, want := range []struct {
		value  float64
		name   string
		labels []string
	}{
		{20, "eventflux_ingest_accepted_events_total", []string{"app", "first"}},
		{1, "eventflux_ingest_refusals_total", []string{"reason", "bad_event"}},
		{20, "eventflux_task_events_total", []string{"app", "first"}},
		{1, "eventflux_task_state", []string{"app", "first", "state", "running"}},
		{0, "eventflux_task_state", []string{"app", "first", "state", "halted"}},
		{1, "eventflux_checkpoint_completed_total", []string{"app", "first"}},
		{1, "eventflux_checkpoint_last_epoch", []string{"app", "first"}},
		{0, "eventflux_checkpoint_aborted_total", []string{"app", "first"}},
		{1, "eventflux_raft_leader", nil},
		{1, "eventflux_app_running_partitions", []string{"app", "second"}},
	} {
		if got, ok := value(families, want.name, want.labels...); !ok || got != want.value {
			t.Errorf("%s%q is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	if got, _ := value(families, "eventflux_store_operation_seconds", "operation", "put", "outcome", "ok"); got == 0 {
		t.Error("nothing was put into the store")
	}
	for _, positive := range []string{
		"eventflux_checkpoint_last_duration_seconds", "eventflux_checkpoint_last_full_bytes", "eventflux_checkpoint_last_incremental_bytes",
		"eventflux_log_append_seconds", "eventflux_results_append_seconds",
		"eventflux_task_state_bytes", "eventflux_task_save_seconds", "eventflux_task_restore_seconds", "eventflux_nats_connected",
	} {
		if got, ok := value(families, positive); !ok || got <= 0 {
			t.Errorf("%s is %v", positive, got)
		}
	}
	c.kill()
	c.start()
	c.task("running")
	families = c.families()
	if got, _ := value(families, "eventflux_task_restored_epoch", "app", "first"); got != 1 {
		t.Errorf("restored epoch %v", got)
	}
	c.end()
}

// get asks the node's HTTP server.
func (c *chain) get(path string) (int, obs.Status) {
	c.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + c.node.seen.server.Address() + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s obs.Status
	if path != "/metrics" {
		if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
			c.t.Fatal(err)
		}
	}
	return resp.StatusCode, s
}

// A node is healthy while it works, and ready while its tasks do.
func TestHealth(t *testing.T) {
	c := newChain(t, windowApp)
	c.cfg.Metrics.Listen = "127.0.0.1:0"
	c.start()
	c.publishAll(0, 10)
	c.trigger("w")
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		if code, s := c.get(path); code != http.StatusOK {
			t.Errorf("%s: %d %+v", path, code, s)
		}
	}
	c.kill()
	if err := os.RemoveAll(c.cfg.Data + "/nats"); err != nil {
		t.Fatal(err)
	}
	c.start()
	if got := c.task("halted"); got.LineageMismatches != 1 {
		t.Errorf("%d lineage mismatches", got.LineageMismatches)
	}
	if code, s := c.get("/healthz"); code != http.StatusOK {
		t.Errorf("healthy: %d %+v", code, s)
	}
	code, s := c.get("/readyz")
	halted := slices.ContainsFunc(s.Checks, func(r obs.Result) bool {
		return r.Name == "tasks" && !r.OK && strings.Contains(r.Error, "app w, partition 0 has halted: ")
	})
	if code != http.StatusServiceUnavailable || s.OK || !halted {
		t.Errorf("ready: %d %+v", code, s)
	}
	c.end()
}
