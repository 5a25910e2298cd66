package engine_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// difference is a place where EventFlux does not do what Siddhi does. The app shows it, with
// lines for recipe.
type difference struct {
	siddhi, here         string
	app, events, results string
}

const (
	twoStreams = "define stream A (k string, v int); define stream B (k string, v int); "
	oneStream  = "define stream A (k string, v int); "
)

// differences is the table of docs/language.md, "Differences from Siddhi".
var differences = []difference{
	{
		"a join loses rows after a row that `having` or `limit` drops", "none is lost",
		twoStreams + "from A#window.length(3) as a join B#window.length(3) as b on a.k == b.k select a.v as x, b.v as y having y < 15 insert into O;",
		"1 B [\"a\",20]\n2 B [\"a\",10]\n3 A [\"a\",1]\n4 A [\"a\",2]\n", "3 O [1,10]\n4 O [2,10]\n",
	},
	{
		"a join finds every batch that a batch window has had", "the batch that came out last",
		twoStreams + "from A#window.lengthBatch(1) as a join B as b select a.v as x, b.v as y insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",2]\n3 B [\"a\",3]\n", "3 O [2,3]\n",
	},
	{
		"a join finds nothing in a session window", "the rows of open sessions",
		twoStreams + "from A#window.session(1 min) as a join B as b select a.v as x, b.v as y insert into O;",
		"1 A [\"a\",1]\n2 B [\"a\",3]\n", "2 O [1,3]\n",
	},
	{
		"`set T.v = T.v + 1` of a table with a key stores null", "the value of the row, plus 1",
		twoStreams + "@PrimaryKey('k') define table T (k string, v int); from A insert into T; " +
			"from B update T set T.v = T.v + v on T.k == k; from B join T on T.k == B.k select T.v as v insert into O;",
		"1 A [\"a\",1]\n2 B [\"a\",9]\n", "2 O [10]\n",
	},
	{
		"the assignments of `set` see each other", "they all see the row as it was",
		"define stream A (k string, v int, w int); define table T (k string, v int, w int); from A insert into T; " +
			"from A select k update T set T.v = T.w, T.w = T.v on T.k == k; from A join T on T.k == A.k select T.v as v, T.w as w insert into O;",
		"1 A [\"a\",1,2]\n", "1 O [2,1]\n",
	},
	{
		"`update or insert` by the primary key ignores `set`", "`set` counts",
		oneStream + "@PrimaryKey('k') define table T (k string, v int); from A update or insert into T set T.v = T.v + v on T.k == k; " +
			"from A join T on T.k == A.k select T.v as v insert into O;",
		"1 A [\"a\",9]\n2 A [\"a\",10]\n", "1 O [9]\n2 O [19]\n",
	},
	{
		"a delete with a condition beside an indexed equality deletes nothing", "it deletes the rows that meet it",
		twoStreams + "@Index('k') define table T (k string, v int); from A insert into T; from B delete T on T.k == k and T.v > v; " +
			"from B join T on T.k == B.k select T.v as v insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",5]\n3 B [\"a\",3]\n", "3 O [1]\n",
	},
	{
		"rows of a table with a key come in no fixed order", "in the order of the key",
		twoStreams + "@PrimaryKey('k') define table T (k string, v int); from A insert into T; from B join T select T.k as k insert into O;",
		"1 A [\"b\",1]\n2 A [\"a\",5]\n3 B [\"x\",3]\n", "3 O [\"a\"]\n3 O [\"b\"]\n",
	},
	{
		"a trigger at `'start'` fires at every restart, and others by the clock of the machine", "once, and by the clock of the app",
		"define trigger T at 'start'; define trigger U at every 1 sec; from T select triggered_time as t insert into O; from U select triggered_time as t insert into P;",
		"5\n2100\n", "5 O [5]\n1005 P [1005]\n2005 P [2005]\n",
	},
	{
		"`output first every 1 events` lets one row through, ever", "every row",
		oneStream + "from A select v output first every 1 events insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",2]\n", "1 O [1]\n2 O [2]\n",
	},
	{
		"`output first every N events` counts the resets of batch windows", "rows only",
		oneStream + "from A#window.lengthBatch(2) select v output first every 3 events insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",2]\n3 A [\"a\",3]\n4 A [\"a\",4]\n", "2 O [1]\n4 O [4]\n",
	},
	{
		"in an expression window that shrinks, an attribute is the one of the row that leaves", "of the newest row",
		oneStream + "from A#window.expression('v - first.v < 3') select count() as n insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",2]\n3 A [\"a\",5]\n", "1 O [1]\n2 O [2]\n3 O [1]\n",
	},
	{
		"an aggregator behind `and` in the condition of an expression window misses rows if the left side is false", "it counts the rows of the window",
		oneStream + "from A#window.expression('count() <= 1 and sum(v) < 9') select count() as n insert into O;",
		"1 A [\"a\",8]\n2 A [\"a\",8]\n3 A [\"a\",1]\n", "1 O [1]\n2 O [1]\n3 O [1]\n",
	},
	{
		"in a partition, the aggregators of an `expressionBatch` condition count the rows of all keys", "of each key",
		oneStream + "partition with (k of A) begin from A#window.expressionBatch('count() < 3', true) select v insert into O; end;",
		"1 A [\"a\",1]\n2 A [\"b\",2]\n3 A [\"a\",3]\n4 A [\"a\",4]\n", "4 O [1]\n4 O [3]\n4 O [4]\n",
	},
	{
		"`minForever` and `maxForever` start again with each batch", "they keep their value",
		oneStream + "from A#window.lengthBatch(1) select maxForever(v) as m insert into O;",
		"1 A [\"a\",7]\n2 A [\"a\",2]\n", "1 O [7]\n2 O [7]\n",
	},
	{
		"`and` and `or` drop an event whose value is null", "null is ignored",
		"define stream A (b bool); from A select and(b) as x, or(b) as y insert into O;",
		"1 A [true]\n2 A [null]\n", "1 O [true,true]\n2 O [true,true]\n",
	},
	{
		"`unionSet` keeps elements that have left the window", "they are gone",
		oneStream + "from A#window.length(1) select unionSet(createSet(v)) as s insert into O;",
		"1 A [\"a\",1]\n2 A [\"a\",1]\n3 A [\"a\",2]\n", "1 O [[1]]\n2 O [[1]]\n3 O [[2]]\n",
	},
	{
		"a session as a named window fails", "it works",
		oneStream + "define window W (k string, v int) session(1 sec, k); from A insert into W; from W select count() as n insert all events into O;",
		"1 A [\"a\",1]\n2000\n", "1 O [1]\n1001 O [0]\n",
	},
	{
		"an error in a function drops the event for the queries that follow", "the function yields null",
		oneStream + "from A select math:parseInt(k) as n insert into O; from A select v insert into P;",
		"1 A [\"x\",1]\n", "1 O [null]\n1 P [1]\n",
	},
	{
		"dates without a zone are in the zone of the server", "in UTC",
		oneStream + "from A select time:timestampInMilliseconds('1970-01-02', 'yyyy-MM-dd') as t insert into O;",
		"1 A [\"x\",1]\n", "1 O [86400000]\n",
	},
}

const (
	differencesStart = "<!-- differences: written by go test ./shared/lang/engine -run TestDifferencesFromSiddhi -rewrite-page -->\n"
	differencesEnd   = "<!-- end of differences -->"
)

// EventFlux does what the table of differences says, and docs/language.md has that table.
func TestDifferencesFromSiddhi(t *testing.T) {
	var table strings.Builder
	table.WriteString("\n| Siddhi | EventFlux |\n|---|---|\n")
	for _, d := range differences {
		fmt.Fprintf(&table, "| %s | %s |\n", d.siddhi, d.here)
		if got := recipe(t, []string{d.app}, d.events); got != d.results {
			t.Errorf("%s: %s: yields\n%swant\n%s", d.siddhi, d.here, got, d.results)
		}
	}
	table.WriteString("\n")
	page, err := os.ReadFile(languagePage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), differencesStart)
	old, after, closed := strings.Cut(rest, differencesEnd)
	if !ok || !closed {
		t.Fatalf("%s has no place for the differences", languagePage)
	}
	if old == table.String() {
		return
	}
	t.Error("the table of differences is not the current one; -rewrite-page corrects it")
	if *rewritePage {
		text := before + differencesStart + table.String() + differencesEnd + after
		if err := os.WriteFile(languagePage, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
