package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// filled reads the rows of a table that a KV bucket fills.
type filled struct {
	table   *siddhiql.Table
	rows    *rowjson.Decoder
	key     *rowjson.Decoder
	row     *event.Batch
	keyRow  *event.Batch
	records *event.Batch
}

func newFilled(t *siddhiql.Table) *filled {
	key := &event.Schema{Name: t.Name, Attrs: []event.Attr{t.Schema.Attrs[t.Key[0]]}}
	return &filled{
		table: t, rows: rowjson.NewDecoder(t.Schema), key: rowjson.NewDecoder(key),
		row: event.NewBatch(t.Schema), keyRow: event.NewBatch(key), records: event.NewBatch(t.Bucket.Records),
	}
}

// change applies a line that changes a table to every app that has it.
func (p *player) change(l *line) error {
	if err := p.knownTable(l.table); err != nil {
		return err
	}
	for _, a := range p.apps {
		if f := a.tables[l.table]; f != nil {
			if err := f.read(a, l); err != nil {
				return fmt.Errorf("table %s: %w", l.table, err)
			}
		}
	}
	for _, a := range p.apps {
		if !a.plan.Playback {
			if err := p.pass(a, l.ts); err != nil {
				return err
			}
		}
		if f := a.tables[l.table]; f != nil {
			if err := p.try(a, p.input+1, func() { a.engine.Fill(f.table, f.records, 0, f.records.Len()) }); err != nil {
				return err
			}
		}
	}
	return p.applied()
}

// read makes the records of a line. The first change of a table follows a load without rows, and
// a reset is such a load.
func (f *filled) read(a *app, l *line) error {
	f.row.Reset()
	f.keyRow.Reset()
	f.records.Reset()
	state := a.engine.Buckets()[slices.IndexFunc(bucketTables(a.plan), func(t *siddhiql.Table) bool { return t == f.table })]
	load, revision := state.Load, state.Revision
	if load == 0 || l.op == opReset {
		load, revision = load+1, revision+1
		f.add(siddhiql.Record{Op: siddhiql.LoadBegins, Created: 1, Load: load}, l.ts, nil, 0)
		f.add(siddhiql.Record{Op: siddhiql.LoadCommits, Created: 1, Load: load, Revision: revision}, l.ts, nil, 0)
	}
	r := siddhiql.Record{Op: siddhiql.RowPut, Created: 1, Load: load, Revision: revision + 1}
	key := f.table.Key[0]
	switch l.op {
	case opPut:
		if err := f.rows.Values(f.row, l.data, l.ts); err != nil {
			return err
		}
		if f.row.Cols[key].IsNull(0) {
			return fmt.Errorf("the primary key %s is null", f.table.Schema.Attrs[key].Name)
		}
		f.add(r, l.ts, f.row.Cols, 0)
	case opDelete:
		r.Op = siddhiql.RowDeleted
		data := l.data
		if data[0] != '[' && data[0] != '{' {
			data = slices.Concat([]byte{'['}, data, []byte{']'})
		}
		if err := f.key.Values(f.keyRow, data, l.ts); err != nil {
			return err
		}
		if f.keyRow.Cols[0].IsNull(0) {
			return fmt.Errorf("the primary key %s is null", f.table.Schema.Attrs[key].Name)
		}
		f.add(r, l.ts, f.keyRow.Cols, key)
	}
	return nil
}

// add adds a record with the attributes of the table from number from on.
func (f *filled) add(r siddhiql.Record, ts int64, attrs []event.Column, from int) {
	for i := range f.table.Schema.Attrs {
		if i >= from && i < from+len(attrs) {
			f.records.Cols[i].AppendFrom(&attrs[i-from], 0)
		} else {
			f.records.Cols[i].AppendNull()
		}
	}
	f.table.Bucket.AppendRecord(f.records, r, ts)
}

// bucketTables returns the tables that KV buckets fill.
func bucketTables(p *siddhiql.Plan) []*siddhiql.Table {
	return slices.DeleteFunc(slices.Clone(p.Tables), func(t *siddhiql.Table) bool { return t.Bucket == nil })
}

// knownTable refuses a table that no KV bucket fills, and says which there are.
func (p *player) knownTable(name string) error {
	var names []string
	for _, a := range p.apps {
		if a.tables[name] != nil {
			return nil
		}
		for _, t := range bucketTables(a.plan) {
			names = append(names, t.Name)
		}
	}
	if len(names) == 0 {
		return errors.New("no app has a table that a KV bucket fills (@source(kv='…'))")
	}
	return fmt.Errorf("no app has a table %q that a KV bucket fills; there is %s", name, strings.Join(names, ", "))
}
