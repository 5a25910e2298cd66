package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// tableChanges are what a query has changed in a published table (@sink on a table), since the
// outputs were last taken: rows as they are after a change, and as expired rows those that were
// deleted or have another primary key now. They count as rows of the query. Its methods do
// nothing for a table that is not published, where it is nil.
type tableChanges struct {
	rows  *event.Batch
	kinds []window.Kind
	texts []int // attributes
}

func newTableChanges(t *siddhiql.Table) *tableChanges {
	c := &tableChanges{rows: event.NewBatch(t.Schema)}
	for i := range c.rows.Cols {
		if c.rows.Cols[i].Type.Class() == event.Texts {
			c.texts = append(c.texts, i)
		}
	}
	return c
}

func (c *tableChanges) reset() {
	c.rows.Reset()
	c.kinds = c.kinds[:0]
}

// truncate forgets the changes after the first n.
func (c *tableChanges) truncate(n int) {
	if c == nil {
		return
	}
	c.rows.Truncate(n)
	c.kinds = c.kinds[:n]
}

// add adds rows of the table as they are.
func (c *tableChanges) add(q *query, t *table.Table, slots []int32, kind window.Kind) {
	if c == nil {
		return
	}
	for _, slot := range slots {
		for a := range c.rows.Cols {
			t.AppendTo(&c.rows.Cols[a], slot, a)
		}
		c.close(q, q.table.own.i, kind)
	}
}

// insert adds row i of the query's output, which has become a row of the table.
func (c *tableChanges) insert(q *query, i int) {
	if c == nil {
		return
	}
	for a := range c.rows.Cols {
		c.rows.Cols[a].AppendFrom(&q.out.Cols[a], i)
	}
	c.close(q, i, window.Current)
}

// leaving adds the rows that get another primary key, as expired ones. It returns how many
// changes there were before.
func (c *tableChanges) leaving(q *query, t *table.Table, slots []int32, changes [][]table.Change) (before int) {
	if c == nil {
		return 0
	}
	before = c.rows.Len()
	for i, slot := range slots {
		if t.Moves(slot, changes[i]) {
			c.add(q, t, slots[i:i+1], window.Expired)
		}
	}
	return before
}

// close ends a row, which row i of the query's output has caused.
func (c *tableChanges) close(q *query, i int, kind window.Kind) {
	c.rows.TS = append(c.rows.TS, q.out.TS[i])
	c.kinds = append(c.kinds, kind)
	size := int64(outputBytes + 8 + 1 + 8*len(c.rows.Cols))
	for _, a := range c.texts {
		size += int64(c.rows.Cols[a].TextBytes(c.rows.Len() - 1))
	}
	w := &q.e.work
	w.rows--
	if w.bytes -= size; w.rows < 0 || w.bytes < 0 {
		w.exceeded(q)
	}
}
