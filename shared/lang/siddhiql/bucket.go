package siddhiql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Bucket says that the rows of a table are the values of a KV bucket, which somebody else
// writes: @source(kv='CUSTOMERS'). The key of a value is the table's primary key.
type Bucket struct {
	Name string
	// Values has the attributes that a value gives: all but the primary key. Map says where the
	// JSON of a value has them.
	Values *event.Schema
	Map    rowjson.Mapping
	// Records is the form of the table's records in the log: the attributes of the table, and
	// then those of the record itself.
	Records *event.Schema
}

// recordAttrs are the attributes that a record has after those of the table. No attribute of an
// app has such a name.
var recordAttrs = []event.Attr{{Name: "$op", Type: event.Int}, {Name: "$created", Type: event.Long}, {Name: "$load", Type: event.Long}, {Name: "$revision", Type: event.Long}}

// RecordOp is what a record does to its table.
type RecordOp int64

// What a record does. Each belongs to a load, whose rows replace all rows of the table at its
// commit. Later changes carry the number of the load that they follow.
const (
	LoadBegins RecordOp = iota + 1
	LoadRow
	LoadCommits
	RowPut
	RowDeleted
)

// Record is the part of a record that is not a row of the table.
type Record struct {
	Op       RecordOp
	Created  int64  // when the bucket was created, ns since the Unix epoch
	Load     int64  // the number of the load; each load has another one
	Revision uint64 // of the value; of a commit: the bucket's at the time of the load
}

// newBucket returns the bucket of a table, whose primary key is attribute key.
func newBucket(name string, s *event.Schema, key int, m rowjson.Mapping) *Bucket {
	b := &Bucket{Name: name, Map: m, Values: &event.Schema{Name: s.Name}, Records: &event.Schema{Name: s.Name}}
	b.Values.Attrs = slices.Delete(slices.Clone(s.Attrs), key, key+1)
	if m.Attrs != nil {
		b.Map.Attrs = slices.Delete(slices.Clone(m.Attrs), key, key+1)
	}
	b.Records.Attrs = slices.Concat(s.Attrs, recordAttrs)
	return b
}

// AppendRecord completes a record whose attributes of the table were appended.
func (b *Bucket) AppendRecord(rows *event.Batch, r Record, ts int64) {
	cols := rows.Cols[len(rows.Cols)-len(recordAttrs):]
	cols[0].AppendInt(int64(r.Op))
	cols[1].AppendInt(r.Created)
	cols[2].AppendInt(r.Load)
	cols[3].AppendInt(int64(r.Revision))
	rows.TS = append(rows.TS, ts)
}

// HasRecords reports whether rows of a schema are records of a table that a KV bucket fills.
func HasRecords(s *event.Schema) bool {
	n := len(s.Attrs)
	return n > len(recordAttrs) && slices.Equal(s.Attrs[n-len(recordAttrs):], recordAttrs)
}

// ReadRecord reads row i of records; false if it is none.
func ReadRecord(rows *event.Batch, i int) (r Record, ok bool) {
	cols := rows.Cols[len(rows.Cols)-len(recordAttrs):]
	for c := range cols {
		if cols[c].IsNull(i) {
			return r, false
		}
	}
	r = Record{RecordOp(cols[0].Ints[i]), cols[1].Ints[i], cols[2].Ints[i], uint64(cols[3].Ints[i])}
	return r, r.Op >= LoadBegins && r.Op <= RowDeleted
}

// BucketSubject is what stands for the subject of a bucket in the record of its reader.
func BucketSubject(name string) string { return "$KV." + name }

// ReadsBucket returns the bucket that fills the table; nil if the stream is no such table.
func (s *Stream) ReadsBucket() *Bucket {
	if s.Table == nil {
		return nil
	}
	return s.Table.Bucket
}

// source reads @source(kv='…', @map(…)) of a table.
func (tb *tableChecker) source(a *Annotation, t *Table) {
	mapping, a := tb.nested(a, "map")
	a, good := tb.mappings.transport(a)
	if !good {
		return
	}
	elems, good := tb.elems(a, "kv")
	if !good {
		return
	}
	e := elems["kv"]
	if e == nil {
		tb.errorf(a.Pos, "`@source` of a table names no bucket: write `@source(kv='…')` for the KV bucket that has its rows")
		return
	}
	if err := checkBucket(e.Value, "fill a table"); err != nil {
		tb.errorf(e.Pos, "%v", err)
		return
	}
	if len(t.Key) != 1 || !slices.Contains([]event.Type{event.String, event.Int, event.Long}, t.Schema.Attrs[t.Key[0]].Type) {
		tb.errorf(a.Pos, "the keys of bucket %s are the primary key of table %s: expected one attribute of type string, int or long, as in `@PrimaryKey('%s')`", tick(e.Value), tick(t.Name), t.Schema.Attrs[0].Name)
		return
	}
	var m rowjson.Mapping
	if mapping != nil {
		m = tb.mappings.bucketMap(mapping, t)
	}
	t.Bucket = newBucket(e.Value, t.Schema, t.Key[0], m)
}

// bucketMap reads the @map of a bucket's values, which are JSON objects.
func (mp *mappingChecker) bucketMap(a *Annotation, t *Table) rowjson.Mapping {
	key := t.Schema.Attrs[t.Key[0]].Name
	if typ := typeOfMap(a); typ != "" && typ != mapJSON {
		mp.errorf(a.Pos, "found type='%s': the values of a bucket are JSON objects; expected type='json'", typ)
		return rowjson.Mapping{}
	}
	for _, e := range a.Elems {
		if e.Nested == nil || !is(e.Nested, "attributes") {
			continue
		}
		for _, one := range e.Nested.Elems {
			if one.Key == "" || one.Key == key {
				mp.errorf(one.Pos, "attribute %s of table %s is the key of the bucket: write the paths of the other attributes, each with its name", tick(key), tick(t.Name))
				return rowjson.Mapping{}
			}
		}
	}
	s := &Stream{Name: t.Name, Schema: t.Schema, TimeAttr: -1}
	mp.mapping(a, s)
	return s.Map
}

// checkBucket refuses a name that no KV bucket can have, or one of EventFlux's own, for a bucket
// that is to do something.
func checkBucket(name, use string) error {
	letters := func(r rune) bool {
		return r > 0x7f || !isLetter(byte(r)) && !isDigit(byte(r)) && r != '-' // isLetter has the underscore
	}
	if name == "" || len(name) > 200 || strings.ContainsFunc(name, letters) {
		return fmt.Errorf("'%s' cannot be the name of a KV bucket: expected 1 to 200 letters A-Z, digits, `_` and `-`", shorten(name))
	}
	if strings.HasPrefix(name, "EF_") {
		return fmt.Errorf("bucket %s cannot %s: EventFlux keeps its own state in buckets whose names start with EF_", tick(name), use)
	}
	return nil
}

// noWrites refuses a query that changes a table which a bucket fills.
func (tb *tableChecker) noWrites(d *QueryDef, t *Table) bool {
	if t.Bucket == nil {
		return false
	}
	tb.errorf(d.Target.Pos, "the rows of table %s are those of KV bucket %s, and a query cannot change them: change the bucket, or insert into another table", tick(t.Name), tick(t.Bucket.Name))
	return true
}
