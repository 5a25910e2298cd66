package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// When an upgrade removes a query from a partition, the timers of the others go on, wherever it stood.
func TestQueryRemovedFromAPartition(t *testing.T) {
	const (
		gone  = "@info(name='gone') from S#time(50) select k, count() as n insert all events into A;"
		stays = "@info(name='stays') from S#time(10) select k, v insert all events into B;"
	)
	text := func(queries string) string {
		return fmt.Sprintf("@app:name('A') define stream S (k string, v int); partition with (k of S) begin %s end;", queries)
	}
	for name, before := range map[string]string{"the first": gone + stays, "the last": stays + gone} {
		t.Run(name, func(t *testing.T) {
			old, err := siddhiql.Compile(text(before))
			if err != nil {
				t.Fatal(err)
			}
			next, err := siddhiql.Compile(text(stays))
			if err != nil {
				t.Fatal(err)
			}
			e, err := engine.New(old)
			if err != nil {
				t.Fatal(err)
			}
			s := old.Stream("S")
			for i, k := range []string{"a", "b"} {
				b := event.NewBatch(s.Schema)
				b.Cols[0].AppendText(k)
				b.Cols[1].AppendInt(int64(i))
				b.TS = append(b.TS, 1)
				e.Send(s, b, 0, 1, 1)
			}
			e.ResetOutputs()
			m, err := engine.Migrate(old, next, engine.MigrateOptions{Drop: true})
			if err == nil {
				err = e.Upgrade(next, m, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			e.Advance(20)
			var expired []int64
			for _, o := range e.Outputs() {
				b, kinds := e.Rows(int(o.Query))
				for i := o.From; i < o.To; i++ {
					if kinds[i] == window.Expired {
						expired = append(expired, b.Cols[1].Ints[i])
					}
				}
			}
			if slices.Sort(expired); !slices.Equal(expired, []int64{0, 1}) {
				t.Errorf("expired rows %v, want those of both keys", expired)
			}
		})
	}
}
