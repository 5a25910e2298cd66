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

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

var rewriteMetrics = flag.Bool("rewrite-metrics", false, "write the table of metrics in docs/metrics.md")

const (
	metricsPage   = "../../docs/metrics.md"
	dashboardFile = "../../deploy/grafana/eventflux.json"
	alertsFile    = "../../deploy/prometheus/alerts.yml"

	operationsPage = "../../docs/operations.md"
)

// measuredNode returns a node whose metrics all have a value.
func measuredNode(t *testing.T) *chain {
	c := newChain(t, fmt.Sprintf(firstApp, ""), secondApp)
	c.cfg.Metrics.Listen = "127.0.0.1:0"
	c.start()
	c.publishAll(0, 20)
	c.rows("second", 11) // 20 rows entered and 15 left: 11 batches of 3
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

// withBucket deploys an app with a table of a KV bucket, starts a shadow of the first app, and
// returns the metrics once the table has its row and the shadow runs.
func (c *chain) withBucket() map[string]*dto.MetricFamily {
	c.t.Helper()
	const app = `@app:name('third') define stream Orders (customer string);
@PrimaryKey('id') @source(kv='CUSTOMERS') define table Customers (id string, tier string);
@sink(stream='Out', kv='TIERS', key='{tier}')
from Orders as o join Customers as c on c.id == o.customer select c.tier insert into Out;`
	bucket, err := c.js.CreateKeyValue(c.within(), jetstream.KeyValueConfig{Bucket: "CUSTOMERS"})
	if err == nil {
		_, err = bucket.Put(c.within(), "ann", []byte(`{"tier":"gold"}`))
	}
	if err == nil {
		_, err = c.node.control.Deploy(c.within(), control.DeployRequest{Text: app})
	}
	if err == nil {
		_, err = c.node.control.StartShadow(c.within(), control.ShadowRequest{Text: fmt.Sprintf(firstApp, "")})
	}
	if err != nil {
		c.t.Fatal(err)
	}
	for ctx := c.within(); ; <-time.After(5 * time.Millisecond) {
		families := c.families()
		if rows, ok := value(families, "eventflux_table_rows", "table", "Customers"); ok && rows == 1 {
			following, _ := value(families, "eventflux_view_following", "bucket", "TIERS")
			_, shadowed := value(families, "eventflux_shadow_behind_frames", "app", "first")
			if following == 1 && shadowed {
				return families
			}
		}
		if ctx.Err() != nil {
			c.t.Fatal("the table does not get the row of its bucket, the view does not follow, or the shadow does not run")
		}
	}
}

// value returns a metric whose labels include the given ones.
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

// The page lists exactly the existing metrics.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	c := measuredNode(t)
	defer c.end()
	families := c.withBucket()
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

// documented reads the table of the page: the labels of each metric, and of the series of a
// histogram.
func documented(t *testing.T) map[string][]string {
	t.Helper()
	page, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{}
	rows := regexp.MustCompile("(?m)^\\| `(eventflux_[a-z0-9_]+)` \\| ([a-z]+) \\| ([a-z, ]*) \\|")
	for _, row := range rows.FindAllStringSubmatch(string(page), -1) {
		labels := append(strings.Split(row[3], ", "), "instance", "job") // as Prometheus adds them
		known[row[1]] = labels
		if row[2] == "histogram" {
			known[row[1]+"_bucket"], known[row[1]+"_count"], known[row[1]+"_sum"] = append(slices.Clone(labels), "le"), labels, labels
		}
	}
	return known
}

var (
	metricName = regexp.MustCompile(`eventflux_[a-z0-9_]+`)
	matchers   = regexp.MustCompile(`(eventflux_[a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z_]+) ?(=~|!~|!=|=)`)
	groupings  = regexp.MustCompile(`(?:by|without|on|ignoring) ?\(([^)]*)\)`)
	legends    = regexp.MustCompile(`\{\{ ?([a-z_]+) ?\}\}`)
)

// The dashboard, the alerts and the pages use only existing metrics and labels.
func TestDashboardsNameMetrics(t *testing.T) {
	t.Parallel()
	known := documented(t)
	for _, file := range []string{dashboardFile, alertsFile, operationsPage} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := metricName.FindAllString(string(data), -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric", file)
		}
		for _, m := range found {
			if known[m] == nil && !strings.HasSuffix(m, "_") { // a family name, such as eventflux_task_…
				t.Errorf("%s: no metric is called %s", file, m)
			}
		}
	}
	for _, x := range expressions(t) {
		var labels []string
		for _, m := range metricName.FindAllString(x.expr, -1) {
			labels = append(labels, known[m]...)
		}
		for _, m := range matchers.FindAllStringSubmatch(x.expr, -1) {
			for _, label := range matcher.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(known[m[1]], label[1]) {
					t.Errorf("%s: %s has no label %s", x.expr, m[1], label[1])
				}
			}
		}
		for _, by := range groupings.FindAllStringSubmatch(x.expr, -1) {
			for label := range strings.SplitSeq(by[1], ",") {
				if label = strings.TrimSpace(label); !slices.Contains(labels, label) {
					t.Errorf("%s: none of its metrics has a label %s", x.expr, label)
				}
			}
		}
		for _, label := range legends.FindAllStringSubmatch(x.legend, -1) {
			if by := groupings.FindStringSubmatch(x.expr); !slices.Contains(labels, label[1]) || by != nil && !strings.Contains(by[1], label[1]) {
				t.Errorf("%s: there is no label %s for the legend %s", x.expr, label[1], x.legend)
			}
		}
	}
}

type expression struct{ expr, legend string }

// expressions returns the expressions of the dashboard and the alerts.
func expressions(t *testing.T) (list []expression) {
	t.Helper()
	data, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	var board any
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if expr, ok := v["expr"].(string); ok {
				legend, _ := v["legendFormat"].(string)
				list = append(list, expression{expr, legend})
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(board)
	shown := len(list)
	if data, err = os.ReadFile(alertsFile); err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^ *expr: (.*)$`).FindAllStringSubmatch(string(data), -1) {
		list = append(list, expression{expr: line[1]})
	}
	if shown == 0 || len(list) == shown {
		t.Errorf("%d expressions of the dashboard, %d of the alerts", shown, len(list)-shown)
	}
	return list
}

// Metrics count what happened.
func TestMetricsTell(t *testing.T) {
	t.Parallel()
	c := measuredNode(t)
	if _, err := c.js.Publish(c.within(), "events.S", []byte(`{"k":7}`)); err == nil {
		t.Error("a number was accepted as a string")
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

// A node is healthy while it works, and ready while its tasks work.
func TestHealth(t *testing.T) {
	t.Parallel()
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
	// With its witness, the start would report a lost log, not a different one.
	c.dropLog(natsconn.WALStream("w", 0), true, true)
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
