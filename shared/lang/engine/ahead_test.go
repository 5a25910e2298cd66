package engine_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Announcing events changes no result, with tables and patterns that are large enough to prefetch.
func TestAnnouncedEventsGiveTheSameResults(t *testing.T) {
	plan, err := siddhiql.Compile(`define stream S (k string, v long, d double, b bool);
@PrimaryKey('v') define table V (k string, v long, d double, b bool);
@PrimaryKey('k', 'd') define table K (k string, v long, d double, b bool);
from S join V on S.v == V.v select S.k as k, V.v as v, V.d as d, V.b as b insert into O;
from S join K on K.d == S.d and K.k == S.k and S.v > 3 select S.k as k, K.v as v, K.d as d, K.b as b insert into O;
from S insert into V;
from S[v > 10] update or insert into K set K.v = K.v + v on K.k == k and K.d == d;
from every e1=S -> e2=S[v == e1.v] select e2.k as k, e1.v as v, e2.d as d, e1.b as b insert into O;`)
	if err != nil {
		t.Fatal(err)
	}
	rows := func(announce bool) (all []string) {
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		s := plan.Stream("S")
		b := event.NewBatch(s.Schema)
		for from := 0; from < 26_000; from += 100 {
			b.Reset()
			for i := range 100 {
				n := int64(from + i)
				if n > 21_000 {
					n = n * 31 % 22_000
				}
				b.Cols[0].AppendText(fmt.Sprint("k", n%7))
				b.Cols[1].AppendInt(n)
				b.Cols[2].AppendFloat(float64(n) / 4)
				b.Cols[3].AppendBool(n%2 == 0)
				if n%50 == 49 {
					for c := range b.Cols {
						b.Cols[c].Truncate(i)
						b.Cols[c].AppendNull()
					}
				}
				b.TS = append(b.TS, 1000)
			}
			announced := 0
			for i := range b.TS {
				if announce && i == announced {
					announced = e.Announce(s, b, i)
				}
				e.Send(s, b, i, i+1, 1000)
			}
			for _, o := range e.Outputs() {
				out, _ := e.Rows(int(o.Query))
				for i := int(o.From); i < int(o.To); i++ {
					all = append(all, fmt.Sprint(o.Query, out.Cols[0].Text(i), out.Cols[1].Ints[i], out.Cols[2].Floats[i], out.Cols[3].Ints[i]))
				}
			}
			e.ResetOutputs()
		}
		return all
	}
	want, got := rows(false), rows(true)
	if len(want) < 5000 {
		t.Fatalf("only %d rows", len(want))
	}
	if len(got) != len(want) {
		t.Fatalf("%d rows, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d: %s, want %s", i, got[i], want[i])
		}
	}
}
