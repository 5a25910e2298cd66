package engine_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// bucketApp has a table that a KV bucket fills.
const bucketApp = `@app:name('golden')
define stream S (k string, g int, v int, d double, t long, f float, b bool, o object);
define stream T (k string, v long);
@source(kv='B') @PrimaryKey('k') @Index('v') define table F (k string, v int, o object);
@info(name = 'joined') from T left outer join F on T.k == F.k select T.k as k, F.v as v, F.o as o insert into O1;
@info(name = 'known') from S[(F.v == v) in F] select v insert into O2;
`

var bucketSet = goldenSet{bucketApp, "testdata/golden-bucket", func(id string) bool { return strings.HasPrefix(id, "table/") }}

// The state of a table that a KV bucket fills is read forever, also in the middle of a load.
func TestGoldenStatesOfBuckets(t *testing.T) { bucketSet.checkStates(t) }

func TestAlteredEntriesOfBucketsAreSurvived(t *testing.T) { bucketSet.checkAltered(t) }

// addRecords adds records to golden frames: a load, changes, and a second load that is not
// complete at goldenCut.
func addRecords(plan *siddhiql.Plan, frames []*frame.Frame) {
	if len(plan.Tables) == 0 || plan.Tables[0].Bucket == nil {
		return
	}
	names := []string{"a", "b", "", "a key of more than seven bytes", "é and \u0000"}
	revision := uint64(len(names))
	for i, f := range frames {
		if f.Kind != frame.Events {
			continue
		}
		r := newRecords(plan.Tables[0], f.Stamp)
		load, committed := int64(1), i < goldenCut-4
		if i > goldenCut+2 {
			load = 2
		}
		switch {
		case i < 2 || !committed && load == 1 && i == goldenCut-4:
			load = int64(1 + i/2)
			r.add(siddhiql.Record{Op: siddhiql.LoadBegins, Created: 7, Load: load}, "", 0)
			for n, name := range names[:4] {
				r.add(siddhiql.Record{Op: siddhiql.LoadRow, Created: 7, Load: load, Revision: uint64(n + 1)}, name, n*10)
			}
			if i < 2 {
				r.add(siddhiql.Record{Op: siddhiql.LoadCommits, Created: 7, Load: load, Revision: revision}, "", 0)
			}
		case i == goldenCut+2:
			r.add(siddhiql.Record{Op: siddhiql.LoadCommits, Created: 7, Load: load, Revision: revision}, "", 0)
		default:
			revision++
			op := siddhiql.RowPut
			if i%4 == 0 {
				op = siddhiql.RowDeleted
			}
			r.add(siddhiql.Record{Op: op, Created: 7, Load: load, Revision: revision}, names[i%len(names)], i%50)
		}
		f.Blocks = append(f.Blocks, frame.Block{Batch: r.b})
		f.Runs = append(f.Runs, frame.Run{Block: len(f.Blocks) - 1, Rows: r.b.Len()})
	}
}

// records makes records of a table with the attributes k, v and o.
type records struct {
	table *siddhiql.Table
	b     *event.Batch
	ts    int64
}

func newRecords(t *siddhiql.Table, ts int64) *records {
	return &records{t, event.NewBatch(t.Bucket.Records), ts}
}

func (r *records) add(x siddhiql.Record, key string, v int) {
	if x.Op == siddhiql.LoadBegins || x.Op == siddhiql.LoadCommits {
		for a := range r.table.Schema.Attrs {
			r.b.Cols[a].AppendNull()
		}
	} else {
		r.b.Cols[0].AppendText(key)
		r.b.Cols[1].AppendInt(int64(v))
		r.b.Cols[2].AppendText(fmt.Sprintf(`{"v":%d}`, v))
	}
	r.table.Bucket.AppendRecord(r.b, x, r.ts)
}

// bucket is a KV bucket as its readers see it.
type bucket struct {
	created int64
	seq     uint64
	rows    map[string]put
	history []put
}

type put struct {
	revision uint64
	key      string
	v        int // -1: deleted
}

func (b *bucket) put(key string, v int) {
	b.seq++
	b.history = append(b.history, put{b.seq, key, v})
	if v < 0 {
		delete(b.rows, key)
	} else {
		b.rows[key] = put{b.seq, key, v}
	}
}

// bucketReader reads a bucket and appends records to the log, one at a time.
type bucketReader struct {
	of      *bucket
	load    int64
	waiting []siddhiql.Record
	values  []put
	next    uint64 // the last revision that was read
}

func (r *bucketReader) begin(b *bucket, load int64) {
	*r = bucketReader{of: b, load: load, next: b.seq}
	r.add(siddhiql.LoadBegins, put{})
	for _, key := range slices.Sorted(maps.Keys(b.rows)) {
		r.add(siddhiql.LoadRow, b.rows[key])
	}
	r.add(siddhiql.LoadCommits, put{revision: b.seq})
}

func (r *bucketReader) add(op siddhiql.RecordOp, p put) {
	r.waiting = append(r.waiting, siddhiql.Record{Op: op, Created: r.of.created, Load: r.load, Revision: p.revision})
	r.values = append(r.values, p)
}

