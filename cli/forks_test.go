package cli

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

const storesPage = "docs/stores.md"

var (
	mergeExample = regexp.MustCompile("(?s)```console\n\\$ (eventflux checkpoint merge [^\n]*)\n(.*?)```")
	timeInReport = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`)
)

// The example of two forks prints what the page shows, and the app continues from the result with
// the sums that follow from both forks.
func TestWorkedExampleOfForks(t *testing.T) {
	unsetSettings(t)
	page, err := filepath.Abs(filepath.Join(repository, storesPage))
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	_, app, _ := strings.Cut(text, "```sql\n")
	app, _, _ = strings.Cut(app, "```")
	example := mergeExample.FindStringSubmatchIndex(text)
	if app == "" || example == nil {
		t.Fatal("the page has no example")
	}
	t.Chdir(t.TempDir())
	if err := os.WriteFile("shop.siddhi", []byte(app), 0o600); err != nil {
		t.Fatal(err)
	}
	clusters := map[string]*liveNode{}
	for _, name := range []string{"a", "b", "c"} {
		clusters[name] = startNodeOf(t, node.Services, "", func(c *config.Config) { c.Store.URL = "file:" + name })
	}
	a, b, c := clusters["a"], clusters["b"], clusters["c"]
	a.cli(0, "app deploy shop.siddhi")
	a.send("Stock", `{"item":"tea","price":3.0}`, `{"item":"coffee","price":5.0}`)
	a.send("Orders", `{"item":"tea","amount":2}`)
	a.prints(0, "checkpoint trigger Shop", "checkpoint 1 committed")
	b.prints(0, "app deploy shop.siddhi --from file:a#1 --store.url file:b", "it started with the state of checkpoint 1")
	b.prints(1, "app deploy shop.siddhi --from file:a#1 --store.url file:b", "is deployed already")
	a.send("Stock", `{"item":"tea","price":3.5}`)
	a.send("Orders", `{"item":"coffee","amount":1}`)
	b.send("Stock", `{"item":"tea","price":3.2}`, `{"item":"milk","price":1.0}`)
	b.send("Orders", `{"item":"tea","amount":4}`)
	a.prints(0, "checkpoint trigger Shop", "checkpoint 2 committed")
	b.prints(0, "checkpoint trigger Shop", "checkpoint 4 committed")

	line, want := text[example[2]:example[3]], text[example[4]:example[5]]
	stdout, stderr, code := run(strings.TrimPrefix(line, "eventflux "), "")
	if got := timeInReport.ReplaceAllString(stdout, "2026-03-01 12:00:00 UTC"); code != 0 || got != want {
		if !*rewriteReadme || code != 0 {
			t.Errorf("%s prints, with exit code %d,\n%s%s\nand %s has\n%s(-rewrite-readme corrects it)", line, code, got, stderr, storesPage, want)
		} else if err := os.WriteFile(page, []byte(text[:example[4]]+got+text[example[5]:]), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	// Until the app has the state, it accepts nothing.
	client := newClient(c.nc)
	c.prints(1, "app deploy shop.siddhi --from 99", "has no checkpoint 99")
	c.prints(2, "app deploy shop.siddhi --from file:merged", "--store.url is missing")
	bringFirst(t, c, app)
	if _, err := c.js.Publish(c.within(), "events.Orders", []byte(`{"item":"tea","amount":1}`)); err == nil {
		t.Error("an event was accepted before the app had its state")
	}
	for ctx := c.within(); ; <-time.After(10 * time.Millisecond) {
		d, err := client.App(ctx, control.AppRequest{App: "Shop"})
		if err != nil || len(d.Missing) == 0 {
			t.Fatalf("missing %q, %v", d.Missing, err)
		}
		if strings.Contains(d.Missing[0], "has not been given the state of checkpoint 5 yet") {
			break
		} // a leader that was slow for a moment does not know all processes
	}
	c.prints(0, "app deploy shop.siddhi --from file:merged --store.url file:c", "it started with the state of checkpoint 5")
	c.send("Orders", `{"item":"tea","amount":1}`, `{"item":"coffee","amount":1}`)
	if got := strings.Join(c.sold(2), " "); got != `{"item":"tea","amount":7} {"item":"coffee","amount":2}` {
		t.Errorf("sold: %s", got)
	}
	c.prints(0, "checkpoint trigger Shop", "committed")
	c.prints(0, "state get table/Prices Shop", `"price":3.2`, `"price":5`, `"price":1`)
}

// bringFirst does the first half of a deploy with --from.
func bringFirst(t *testing.T, s *liveNode, text string) {
	t.Helper()
	cmd := newAppDeployCommand()
	if err := cmd.Flags().Set("store.url", "file:c"); err != nil {
		t.Fatal(err)
	}
	client := newClient(s.nc)
	epoch, err := bring(s.within(), cmd, client, "file:merged", "Shop")
	if err == nil {
		_, err = client.Deploy(s.within(), control.DeployRequest{Text: text, From: epoch})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// send publishes events, and waits until each is accepted.
func (s *liveNode) send(stream string, events ...string) {
	s.t.Helper()
	for _, e := range events {
		if _, err := s.js.Publish(s.within(), "events."+stream, []byte(e)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// sold returns the first n results of the shop.
func (s *liveNode) sold(n int) (rows []string) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.within())
	defer cancel()
	stream, err := s.js.Stream(ctx, natsconn.OutStream("Shop", 0))
	if err != nil {
		s.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("Shop", "Sold", 0)}})
	if err != nil {
		s.t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		s.t.Fatal(err)
	}
	defer messages.Stop()
	for len(rows) < n {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			s.t.Fatal(err)
		}
		rows = append(rows, string(m.Data()))
	}
	return rows
}

// Forks whose stores are in a bucket are merged into a third store there, and the app continues
// from it in a cluster that has been switched to a fourth one.
func TestForksInABucket(t *testing.T) {
	unsetSettings(t)
	server := s3test.Start(t)
	t.Chdir(t.TempDir())
	text := "@app:name('Shop') define stream Orders (item string, amount long);\n" +
		"@info(name='sold') from Orders select item, sum(amount) as amount group by item insert into Sold;"
	if err := os.WriteFile("shop.siddhi", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	started := func(name string) *liveNode {
		return startNodeOf(t, node.Services, "", func(c *config.Config) { c.Store.URL = server.URL(name) })
	}
	a, b := started("a"), started("b")
	a.cli(0, "app deploy shop.siddhi")
	a.send("Orders", `{"item":"tea","amount":2}`)
	a.prints(0, "checkpoint trigger Shop", "checkpoint 1 committed")
	b.prints(0, "app deploy shop.siddhi --from "+server.URL("a")+"#1 --store.url "+server.URL("b"), "it started with the state of checkpoint 1")
	a.send("Orders", `{"item":"coffee","amount":1}`)
	b.send("Orders", `{"item":"tea","amount":4}`)
	a.prints(0, "checkpoint trigger Shop", "checkpoint 2 committed")
	b.prints(0, "checkpoint trigger Shop", "checkpoint 4 committed")
	stdout, stderr, code := run("checkpoint merge "+server.URL("a")+"#2 "+server.URL("b")+"#4 --base "+server.URL("a")+"#1 --text shop.siddhi --strategy last-write-wins --to "+server.URL("merged"), "")
	if code != 0 || !strings.Contains(stdout, "checkpoint 5 of app Shop is written") {
		t.Fatalf("exit code %d: %s%s", code, stdout, stderr)
	}
	c := started("c")
	c.prints(0, "store copy "+server.URL("c")+" "+server.URL("d")+" --switch", "the cluster uses "+server.URL("d")+" from now on")
	c.prints(2, "app deploy shop.siddhi --from "+server.URL("merged")+" --store.url "+server.URL("c"), "name that one with --store.url")
	c.prints(0, "app deploy shop.siddhi --from "+server.URL("merged"), "it started with the state of checkpoint 5")
	c.send("Orders", `{"item":"tea","amount":1}`, `{"item":"coffee","amount":1}`)
	if got := strings.Join(c.sold(2), " "); got != `{"item":"tea","amount":7} {"item":"coffee","amount":2}` {
		t.Errorf("sold: %s", got)
	}
}
