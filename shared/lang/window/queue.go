package window

import (
	"fmt"
	"math/bits"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// Sizes of a queue's blocks. A full block never changes again, so that it can be stored
// once; a short window stays small and in the cache.
const (
	blockRowsMin = 8
	blockRowsMax = 512
)

// Queue keeps copies of rows, with the attributes that are used, in order of arrival. Each
// row has a number, one more than the row before, so that it keeps its name while others
// leave. Rows leave at the front.
type Queue struct {
	schema     *event.Schema
	used       []int
	shift      uint // a block has 1<<shift rows; it starts at a multiple of that
	head, tail uint64
	blocks     []*event.Batch // blocks[0] holds row head
	retired    []*event.Batch // all left, but references may still point into them
	spare      *event.Batch

	tagged bool       // rows have a number beside them
	tags   [][]uint64 // by block

	follower Follower
	bound    *uint64 // rows before this number are found; nil: all
	told     uint64  // rows before this number were told to the follower
	shiftID  uint    // the id of a row is its number, shifted left
}

// NewQueue returns an empty queue for the rows of a window that expects to hold about
// expected rows at a time.
func NewQueue(c Config, expected int64) Queue {
	rows := min(max(expected, blockRowsMin), blockRowsMax)
	return Queue{schema: c.Schema, used: c.Used, shift: uint(bits.Len64(uint64(rows - 1)))}
}

// Len returns the number of rows.
func (q *Queue) Len() int { return int(q.tail - q.head) }

// Head returns the number of the first row.
func (q *Queue) Head() uint64 { return q.head }

// Tail returns the number that the next pushed row will have.
func (q *Queue) Tail() uint64 { return q.tail }

// Settle ends the life of references to rows that have left. Each call of a window starts
// with it, which keeps the promise of Row.
func (q *Queue) Settle() {
	for _, b := range q.retired {
		b.Reset()
		q.spare = b
	}
	clear(q.retired)
	q.retired = shrink.Reset(q.retired)
}

// Push appends a copy of the row.
func (q *Queue) Push(r Row) { q.push(r) }

// pushTagged appends a copy of the row with a number beside it.
func (q *Queue) pushTagged(r Row, tag uint64) {
	i := q.push(r)
	q.tags[i] = append(q.tags[i], tag)
}

func (q *Queue) push(r Row) (block int) {
	i := int(q.tail>>q.shift - q.head>>q.shift)
	if i == len(q.blocks) {
		q.blocks = append(q.blocks, q.block())
		if q.tagged {
			q.tags = append(q.tags, nil)
		}
	}
	b := q.blocks[i]
	b.AppendSome(r.B, int(r.I), q.used)
	b.TS[len(b.TS)-1] = r.TS
	q.tail++
	if q.bound == nil && q.follower != nil {
		q.reportChanges(q.tail)
	}
	return i
}

// tag returns the number beside a row.
func (q *Queue) tag(number uint64) uint64 {
	return q.tags[number>>q.shift-q.head>>q.shift][number&(1<<q.shift-1)]
}

// checkTags refuses rows without a number beside them.
func (q *Queue) checkTags(window string) error {
	for n := q.head; n < q.tail; n++ {
		if q.tag(n) == 0 {
			return fmt.Errorf("window %s: row %d has no timer", window, n)
		}
	}
	return nil
}

func (q *Queue) block() *event.Batch {
	if b := q.spare; b != nil {
		q.spare = nil
		return b
	}
	return event.NewBatch(q.schema)
}

// Row returns the row of that number, which must be in the queue.
func (q *Queue) Row(number uint64, kind Kind) Row {
	b := q.blocks[number>>q.shift-q.head>>q.shift]
	i := number & (1<<q.shift - 1)
	return Row{B: b, I: int32(i), TS: b.TS[i], Kind: kind}
}

// Pop removes the first row. References to it stay valid until Settle.
func (q *Queue) Pop() {
	if q.follower != nil && q.head < q.told {
		q.follower.Leave(q.head<<q.shiftID, q.Row(q.head, Current))
	}
	q.head++
	if q.head&(1<<q.shift-1) == 0 {
		q.retired = append(q.retired, q.blocks[0])
		n := copy(q.blocks, q.blocks[1:])
		q.blocks[n] = nil
		q.blocks = q.blocks[:n]
		if q.tagged {
			q.tags = q.tags[:copy(q.tags, q.tags[1:])]
		}
	}
}

// expire appends the first row to chunk as expired at ms now, and removes it.
func (q *Queue) expire(chunk []Row, now int64) []Row {
	r := q.Row(q.head, Expired)
	r.TS = now
	q.Pop()
	return append(chunk, r)
}

// reportChanges tells the follower that the rows before the number are found now.
func (q *Queue) reportChanges(to uint64) {
	if q.follower == nil {
		return
	}
	for n := max(q.told, q.head); n < to; n++ {
		q.follower.Enter(n<<q.shiftID, q.Row(n, Current))
	}
	q.told = to
}

// found returns the number after the last row that a look-up finds.
func (q *Queue) found() uint64 {
	if q.bound != nil {
		return *q.bound
	}
	return q.tail
}

func (q *Queue) follow(f Follower) { q.follower, q.told = f, q.found() }

// emptied returns an empty queue of the same kind, with the first row at that number.
func (q *Queue) emptied(first uint64) Queue {
	return Queue{
		schema: q.schema, used: q.used, shift: q.shift, tagged: q.tagged, head: first, tail: first,
		follower: q.follower, bound: q.bound, told: first, shiftID: q.shiftID,
	}
}
