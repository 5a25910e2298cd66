package engine_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

var rewritePage = flag.Bool("rewrite-page", false, "write the table of functions into docs/language.md")

const languagePage = "../../../docs/language.md"

// Every function has an example, which docs/language.md shows, and every example of the page
// gives what the page says.
func TestLanguagePageExamples(t *testing.T) {
	for _, name := range function.Names() {
		if f, _ := function.Lookup(name); f.Doc == "" || f.Example == "" || f.Gives == "" {
			t.Errorf("%s has no doc or no example", name)
		}
	}
	page, err := os.ReadFile(languagePage)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range aggregate.Names() {
		if !strings.Contains(string(page), "\n| `"+name+"(") {
			t.Errorf("the page has no row for the aggregator %s", name)
		}
	}
	head, rest, _ := strings.Cut(string(page), "-rewrite-page -->\n")
	_, tail, ok := strings.Cut(rest, "<!-- end of functions -->")
	text := head + "-rewrite-page -->\n\n" + function.Page() + "\n<!-- end of functions -->" + tail
	if *rewritePage && ok {
		if err := os.WriteFile(languagePage, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if text != string(page) {
		t.Error("the table of functions is not the current one; -rewrite-page corrects it")
	}
	examples := 0
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), " | ")
		if len(cells) != 4 || !strings.HasPrefix(cells[2], "`") {
			continue
		}
		examples++
		example := strings.Trim(strings.ReplaceAll(cells[2], "\x00", "|"), "`")
		want := strings.Trim(strings.TrimSuffix(strings.TrimSpace(cells[3]), " |"), "`")
		if got := valueOf(t, example); got != "["+want+"]" {
			t.Errorf("%s gives %s, want [%s]", example, got, want)
		}
	}
	if examples < 100 {
		t.Errorf("the page has only %d examples", examples)
	}
}

// exampleClock is the app's clock in examples: 2024-02-29 12:30:45.678 UTC.
const exampleClock = 1709209845678

// valueOf returns the value of an expression over events 5, 1 and 3, after the last, as the JSON
// of a row, or why it has none.
func valueOf(t *testing.T, expression string) string {
	t.Helper()
	plan, err := siddhiql.Compile("define stream S (v int); from S select " + expression + " as x insert into O;")
	if err != nil {
		return err.Error()
	}
	e, err := engine.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	s := plan.Stream("S")
	for _, v := range []int{5, 1, 3} {
		b := event.NewBatch(s.Schema)
		if err := rowjson.NewDecoder(s.Schema).Values(b, fmt.Appendf(nil, "[%d]", v), exampleClock); err != nil {
			t.Fatal(err)
		}
		e.Send(s, b, 0, 1, exampleClock)
	}
	rows, _ := e.Rows(0)
	return string(rowjson.AppendArray(nil, rows, rows.Len()-1))
}
