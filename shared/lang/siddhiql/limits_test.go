package siddhiql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/window"
)

func containsText(s, part string) bool { return strings.Contains(s, part) }

// Texts that would overflow a stack or keep a checker busy are refused, and the
// largest that are allowed are not.
func TestLimits(t *testing.T) {
	filter := func(cond string) string {
		return "define stream S (v int, b bool); from S[" + cond + "] insert into O"
	}
	many := strings.Repeat
	for _, test := range []struct {
		name, text, want string
	}{
		{"parentheses", filter(many("(", 200) + "b" + many(")", 200)), ""},
		{"more parentheses", filter(many("(", 201) + "b" + many(")", 201)), "nested more than 200 deep"},
		{"a million parentheses", filter(many("(", 1_000_000)), "nested more than 200 deep"},
		{"calls", filter(many("coalesce(", 201) + "b" + many(")", 201)), "nested more than 200 deep"},
		{"negations", filter(many("not ", 200) + "b"), ""},
		{"more negations", filter(many("not ", 201) + "b"), "nested more than 200 deep"},
		{"annotations", many("@a(", 300000), "nested more than 200 deep"},
		{"a long chain", filter("b" + many(" or b", 9_999)), ""},
		{"a longer chain", filter("b" + many(" or b", 10_000)), "more than 10000 parts"},
		{"two long chains", filter("b" + many(" or b", 9_000) + "][" + "b" + many(" or b", 9_000)), ""},
		{"text", many(" ", 1<<20) + "x", "bytes: expected at most 1048576"},
		{"attributes", "define stream S (a int" + numbered(", a%d int", 1000) + ")", "1001 attributes: expected at most 1000"},
		{"values", "define stream S (a int); from S select a" + numbered(", a as a%d", 1000) + " insert into O", "selects 1001 values"},
		{"streams", numbered("define stream S%d (a int);", 1001), "1001 definitions"},
		{"queries", "define stream S (a int);" + many("from S insert into O;", 1001), "1001 queries"},
		{"many queries", "define stream S (a int);" + many("from S insert into O;", 1000), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Compile(test.text)
			switch {
			case test.want == "" && err != nil:
				t.Fatalf("refused: %.200v", err)
			case test.want != "" && (err == nil || !containsText(err.Error(), test.want)):
				t.Fatalf("found %.200v, expected %q", err, test.want)
			}
		})
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := Compile(strings.Repeat("x;", 1000))
	var list ErrorList
	if !errors.As(err, &list) || len(list) != errorsMax {
		t.Fatalf("found %d errors, expected %d", len(list), errorsMax)
	}
}

// Errors come in the order of the text, each with its place, also behind
// characters of several bytes.
func TestErrorList(t *testing.T) {
	_, err := Compile("define stream S (v int);\nfrom S[vv > 5]#lenght(5) insert into O; -- größer\n/* ü */ from S[w] insert into P")
	var list ErrorList
	if !errors.As(err, &list) {
		t.Fatal(err)
	}
	want := "app.siddhi:2:8: unknown attribute `vv` of stream `S`; there is `v`\n" +
		"app.siddhi:2:16: unknown window `lenght`: did you mean `length`?\n" +
		"app.siddhi:3:16: unknown attribute `w` of stream `S`; there is `v`"
	if got := list.In("app.siddhi"); got != want {
		t.Errorf("found\n%s\nexpected\n%s", got, want)
	}
}

func TestTextMustBeUTF8(t *testing.T) {
	_, err := Parse("define stream S (v int);\nü \ufffd \xff")
	if err == nil || err.Error() != "2:5: the text is not UTF-8" {
		t.Errorf("found %v", err)
	}
}

// An unknown name without a near one lists all names. Other packages define windows and
// aggregators, so no script has these lists.
func TestUnknownNamesListTheKnown(t *testing.T) {
	_, err := Compile("define stream S (v int); from S#xyzzyx(5) select v insert into O")
	if want := "unknown window `xyzzyx`; there is " + listOf(window.Names(), "and"); err == nil || !containsText(err.Error(), want) {
		t.Errorf("found %v, expected %q", err, want)
	}
	if len(window.Names()) == 0 || len(aggregate.Names()) == 0 {
		t.Error("no windows or aggregators are registered")
	}
}

// A window may take attributes; which, it says itself.
func TestWindowParametersCanBeAttributes(t *testing.T) {
	const name = "parametersProbe"
	if _, registered := window.Lookup(name); !registered {
		window.Register(window.Spec{Name: name, Usage: name + "(…)", Check: func([]window.Param) error { return nil }})
	}
	plan, err := Compile("define stream S (v int, ts long); from S#" + name + "(S.ts, 5 sec, 'x', -1.5f, true, 2L) insert into O")
	if err != nil {
		t.Fatal(err)
	}
	const want = "($1:long, 5000ms, 'x', -1.5f, true, 2L)"
	if got := paramTexts(plan.Queries[0].Window.Params); got != want {
		t.Errorf("found %s, expected %s", got, want)
	}
	_, err = Compile("define stream S (d double); from S select cast(d, 'long') as ts insert into T; from T#" + name + "(ts) insert into O")
	if err == nil || !containsText(err.Error(), "is called long by cast(), but still is double") {
		t.Errorf("found %v", err)
	}
}

// The tree of every script's plan refers only to streams and attributes that
// exist: what the engine indexes by is in range.
func TestPlansAreWhole(t *testing.T) {
	plans := 0
	for _, text := range scriptInputs(t) {
		plan, err := Compile(text)
		if err != nil {
			continue
		}
		plans++
		for i, s := range plan.Streams {
			if s.ID != i || s.Schema == nil || s.Schema.Name != s.Name {
				t.Errorf("stream %d is %+v", i, s)
			}
		}
		for i, q := range plan.Queries {
			if q.ID != i || q.In == nil || q.Target == nil || q.Write == nil && q.Output != q.Target.Schema || len(q.Select) != len(q.Output.Attrs) {
				t.Errorf("query %d is %+v", i, q)
			}
			for j, e := range q.Select {
				if a := q.Output.Attrs[j]; e.Type() != a.Type || e.Holds() != a.Holds() {
					t.Errorf("query %d, value %d: %s is not %v", i, j, exprText(e), a)
				}
			}
		}
	}
	if plans < 20 {
		t.Errorf("only %d scripts have plans", plans)
	}
}
