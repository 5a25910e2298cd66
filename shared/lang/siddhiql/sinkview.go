package siddhiql

import (
	"reflect"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// View says that a KV bucket has the newest row of a stream for each key:
// @sink(kv='TOTALS', key='{shop}').
type View struct {
	Bucket string
	Key    *subject.Template
	// Attrs has, by token of Key, the attribute whose value the token is; -1 for others.
	Attrs []int
	// Delete says that an expired row deletes its key (expired='delete').
	Delete bool
}

// Views returns the streams that have a view.
func (p *Plan) Views() (streams []*Stream) {
	for _, s := range p.Published() {
		if s.Sink.View != nil {
			streams = append(streams, s)
		}
	}
	return streams
}

// view reads `kv`, `key` and `expired` of a @sink.
func (sk *sinkChecker) view(elems map[string]*AnnotationElem, s *Stream) {
	e, key := elems["kv"], elems["key"]
	if e == nil {
		for _, name := range []string{"key", "expired"} {
			if other := elems[name]; other != nil {
				sk.errorf(other.Pos, "`%s` belongs to a view, and `kv` is missing: write `@sink(kv='BUCKET', key='{…}')`", name)
			}
		}
		return
	}
	if err := checkBucket(e.Value, "have a view"); err != nil {
		sk.errorf(e.Pos, "%v", err)
		return
	}
	if key == nil {
		sk.errorf(e.Pos, "the view in bucket %s has no key: write `key='{%s}'`, with the attributes that tell its rows apart", tick(e.Value), s.Schema.Attrs[0].Name)
		return
	}
	if s.Sink.Off {
		sk.errorf(e.Pos, "a view is filled from the results of stream %s, but publish='false' says that there are none: leave one of them out", tick(s.Name))
		return
	}
	v := &View{Bucket: e.Value, Delete: s.Table != nil}
	if x := elems["expired"]; x != nil {
		v.Delete = x.Value == "delete"
		if !v.Delete && x.Value != "put" {
			sk.errorf(x.Pos, "found expired='%s', expected 'put', or 'delete' to delete the key of an expired row", shorten(x.Value))
			return
		}
	}
	if sk.viewKey(v, key, s) && sk.rowKey(v, key, s) {
		s.Sink.View = v
		sk.viewAt = append(sk.viewAt, sinkSubject{s, e.Pos})
	}
}

// viewKey reads the key of a view; false after an error.
func (sk *sinkChecker) viewKey(v *View, e *AnnotationElem, s *Stream) bool {
	t, err := subject.ParseKey(e.Value)
	if err != nil {
		sk.errorf(e.Pos, "%v", err)
		return false
	}
	if t.HasPartition() && slices.ContainsFunc(s.Schema.Attrs, func(a event.Attr) bool { return a.Name == subject.PartitionName }) {
		sk.errorf(e.Pos, "`{%s}` in the key is the number of the partition, and stream %s has an attribute of that name: expected another name of the attribute", subject.PartitionName, tick(s.Name))
		return false
	}
	for _, token := range t.Tokens {
		attr := -1
		if name := token.Placeholder; name != "" && name != subject.PartitionName {
			attr = slices.IndexFunc(s.Schema.Attrs, func(a event.Attr) bool { return a.Name == name })
			if attr < 0 {
				sk.errorf(e.Pos, "unknown attribute %s of stream %s in the key%s", tick(name), tick(s.Name), didYouMean(name, attrNames(s.Schema)))
				return false
			}
			switch a := s.Schema.Attrs[attr]; a.Holds() {
			case event.String, event.Int, event.Long, event.Bool:
			default:
				sk.errorf(e.Pos, "attribute %s of the key is of type %s: expected a string, int, long or bool", tick(name), a.Type)
				return false
			}
		}
		v.Attrs = append(v.Attrs, attr)
	}
	v.Key = t
	return true
}

// rowKey refuses a view of a table with another key than its rows have: a row that is removed would
// leave its key, or delete the key of another row.
func (sk *sinkChecker) rowKey(v *View, e *AnnotationElem, s *Stream) bool {
	if s.Table == nil {
		return true
	}
	if s.Table.Key == nil {
		sk.errorf(e.Pos, "rows of table %s have no key that tells them apart: write `@PrimaryKey('…')` on the table", tick(s.Name))
		return false
	}
	attrs := slices.DeleteFunc(slices.Clone(v.Attrs), func(attr int) bool { return attr < 0 })
	slices.Sort(attrs)
	if !slices.Equal(slices.Compact(attrs), slices.Sorted(slices.Values(s.Table.Key))) {
		sk.errorf(e.Pos, "the key '%s' is not the primary key of table %s: expected its attributes, %s", shorten(e.Value), tick(s.Name), listOf(keyTemplate(s.Table), "and"))
		return false
	}
	return true
}

// keyTemplate returns the attributes of a table's primary key in braces, as the key of a view names
// them.
func keyTemplate(t *Table) (names []string) {
	for _, attr := range t.Key {
		names = append(names, "{"+t.Schema.Attrs[attr].Name+"}")
	}
	return names
}

// tables refuses a @sink on a table that no query changes.
func (sk *sinkChecker) tables() {
	for _, one := range sk.tableAt {
		if !slices.ContainsFunc(sk.plan.Queries, func(q *Query) bool { return q.Target == one.stream }) {
			sk.errorf(one.pos, "no query changes table %s of `@sink`: there is nothing to publish", tick(one.stream.Name))
		}
	}
}

// views refuses a view if a key could have two writers, or if its bucket feeds the app.
func (sk *sinkChecker) views() {
	for i, one := range sk.viewAt {
		v := one.stream.Sink.View
		for _, other := range sk.viewAt[:i] {
			if other.stream.Sink.View.Bucket == v.Bucket {
				sk.errorf(one.pos, "the streams %s and %s have a view in the same bucket %s, where one would overwrite the other: expected another bucket", tick(other.stream.Name), tick(one.stream.Name), tick(v.Bucket))
			}
		}
		for _, t := range sk.plan.Tables {
			if t.Bucket != nil && t.Bucket.Name == v.Bucket {
				sk.errorf(one.pos, "bucket %s fills table %s, so a view in it would feed the app without end: expected another bucket", tick(v.Bucket), tick(t.Name))
			}
		}
		if sk.plan.Partitions > 1 && !v.Key.HasPartition() && !sk.keyedByShard(one.stream) {
			sk.errorf(one.pos, "the app has %d partitions, and the key '%s' could come from several of them: expected the token `{%s}` in it, or the attribute of the partition's key, which each query into stream %s selects as it is", sk.plan.Partitions, shorten(v.Key.Text), subject.PartitionName, tick(one.stream.Name))
		}
	}
}

// keyedByShard reports whether the key of a view has the value that decides the partition of an
// event, in the rows of every query into the stream.
func (sk *sinkChecker) keyedByShard(s *Stream) bool {
	for _, q := range sk.plan.Queries {
		if q.Target == s && !slices.ContainsFunc(s.Sink.View.Attrs, func(attr int) bool { return attr >= 0 && sk.selectsKey(q, attr) }) {
			return false
		}
	}
	return true
}

// selectsKey reports whether a query's attribute is the key of its block, unchanged.
func (sk *sinkChecker) selectsKey(q *Query, attr int) bool {
	if q.Block < 0 || q.Source == nil || len(q.Functions) > 0 {
		return false
	}
	for _, k := range sk.plan.Blocks[q.Block].Keys {
		if _, plain := k.Value.(*Attr); plain && k.Stream == q.Source {
			return reflect.DeepEqual(q.Select[attr], k.Value)
		}
	}
	return false
}
