package engine_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// The estimated memory of a state grows with the texts and values that it keeps, wherever
// they are: a limit that uses it would miss them otherwise.
func TestBytesCountWhatIsKept(t *testing.T) {
	const n, length = 1000, 100
	for _, app := range []string{
		"from S select k, sum(v) as s group by k insert into Out;",
		"from S select distinctCount(k) as n insert into Out;",
		"from S#window.length(5000) select k insert into Out;",
		"from S#window.session(1 hour, k) select v insert into Out;",
		"partition with (k of S) begin from S select sum(v) as s insert into Out; end;",
	} {
		plan, err := siddhiql.Compile("define stream S (k string, v long); " + app)
		if err != nil {
			t.Fatal(err)
		}
		e, _ := engine.New(plan)
		b := event.NewBatch(plan.Streams[0].Schema)
		for i := range n {
			b.Cols[0].AppendText(fmt.Sprintf("%0*d", length, i))
			b.Cols[1].AppendInt(int64(i))
			b.TS = append(b.TS, 1000)
			e.Send(plan.Streams[0], b, i, i+1, 1000)
		}
		bytes := int64(0)
		for _, c := range e.Components() {
			bytes += c.Source.Bytes()
		}
		if bytes < n*length/2 {
			t.Errorf("%s\n%d bytes are told of %d texts of %d bytes", app, bytes, n, length)
		}
	}
}
