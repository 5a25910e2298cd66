package cli

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/eventflux/eventflux/services/recovery"
)

func TestPartialMatchesAreShown(t *testing.T) {
	s := startNode(t, `@app:name('pairs') define stream S (k string, v int);
		@info(name='pair') from every e1=S -> e2=S[k == e1.k and v > e1.v] within 1 hour
		select e1.k, e2.v insert into Out;`)
	s.publish(0, 4) // k0, k1, k2, and k0 again
	s.prints(0, "state get pair/pattern",
		"match ", "\n  e1 at 20", " k=\"k1\" v=1\n  waits for e2=S[k == e1.k and v > e1.v], until 20",
		" k=\"k2\" v=2\n", " k=\"k0\" v=3\n")
	s.prints(0, "state get pair/pattern --json", `"waits_for": [`, `"until": `, `"v": 2`)
	s.prints(0, "app show pairs", "-- the pattern of pair:\n--   1  e1=S\n--        S → step 2; the next match starts at step 1\n",
		"-- any  an event more than 1 hour after the first → the match ends")
}

func TestPartialMatchesAsText(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{
			`{"events":{"b":[{"ts":5,"z":"x","a":null},{"ts":1005,"z":"y","a":[1]}],"a":[{"ts":2000}]},"waits_for":["b=B<1:>","c=C"],"until":10005}`,
			"match K/7\n  b at 1970-01-01T00:00:00.005Z z=\"x\" a=null\n  b at 1970-01-01T00:00:01.005Z z=\"y\" a=[1]\n  a at 1970-01-01T00:00:02Z\n" +
				"  waits for b=B<1:>, or c=C, until 1970-01-01T00:00:10.005Z\n",
		},
		{`{"events":{},"waits_for":["not A for 1 sec"]}`, "match K/7\n  waits for not A for 1 sec\n"},
		{`"hex:00"`, ""},
		{`{"rows":2}`, ""},
		{`{"events":{"a":1},"waits_for":["b"]}`, ""},
	} {
		var b bytes.Buffer
		if ok := printMatch(&b, recovery.Item{Key: "K/7", Value: json.RawMessage(c.value)}); ok != (c.want != "") || b.String() != c.want {
			t.Errorf("%s: %t %q, want %q", c.value, ok, b.String(), c.want)
		}
	}
}
