package engine

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// bucketTable is a table that the log fills with the rows of a KV bucket. Each of its rows
// keeps the revision of its value, as one more attribute.
//
// A load brings all rows of the bucket. They wait apart from the table until the commit, and
// then replace its rows at once. Changes follow the load by their revisions. The table never
// goes back: it ignores changes that follow another load than the one in force, and changes
// and rows that are not newer than what it has. So two processes may read the bucket at the
// same time, and a process may read it again.
type bucketTable struct {
	plan     *siddhiql.Table
	rows     *table.Table
	load     *table.Table // rows of the load that is not complete yet
	created  int64        // when the bucket was created, ns since the Unix epoch; 0: nothing was loaded
	loaded   int64        // the load in force
	loading  int64        // the load whose rows wait
	revision uint64       // of the newest change, or of the load
	ignored  uint64       // records that were not newer

	row     []table.Value // the record that is applied
	one     [1]int32
	changes [1][]table.Change
}

func newBucketTable(p *siddhiql.Table) *bucketTable {
	stored := storedSchema(p)
	return &bucketTable{
		plan: p, rows: table.New(stored, p.Key, p.Indexes), load: table.New(stored, p.Key, nil),
		row: make([]table.Value, len(stored.Attrs)),
	}
}

// storedSchema returns the schema of the rows with their revisions.
func storedSchema(p *siddhiql.Table) *event.Schema {
	return &event.Schema{Name: p.Name, Attrs: append(slices.Clone(p.Schema.Attrs), event.Attr{Name: "$revision", Type: event.Long})}
}

// apply applies row i of records.
func (t *bucketTable) apply(records *event.Batch, i int) {
	r, _ := siddhiql.ReadRecord(records, i)
	switch r.Op {
	case siddhiql.LoadBegins:
		t.loading = r.Load
		t.clear(t.load)
	case siddhiql.LoadRow:
		if r.Load != t.loading {
			t.ignored++
			return
		}
		t.read(records, i, r.Revision)
		t.put(t.load)
	case siddhiql.LoadCommits:
		t.commit(r)
	default:
		if r.Load != t.loaded || r.Created != t.created || r.Revision <= t.revision {
			t.ignored++
			return
		}
		t.revision = r.Revision
		t.read(records, i, r.Revision)
		if r.Op == siddhiql.RowPut {
			t.put(t.rows)
		} else if slot, there := t.find(t.rows); there {
			t.delete(t.rows, slot)
		}
	}
}

// read copies row i of records.
func (t *bucketTable) read(records *event.Batch, i int, revision uint64) {
	last := len(t.row) - 1
	for a := range last {
		readValue(&records.Cols[a], i, &t.row[a])
	}
	t.row[last] = table.Value{Int: int64(revision)}
}

func readValue(c *event.Column, i int, v *table.Value) {
	*v = table.Value{Null: c.IsNull(i)}
	switch {
	case v.Null:
	case c.Type.Class() == event.Reals:
		v.Real = c.Floats[i]
	case c.Type.Class() == event.Texts:
		v.Text = c.Text(i)
	default:
		v.Int = c.Ints[i]
	}
}

// find returns the row with the key of the one that was read.
func (t *bucketTable) find(in *table.Table) (slot int32, ok bool) {
	key := t.plan.Key[0]
	return in.ByKey(t.row[key : key+1])
}

// put inserts the row that was read, or updates the row with its key.
func (t *bucketTable) put(in *table.Table) {
	slot, there := t.find(in)
	if !there {
		in.Insert(t.row)
		return
	}
	changes := t.changes[0][:0]
	for a := range t.row {
		if a != t.plan.Key[0] {
			changes = append(changes, table.Change{Attr: a, Value: t.row[a]})
		}
	}
	t.one[0], t.changes[0] = slot, changes
	in.Update(t.one[:], t.changes[:])
}

func (t *bucketTable) delete(in *table.Table, slot int32) {
	t.one[0] = slot
	in.Delete(t.one[:])
}

func (t *bucketTable) clear(in *table.Table) {
	if in.Len() > 0 {
		in.Delete(slices.Clone(in.Rows()))
	}
}

// commit makes the rows of a load those of the table.
func (t *bucketTable) commit(r siddhiql.Record) {
	if r.Load != t.loading || r.Load == t.loaded || r.Created < t.created {
		t.ignored++
		return
	}
	last := len(t.row) - 1
	recreated := r.Created > t.created
	if recreated {
		t.created, t.revision = r.Created, 0
	}
	var gone []int32
	for _, slot := range t.rows.Rows() {
		t.copyFrom(t.rows, slot)
		if _, there := t.find(t.load); !there && (recreated || uint64(t.row[last].Int) <= r.Revision) {
			gone = append(gone, slot)
		}
	}
	t.rows.Delete(gone)
	// If changes after the load's revision were applied already, the table has all that the load
	// has, or newer.
	if r.Revision >= t.revision {
		for _, slot := range t.load.Rows() {
			t.copyFrom(t.load, slot)
			if held, there := t.find(t.rows); !there || recreated || t.rows.Value(held, last).Int < t.row[last].Int {
				t.put(t.rows)
			}
		}
		t.revision = r.Revision
	}
	t.clear(t.load)
	t.loaded, t.loading = r.Load, 0
}

