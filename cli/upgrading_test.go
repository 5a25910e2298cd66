package cli

import (
	"fmt"
	"os"
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

// The worked example changes the flights app step by step. A refused change leaves the previous
// text in force.
func TestWorkedExampleOfChanges(t *testing.T) {
	t.Chdir(repository)
	page, err := os.ReadFile(upgradingPage)
	if err != nil {
		t.Fatal(err)
	}
	flights, err := os.ReadFile("examples/flights.siddhi")
	if err != nil {
		t.Fatal(err)
	}
	versions := []string{string(flights)}
	parts := strings.Split(string(page), "```")
	refused, edited := 0, ""
	for i := 1; i < len(parts); i += 2 {
		kind, body, _ := strings.Cut(parts[i], "\n")
		now := versions[len(versions)-1]
		switch kind {
		case "diff":
			edited = edit(t, now, body)
		case "text":
			command, _, _ := strings.Cut(body, "\n")
			next := edited
			if strings.Contains(command, "rollback") {
				next = versions[len(versions)-2]
			}
			m := migrate(t, now, next)
			printed := fmt.Sprintf("text\n%s\napp Flights, version %d to %d\n%s", command, len(versions), len(versions)+1, m)
			if m.Err() != nil {
				refused++
			} else {
				versions = append(versions, next)
			}
			if printed != parts[i] && !*rewriteReadme {
				t.Errorf("%s has\n%s\nand it is\n%s\n(-rewrite-readme corrects it)", upgradingPage, parts[i], printed)
			}
			parts[i] = printed
		}
	}
	if len(versions) != 4 || refused != 1 || versions[3] != versions[1] {
		t.Errorf("%d versions, %d changes refused; want an upgrade, a refused one, another upgrade and its rollback", len(versions), refused)
	}
	rewrite(t, strings.Join(parts, "```"))
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
