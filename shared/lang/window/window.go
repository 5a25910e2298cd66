// Package window holds the windows of the language: which rows they keep, and when those
// expire. A window is a pure data structure: it reads the clock that its task keeps in Env,
// and never the machine's clock.
package window

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state"
)

// Kind says what a row means to the query that reads the window.
type Kind uint8

// A current row has arrived, an expired one has left the window, and a reset
// tells aggregators to forget everything (it has no row).
const (
	Current Kind = iota
	Expired
	Reset
)

// Row refers to row I of batch B. The timestamp is the row's own unless the window has
// stamped it again. A reference that a window emits is valid until the next call of the
// window.
type Row struct {
	B    *event.Batch
	TS   int64
	I    int32
	Kind Kind
}

// NoTime is the clock before it starts. Times before 1970 are negative, and later than it.
const NoTime = math.MinInt64

// Env is what a task shares with its windows.
type Env struct {
	// Now is the task's clock in ms. It never goes back. Before the first event or tick it
	// is NoTime.
	Now int64
	// Dropped counts the rows that a window could not accept, such as rows without the time
	// to order them by.
	Dropped uint64
	seq     uint64
}

// drop counts a row that a window could not accept.
func (e *Env) drop(r Row, refused func(Row)) {
	e.Dropped++
	if refused != nil {
		refused(r)
	}
}

// Fields names the part of a task's state that is in Env.
func (e *Env) Fields(f *Fields) {
	f.Int(&e.Now)
	f.Uint(&e.Dropped)
	f.Uint(&e.seq)
}

// Seq returns the largest number that NextSeq has returned.
func (e *Env) Seq() uint64 { return e.seq }

// NextSeq returns a number larger than all before. Timers of one query that are due at the
// same time fire in the order of these numbers.
func (e *Env) NextSeq() uint64 {
	e.seq++
	return e.seq
}

// SeqFrom makes NextSeq return numbers larger than seq from now on.
func (e *Env) SeqFrom(seq uint64) { e.seq = max(e.seq, seq) }

// Emit receives one output chunk of a window. The slice is valid during the call; the
// receiver may shorten and reorder it.
type Emit func(chunk []Row)

// Window keeps rows of one query (and partition key), and shows them as state.
type Window interface {
	state.Source
	// Add takes an input chunk, all current rows, and emits what follows from
	// it. Rows are copied if they are kept.
	Add(chunk []Row, emit Emit)
	// Due returns when Fire must be called next (the clock reaching that ms) and
	// the number that orders it among timers of the same ms; false for never.
	Due() (at int64, seq uint64, ok bool)
	// Fire is called when the clock has reached Due.
	Fire(emit Emit)
	// Empty reports whether a new window would do the same from now on: it has no rows, and
	// remembers nothing of former ones. Its cost does not depend on the number of rows.
	Empty() bool
}

// Bounded is a Window of batches that start and end at known times.
type Bounded interface {
	Window
	// Bounds returns the times of the batch whose current rows are being emitted: it lasts from
	// start up to, but not including, end. begun is false if it has no start. Bounds is called
	// during Emit.
	Bounds() (start, end int64, begun bool)
}

// Searched is a Window whose rows a join can look up. All windows of this package are.
//
// What a look-up finds depends on the kind of window. In a sliding window it is the rows that
// are in it, oldest first (sort: in its order; session: session by session, in the order in
// which they were opened). In a batch window it is the batch that came out last, until it
// expires, and never the batch that is being collected; if rows pass at once (streamCurrent),
// it is the rows that have passed since the last expiry. A window of a join is made with
// Config.Expired: otherwise batch windows do not keep the batch that came out last, and
// nothing is found in them.
//
// Each row has an id that stays the same while the row is found. Later another row may have
// it. Ids mean something only while the window has a follower.
type Searched interface {
	Window
	// Each calls visit with the rows that a look-up finds, in order, until visit returns false.
	Each(visit func(id uint64, r Row) bool)
	// Found returns the row of an id. The reference is valid until the next call of Add, Fire
	// or Reset.
	Found(id uint64) Row
	// Before reports whether row a comes before row b in the order of Each. Two rows do not
	// change their order while both are found.
	Before(a, b uint64) bool
	// Follow makes the window report to f each row that look-ups find from now on, and each
	// that they no longer find. It does not report rows that are found already, nor those that
	// Reset drops and Put loads: read them with Each, after Ready. A nil follower ends the
	// reports, and costs nothing.
	Follow(f Follower)
}

// Follower keeps an index of the rows that a look-up finds in a window.
type Follower interface {
	// Enter adds a row that look-ups find from now on. It may come anywhere in the order.
	Enter(id uint64, r Row)
	// Leave removes a row that look-ups no longer find. r is still valid during the call.
	Leave(id uint64, r Row)
}
