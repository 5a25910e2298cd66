package rescale_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

const tableText = `@app:name('A') @app:partitions('1')
define stream S (k string, v int);
@source(kv='B') @PrimaryKey('k') define table F (k string, v int);
partition with (k of S) begin
	from S left outer join F on S.k == F.k select S.k as k, F.v as v insert into Out;
end;
`

// record appends a record of the table to the log of a partition.
func (a *app) record(p int, r siddhiql.Record, key string, v int64) {
	bucket := a.plan.Tables[0].Bucket
	rows := event.NewBatch(bucket.Records)
	if r.Op == siddhiql.LoadBegins || r.Op == siddhiql.LoadCommits {
		rows.Cols[0].AppendNull()
		rows.Cols[1].AppendNull()
	} else {
		rows.Cols[0].AppendText(key)
		rows.Cols[1].AppendInt(v)
	}
	bucket.AppendRecord(rows, r, 1_000_000)
	a.apply(p, &frame.Frame{
		Header: frame.Header{Kind: frame.Events, Stamp: 1_000_000},
		Blocks: []frame.Block{{Batch: rows}}, Runs: []frame.Run{{Rows: 1}},
	})
}

// All partitions have the rows of a table that a KV bucket fills, as the partition has them that
// had read the most of the bucket.
func TestScalingCopiesTheNewestTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.IntRange(1, 4).Draw(t, "from"), rapid.IntRange(1, 5).Draw(t, "to")
		a := newApp(t, tableText, from)
		var newest uint64
		for p := range from {
			a.record(p, siddhiql.Record{Op: siddhiql.LoadBegins, Created: 7, Load: 1}, "", 0)
			a.record(p, siddhiql.Record{Op: siddhiql.LoadRow, Created: 7, Load: 1, Revision: 1}, "k0", 1)
			a.record(p, siddhiql.Record{Op: siddhiql.LoadCommits, Created: 7, Load: 1, Revision: 1}, "", 0)
			last := rapid.Uint64Range(1, 6).Draw(t, "revision")
			for revision := uint64(2); revision <= last; revision++ {
				a.record(p, siddhiql.Record{Op: siddhiql.RowPut, Created: 7, Load: 1, Revision: revision}, fmt.Sprintf("k%d", revision%3), int64(revision))
			}
			newest = max(newest, last)
			if rapid.Bool().Draw(t, "loading") {
				a.record(p, siddhiql.Record{Op: siddhiql.LoadBegins, Created: 7, Load: 2}, "", 0)
				a.record(p, siddhiql.Record{Op: siddhiql.LoadRow, Created: 7, Load: 2, Revision: 1}, "k0", 1)
			}
		}
		values := map[string]int64{"k0": 1}
		for revision := uint64(2); revision <= newest; revision++ {
			values[fmt.Sprintf("k%d", revision%3)] = int64(revision)
		}
		a.scale(memory.New(), to)
		for p, task := range a.tasks {
			b := task.Buckets()[0]
			if b.Revision != newest || b.Rows != len(values) {
				t.Fatalf("partition %d has %d rows of revision %d, want %d of %d", p, b.Rows, b.Revision, len(values), newest)
			}
		}
		for key, v := range values {
			a.publish(&message{at: 1_000_100, stream: "S", keys: []string{key}, values: []int64{0}}, -1)
			row := fmt.Sprintf(`["%s",%d] 0 1000100`, key, v)
			if got := a.results[key+" of query 0"]; !slices.Contains(got, row) {
				t.Fatalf("key %s has %q, want %s", key, got, row)
			}
		}
	})
}