func (t *bucketTable) copyFrom(from *table.Table, slot int32) {
	for a := range t.row {
		t.row[a] = from.Value(slot, a)
	}
}

const tableBucketType = "table/bucket"

// components returns the state of what is not the table's rows.
func (t *bucketTable) components() []Component {
	id := "table/" + t.plan.Name
	return []Component{
		component(id+"/load", "table", table.Version, state.Cold, nil, tableSource{t.load, t.plan}),
		component(id+"/bucket", tableBucketType, bucketVersion, state.Hot, nil, bucketSource{fieldsSource{"bucket", t.fields}, t.plan}),
	}
}

// bucketSource is the state of how far a table follows its bucket.
type bucketSource struct {
	fieldsSource
	plan *siddhiql.Table
}

func (t *bucketTable) fields(f *window.Fields) {
	f.Int(&t.created)
	f.Int(&t.loaded)
	f.Int(&t.loading)
	f.Uint(&t.revision)
}

// tableOf returns the table that a component is a part of, or nil.
func tableOf(c state.Source) *siddhiql.Table {
	switch c := c.(type) {
	case tableSource:
		return c.plan
	case bucketSource:
		return c.plan
	}
	return nil
}

// BucketState is how far a table follows its KV bucket.
type BucketState struct {
	Table    string `json:"table"`
	Bucket   string `json:"bucket"`
	Rows     int    `json:"rows"`
	Waiting  int    `json:"waiting,omitempty"` // rows of a load that is not complete
	Revision uint64 `json:"revision"`          // of the newest change; 0: nothing was loaded
	Ignored  uint64 `json:"ignored,omitempty"` // records since the start that were not newer
	Load     int64  `json:"-"`                 // the number of the load in force; 0: none
}

// Buckets returns how far the tables follow their buckets, in the order of their definitions.
func (e *Engine) Buckets() (list []BucketState) {
	for _, t := range e.buckets {
		if t != nil {
			list = append(list, BucketState{t.plan.Name, t.plan.Bucket.Name, t.rows.Len(), t.load.Len(), t.revision, t.ignored, t.loaded})
		}
	}
	return list
}

// Fill applies the rows [from, to) of records of a table that a KV bucket fills, as CheckRecords
// has accepted them.
func (e *Engine) Fill(t *siddhiql.Table, records *event.Batch, from, to int) {
	for i := from; i < to; i++ {
		e.work.step(0)
		e.buckets[t.ID].apply(records, i)
	}
}

// HasEvents reports whether a frame has events, and not only records of tables.
func HasEvents(f *frame.Frame) bool {
	return f.Kind == frame.Events && slices.ContainsFunc(f.Blocks, func(b frame.Block) bool { return !siddhiql.HasRecords(b.Batch.Schema) })
}

// CheckRecords refuses records that cannot be applied.
func CheckRecords(records *event.Batch) error {
	for i := range records.Len() {
		if _, ok := siddhiql.ReadRecord(records, i); !ok {
			return fmt.Errorf("the log has a record of table %s without a known operation", records.Schema.Name)
		}
	}
	return nil
}

// bindRecords finds the table of a block of records; false if it is no such block. Records of a
// table that is gone, or had another form, are passed over: a load with the present form
// follows them.
func (t *Task) bindRecords(batch *event.Batch) (to bound, ok bool, err error) {
	if !siddhiql.HasRecords(batch.Schema) {
		return bound{}, false, nil
	}
	if err := CheckRecords(batch); err != nil {
		return bound{}, true, err
	}
	to = bound{stream: &siddhiql.Stream{ID: -1, Name: batch.Schema.Name, Schema: batch.Schema, Block: -1, TimeAttr: -1}, batch: batch, records: true}
	if s := t.plan.Stream(batch.Schema.Name); s != nil && s.ReadsBucket() != nil && s.ReadsBucket().Records.Same(batch.Schema) {
		to.fills = s.Table
	}
	return to, true, nil
}

// fill applies records. In an app on arrival time, time passes up to them. In playback only
// events move the clock.
func (t *Task) fill(to *bound, first, size int, now int64) {
	if !t.plan.Playback {
		t.Advance(now)
	}
	if to.fills != nil {
		t.Fill(to.fills, to.batch, first, first+size)
	}
}

// makeTables makes the tables of the plan. keep returns a table that goes on, or nil.
func (e *Engine) makeTables(keep func(*siddhiql.Table) (*table.Table, *bucketTable)) {
	e.tables, e.buckets = nil, nil
	for _, p := range e.plan.Tables {
		rows, bucket := keep(p)
		switch {
		case rows != nil && bucket != nil:
			bucket.plan = p
		case rows != nil:
		case p.Bucket != nil:
			bucket = newBucketTable(p)
			rows = bucket.rows
		default:
			rows = table.New(p.Schema, p.Key, p.Indexes)
		}
		e.tables, e.buckets = append(e.tables, rows), append(e.buckets, bucket)
	}
	e.row.tables, e.row.work, e.outRow.tables, e.outRow.work = e.tables, &e.work, e.tables, &e.work
}
