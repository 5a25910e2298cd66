package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
)

// example is a request of docs/api.md and the minimal answer to it.
type example struct {
	subject, request string
	answer           string // "" for bytes
}

// apiExamples reads the page: sh blocks are requests, and the json blocks after them are the
// answers.
func apiExamples(t *testing.T) (list []example) {
	t.Helper()
	text, err := os.ReadFile("../../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "```")
	for i := 1; i < len(parts); i += 2 {
		if answer, ok := strings.CutPrefix(parts[i], "json\n"); ok {
			list[len(list)-1].answer = answer
			continue
		}
		line, ok := strings.CutPrefix(parts[i], "sh\nnats req ")
		if !ok {
			t.Fatalf("a block that is no request: %q", parts[i])
		}
		subject, request, _ := strings.Cut(strings.TrimSpace(line), " ")
		list = append(list, example{subject: subject, request: strings.Trim(request, "'")})
	}
	return list
}

// The requests of docs/api.md are answered as the page says, with the same fields.
func TestAPIExamples(t *testing.T) {
	t.Parallel()
	app, err := os.ReadFile("../../examples/flights.siddhi")
	if err != nil {
		t.Fatal(err)
	}
	c := newChain(t, string(app))
	c.start()
	defer c.end()
	events, err := os.Open("../../examples/data/flights.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	lines := bufio.NewScanner(events)
	publish := func(n int) {
		for range n {
			lines.Scan()
			var flight struct{ Time int64 }
			if err := json.Unmarshal(lines.Bytes(), &flight); err != nil {
				t.Fatal(err)
			}
			m := nats.NewMsg("events.Flights")
			m.Data = slices.Clone(lines.Bytes())
			m.Header.Set("Ef-Timestamp", fmt.Sprint(flight.Time))
			if _, err := c.js.PublishMsg(c.within(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(30)
	c.trigger("Flights")
	publish(70)
	c.trigger("Flights")
	m, err := c.node.control.Checkpoint(c.within(), control.CheckpointRequest{App: "Flights"})
	if err != nil {
		t.Fatal(err)
	}
	run := ""
	for _, k := range m.Partitions[0].Components {
		if len(k.Runs) > 0 {
			run = k.Runs[0].Object()
		}
	}
	job := ""
	seen := map[string]bool{}
	for _, x := range apiExamples(t) {
		request := strings.ReplaceAll(strings.ReplaceAll(x.request, "JOB", job), "OBJECT", run)
		seen[x.subject] = true
		answer, err := c.nc.RequestWithContext(c.within(), x.subject, []byte(request))
		if err != nil {
			t.Fatalf("%s %s: %v", x.subject, request, err)
		}
		if text := answer.Header.Get("Nats-Service-Error"); text != "" {
			t.Errorf("%s %s: %s", x.subject, request, text)
			continue
		}
		if x.answer == "" {
			if answer.Header.Get(recovery.HeaderBytes) != fmt.Sprint(len(answer.Data)) {
				t.Errorf("%s %s: %d bytes, %v", x.subject, request, len(answer.Data), answer.Header)
			}
			continue
		}
		var want, got any
		if err := json.Unmarshal([]byte(x.answer), &want); err != nil {
			t.Fatalf("the page: %v\n%s", err, x.answer)
		}
		if err := json.Unmarshal(answer.Data, &got); err != nil {
			t.Fatal(err)
		}
		if what := lacks(got, want, "answer"); what != "" {
			t.Errorf("%s %s: %s\n%s", x.subject, request, what, answer.Data)
		}
		var at recovery.Job
		if json.Unmarshal(answer.Data, &at) == nil && at.State == "running" {
			job = at.Job
			c.await(job)
		}
	}
	for _, verb := range []string{"plan", "restore", "verify", "state", "diff", "job", "object"} {
		if !seen["ef.recovery."+verb] {
			t.Errorf("no example of %s", verb)
		}
	}
}

// await waits until a job has ended.
func (c *chain) await(job string) {
	c.t.Helper()
	for ctx := c.within(); ; {
		at := &recovery.Job{}
		if err := c.ask(recovery.VerbJob, recovery.JobRequest{Job: job}, at); err != nil || ctx.Err() != nil {
			c.t.Fatalf("%+v, %v", at, err)
		}
		if at.State != "running" {
			return
		}
	}
}

// lacks lists fields of want, and types of fields, that got does not have. It compares only the
// first element of a list.
func lacks(got, want any, path string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %T", path, got)
		}
		for _, name := range slices.Sorted(maps.Keys(w)) {
			// Answers omit empty lists.
			if list, is := w[name].([]any); is && len(list) == 0 {
				continue
			}
			if _, ok := g[name]; !ok {
				return fmt.Sprintf("%s has no %s", path, name)
			}
			if what := lacks(g[name], w[name], path+"."+name); what != "" {
				return what
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(w) > 0 && len(g) == 0 {
			return fmt.Sprintf("%s is %v", path, got)
		}
		if len(w) > 0 {
			return lacks(g[0], w[0], path+"[0]")
		}
	default:
		if fmt.Sprintf("%T", got) != fmt.Sprintf("%T", want) {
			return fmt.Sprintf("%s is %T, not %T", path, got, want)
		}
	}
	return ""
}