// step appends the next record; false if there is none.
func (r *bucketReader) step(append func(siddhiql.Record, put)) bool {
	if len(r.waiting) == 0 {
		if r.of == nil || r.next == r.of.seq {
			return false
		}
		p := r.of.history[r.next]
		r.next++
		op := siddhiql.RowPut
		if p.v < 0 {
			op = siddhiql.RowDeleted
		}
		r.add(op, p)
	}
	append(r.waiting[0], r.values[0])
	r.waiting, r.values = r.waiting[1:], r.values[1:]
	return true
}

// Whatever several readers of a bucket append to the log, in whatever order: the table never
// goes back, a load takes effect at once, and once a reader has read everything, the table has
// the rows of the bucket.
func TestATableFollowsItsBucket(t *testing.T) {
	plan := bucketSet.plan(t)
	table, keys := plan.Tables[0], []string{"a", "b", "c", ""}
	rapid.Check(t, func(rt *rapid.T) {
		e, err := engine.New(plan)
		if err != nil {
			rt.Fatal(err)
		}
		b := &bucket{created: 1, rows: map[string]put{}}
		readers := make([]bucketReader, 3)
		loads := int64(0)
		var created int64 // of the bucket whose load is in force
		var before engine.BucketState
		rows := map[string]int{}
		write := func(r siddhiql.Record, p put) {
			one := newRecords(table, 1000)
			one.add(r, p.key, p.v)
			e.Fill(table, one.b, 0, 1)
			now, after := e.Buckets()[0], tableRows(rt, e)
			if now.Load != before.Load {
				if r.Op != siddhiql.LoadCommits || r.Created < created {
					rt.Fatalf("%+v put load %d of a bucket created at %d in force", r, now.Load, r.Created)
				}
				if r.Created > created {
					created, before.Revision = r.Created, 0
				}
			} else if (r.Op == siddhiql.LoadBegins || r.Op == siddhiql.LoadRow) && !maps.Equal(rows, after) {
				rt.Fatalf("%+v changed the table before its commit", r)
			}
			if now.Revision < before.Revision {
				rt.Fatalf("%+v took the table back from revision %d to %d", r, before.Revision, now.Revision)
			}
			if r.Op == siddhiql.RowPut || r.Op == siddhiql.RowDeleted {
				if r.Revision <= before.Revision && !maps.Equal(rows, after) {
					rt.Fatalf("%+v changed the table, which was at revision %d", r, before.Revision)
				}
			}
			before, rows = now, after
		}
		begin := func(reader *bucketReader) {
			loads++
			reader.begin(b, loads)
		}
		for i := range readers {
			b.put(keys[i], i)
			begin(&readers[i])
		}
		limits := rapid.Bool().Draw(rt, "limits")
		for range rapid.IntRange(10, 150).Draw(rt, "steps") {
			key := rapid.SampledFrom(keys).Draw(rt, "key")
			reader := &readers[rapid.IntRange(0, len(readers)-1).Draw(rt, "reader")]
			switch what := rapid.IntRange(0, 39).Draw(rt, "what"); {
			case what < 6:
				b.put(key, rapid.IntRange(0, 9).Draw(rt, "v"))
			case what < 9:
				b.put(key, -1)
			case what < 10 && limits: // a limit or a TTL removes it, and leaves no marker
				delete(b.rows, key)
			case what < 12:
				b = &bucket{created: b.created + 1, rows: map[string]put{}}
			case what < 16:
				begin(reader)
			case what < 17:
				e = restartedEngine(rt, plan, e)
			default:
				reader.step(write)
			}
		}
		same := func() {
			want := map[string]int{}
			for key, p := range b.rows {
				want[key] = p.v
			}
			if !maps.Equal(rows, want) {
				rt.Fatalf("the table has %v, and the bucket %v", rows, want)
			}
		}
		for i := range readers {
			for readers[i].step(write) {
			}
		}
		for i := range readers {
			if r := &readers[i]; r.of == b && r.load == before.Load && !limits {
				same() // the load in force and its changes are complete
			}
		}
		begin(&readers[0])
		for readers[0].step(write) {
		}
		same()
	})
}

func tableRows(t *rapid.T, e *engine.Engine) map[string]int {
	rows := map[string]int{}
	for _, c := range e.Components() {
		if c.ID != "table/F" {
			continue
		}
		c.Source.(state.Lister).Items(func(i state.Item) {
			var row struct {
				K string
				V int
			}
			if err := json.Unmarshal(i.Value, &row); err != nil {
				t.Fatal(err)
			}
			rows[row.K] = row.V
		})
	}
	return rows
}

func restartedEngine(t *rapid.T, plan *siddhiql.Plan, old *engine.Engine) *engine.Engine {
	e, err := engine.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	to := engine.Registry(e.Components())
	for _, h := range engine.Registry(old.Components()).List() {
		data, err := state.SerializeState(h)
		if err != nil {
			t.Fatal(err)
		}
		into, _ := to.ByID(h.Info().ID)
		if err := state.DeserializeState(into, data); err != nil {
			t.Fatal(err)
		}
	}
	return e
}
