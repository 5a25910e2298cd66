package engine_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// An attribute is a key wherever its text ends up as one, also behind other queries.
func TestKeyTexts(t *testing.T) {
	for app, want := range map[string]string{
		"from S select a, sum(v) as s group by a, v insert into Out;":                                                            "[0]",
		"from S select distinctCount(b) as n insert into Out;":                                                                   "[1]",
		"from S#window.session(1 sec, b) select v insert into Out;":                                                              "[1]",
		"partition with (a of S) begin from S select b insert into Out; end;":                                                    "[0]",
		"from S select b as x, v insert into M; from M select x, sum(v) as s group by x insert into Out;":                        "[1]",
		"from S select ifThenElse(a == 'x', b, c) as x insert into M; from M select x, count() as n group by x insert into Out;": "[1 2]",
		"from S select a, b, c insert into Out;":                                                                                 "[]",
		"from S[a == 'x'] select sum(v) as s group by v insert into Out;":                                                        "[]",
	} {
		plan, err := siddhiql.Compile("define stream S (a string, b string, c string, v long); " + app)
		if err != nil {
			t.Errorf("%s: %v", app, err)
			continue
		}
		if got := fmt.Sprint(engine.KeyTexts(plan)[0]); got != want {
			t.Errorf("%s: %s, want %s", app, got, want)
		}
	}
}
