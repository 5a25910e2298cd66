package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const upgradingPage = "docs/upgrading.md"

func migrate(t *testing.T, old, next string) *engine.Migration {
	t.Helper()
	var plans []*siddhiql.Plan
	for _, text := range []string{old, next} {
		p, err := siddhiql.Compile(text)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		plans = append(plans, p)
	}
	m, err := engine.Migrate(plans[0], plans[1], engine.MigrateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Each row of the table of changes matches the plan of that change.
func TestTableOfChanges(t *testing.T) {
	t.Chdir(repository)
	page, err := os.ReadFile(upgradingPage)
	if err != nil {
		t.Fatal(err)
	}
	app := func(query string) string {
		return fmt.Sprintf("@app:name('A') define stream S (k string, v int, p double); define stream R (k string, v int);\n@info(name='q') %s insert into Out;", query)
	}
	text, rows := string(page), 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[0], "| `from ") {
			continue
		}
		rows++
		m := migrate(t, app(strings.Trim(cells[0], "| `")), app(strings.Trim(cells[1], "`")))
		var steps []string
		for _, s := range m.Steps {
			_, role, _ := strings.Cut(s.ID, "/")
			step := role + " " + string(s.Outcome)
			if s.Reason != "" {
				step += ": " + s.Reason
			}
			steps = append(steps, step)
		}
		says := "no state"
		if len(steps) > 0 {
			says = strings.Join(steps, "; ")
		}
		now := fmt.Sprintf("%s | %s | %s |\n", cells[0], cells[1], says)
		if now != line && !*rewriteReadme {
			t.Errorf("%s has\n%sand it is\n%s(-rewrite-readme corrects it)", upgradingPage, line, now)
		}
		text = strings.Replace(text, line, now, 1)
	}
	if rows < 10 {
		t.Errorf("only %d rows", rows)
	}
	rewrite(t, text)
}

const (
	flightsFile = "examples/flights.siddhi"
	// flightsAtATime is how many flights are published before each block of commands.
	flightsAtATime = 3000
)

// The worked example is what happens to the flights app: each diff edits the file, and each command
// prints what the page says. Before each block of commands, a checkpoint is made and flights are
// published. A change that is refused leaves the text as it was.
func TestWorkedExampleOfChanges(t *testing.T) {
	t.Chdir(repository)
	page, err := os.ReadFile(upgradingPage)
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(flightsFile)
	if err != nil {
		t.Fatal(err)
	}
	s := startNode(t, string(first))
	w := &workedExample{liveNode: s, file: filepath.Join(t.TempDir(), "flights.siddhi"), inForce: string(first), next: string(first)}
	data, err := os.ReadFile("examples/data/flights.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	w.flights = slices.Collect(strings.Lines(string(data)))
	before, rest, _ := strings.Cut(string(page), "\n## Example\n")
	example, after, _ := strings.Cut(rest, "\n## ")
	parts := strings.Split(example, "```")
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		if kind == "diff" {
			w.next = edit(t, w.inForce, body)
			continue
		}
		printed := kind + "\n" + w.run(body)
		if printed != parts[i] && !*rewriteReadme {
			t.Errorf("%s has\n%s\nand it is\n%s\n(-rewrite-readme corrects it)", upgradingPage, parts[i], printed)
		}
		parts[i] = printed
	}
	s.prints(0, "app history Flights", "rollback")
	rewrite(t, before+"\n## Example\n"+strings.Join(parts, "```")+"\n## "+after)
}

// workedExample is the flights app while the example changes it.
type workedExample struct {
	*liveNode
	file          string // with the next text
	inForce, next string
	flights       []string // that are left
}

// run runs the commands of a block, and returns them with what they print.
func (w *workedExample) run(block string) (printed string) {
	w.t.Helper()
	w.cli(0, "checkpoint trigger Flights")
	some := filepath.Join(w.t.TempDir(), "flights.ndjson")
	for file, text := range map[string]string{some: strings.Join(w.flights[:flightsAtATime], ""), w.file: w.next} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	w.flights = w.flights[flightsAtATime:]
	w.cli(0, "publish Flights "+some+" --ts time")
	for line := range strings.Lines(block) {
		command, ok := strings.CutPrefix(line, "$ eventflux ")
		if !ok {
			continue
		}
		stdout, stderr, _ := run(strings.ReplaceAll(strings.TrimSpace(command), flightsFile, w.file)+" --server "+w.url, "")
		text := stdout + stderr
		if strings.Contains(text, "runs version") {
			w.inForce = w.next
		}
		printed += line + withoutSamples(text)
	}
	return printed
}

var (
	firstSample = regexp.MustCompile(`(?m)^\w+ (different|only old|only new), `)
	afterThem   = regexp.MustCompile(`(?m)^(not )?approved in `)
	framesLines = regexp.MustCompile(`(?m)^(\d+ frames, \d+ events|following, from checkpoint .*)\n`)
)

// withoutSamples replaces the sampled rows of a report with an ellipsis, and drops how many frames
// there were: they depend on how the events were divided among frames.
func withoutSamples(text string) string {
	if from := firstSample.FindStringIndex(text); from != nil {
		if to := afterThem.FindStringIndex(text[from[0]:]); to != nil {
			text = text[:from[0]] + "…\n" + text[from[0]+to[0]:]
		}
	}
	return framesLines.ReplaceAllString(text, "")
}

// edit replaces the lines with a minus by those with a plus after them.
func edit(t *testing.T, text, diff string) string {
	t.Helper()
	var from, to strings.Builder
	for line := range strings.Lines(diff) {
		switch line[0] {
		case '-':
			from.WriteString(line[1:])
		case '+':
			to.WriteString(line[1:])
		default:
			from.WriteString(line[1:])
			to.WriteString(line[1:])
		}
	}
	if strings.Count(text, from.String()) != 1 {
		t.Fatalf("the app does not have once\n%s", from.String())
	}
	return strings.Replace(text, from.String(), to.String(), 1)
}

func rewrite(t *testing.T, text string) {
	t.Helper()
	if !*rewriteReadme {
		return
	}
	if err := os.WriteFile(upgradingPage, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
