// Package ratelimit holds back the rows that a query yields, as its output rate says
// (`output … every …`), and shows the rows that wait as state. It works on the rows that
// selection lets through; package engine calls it.
//
// Read ticks.go (periods of time), first.go, pending.go (all), latest.go (last) and
// picture.go (snapshot). table.go has the state that these share.
package ratelimit

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// Version is the semantic version of the schema of the state.
const Version = "1.0.0"

// Which says which rows of a period come out.
type Which uint8

// The output rates.
const (
	All      Which = iota // all of them, together
	First                 // the first
	Last                  // the last
	Snapshot              // a picture of what the query holds
)

func (w Which) String() string { return [...]string{"all", "first", "last", "snapshot"}[w] }

// Config is what a limiter is made from.
type Config struct {
	Env     *window.Env
	Schema  *event.Schema // of the rows
	Which   Which
	Events  int64 // a period is so many rows; 0: it is a time
	Period  int64 // ms
	Grouped bool  // rows belong to groups

	// The following are about snapshots.

	// Leaving: the query has a window or a join, so its rows expire.
	Leaving bool
	// Totals are the columns that hold an aggregate.
	Totals []int
	// Names are the columns that tell a row from others: an expired row has the values of
	// its current one there.
	Names []int
	// Undated: Row.Came does not tell rows apart.
	Undated bool
}

// Row is a row that selection yields.
type Row struct {
	B    *event.Batch
	I    int
	Kind window.Kind
	// Group is the key of its group, valid during the call; empty without groups.
	Group []byte
	// Came is the time of the row's event, ms. An expired row has the time of its current one.
	Came int64
	// Dropped: having, limit or offset dropped the row. Only snapshots get such rows.
	Dropped bool
}

// Rows are rows that are emitted together.
type Rows struct {
	B     *event.Batch
	Kinds []window.Kind
}

func (r *Rows) append(b *event.Batch, i int, kind window.Kind) {
	r.B.AppendRow(b, i)
	r.Kinds = append(r.Kinds, kind)
}

// Limiter holds back the rows of one query (and partition key).
type Limiter interface {
	state.Source
	// Begin sets the start of the periods of time, ms. It is called once, before the first
	// row.
	Begin(at int64)
	// Begun reports whether Begin was called; true if there are no periods of time.
	Begun() bool
	// Add adds the rows of a chunk, and appends those that are emitted at once to out.
	Add(rows []Row, out *Rows)
	// Due returns when Fire must be called next; false for never.
	Due() (at int64, ok bool)
	// Fire is called when the clock has reached Due. It appends the emitted rows to out.
	Fire(out *Rows)
	// Empty reports whether a new limiter would do the same from now on.
	Empty() bool
}

// New returns an empty limiter.
func New(c Config) Limiter {
	switch {
	case c.Which == First && c.Events > 0:
		return newCounter(c)
	case c.Which == First:
		return newPause(c)
	case c.Which == All:
		return newPending(c)
	case c.Which == Last || !c.Leaving:
		return newLatest(c)
	}
	return newPicture(c)
}
