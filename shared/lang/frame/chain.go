package frame

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// writersMax bounds the memory of a Chain, which grows by one with each start of a process.
// The Chain forgets the writer that was silent longest; if that one ever writes again, its
// frame is refused and not mistaken for a new writer's.
const writersMax = 4096

// LostWriter is the writer of a frame that replaces a lost one, after an operator has
// accepted the loss: a tick that moves no clock. No process writes under this number.
const LostWriter = math.MaxUint64

// Verdict says what a task does with a frame. The zero value is invalid.
type Verdict uint8

const (
	// Apply is for the writer's next frame.
	Apply Verdict = 1
	// Duplicate is for a frame that the log already has: its writer repeated it because it
	// got no answer. Drop it.
	Duplicate Verdict = 2
)

// String returns "apply" or "duplicate".
func (v Verdict) String() string {
	switch v {
	case Apply:
		return "apply"
	case Duplicate:
		return "duplicate"
	}
	return fmt.Sprintf("verdict(%d)", uint8(v))
}

// ChainError says that a frame does not follow its writer's earlier frames: the log lost or
// altered one, or holds a foreign one. Stop; do not retry.
type ChainError struct {
	Seq    uint64 // of the frame in the log
	Writer uint64
	Number uint64
	What   string
}

// Unwrap makes a ChainError an ErrCorrupt.
func (e *ChainError) Unwrap() error { return ErrCorrupt }

func (e *ChainError) Error() string {
	return fmt.Sprintf("log sequence %d: frame %d of writer %016x: %s; the log is damaged: recover from a later checkpoint, or from another copy",
		e.Seq, e.Number, e.Writer, e.What)
}

// Entry is what a Chain knows of one writer.
type Entry struct {
	Writer uint64
	Number uint64 // of its last frame
	CRC    uint32 // of its last frame
	Seq    uint64 // of its last frame in the log
}

// Chain checks by their numbers and CRCs that each writer's frames follow one another. It
// is a part of a task's state: it does no I/O, and the same frames always give the same
// chain.
type Chain struct {
	app       string
	partition uint32
	writers   map[uint64]Entry
	max       int
}

// NewChain returns the chain of an empty log.
func NewChain(app string, partition uint32) *Chain {
	return &Chain{app: app, partition: partition, writers: map[uint64]Entry{}, max: writersMax}
}

// Check says what to do with the frame at sequence seq of the log. It remembers a frame
// that must be applied; after a *ChainError the chain is unchanged.
func (c *Chain) Check(seq uint64, h *Header, crc uint32) (Verdict, error) {
	fail := func(format string, args ...any) (Verdict, error) {
		return 0, &ChainError{Seq: seq, Writer: h.Writer, Number: h.Number, What: fmt.Sprintf(format, args...)}
	}
	if h.App != c.app || h.Partition != c.partition {
		return fail("it belongs to the log of %s/%d, and this is the log of %s/%d", h.App, h.Partition, c.app, c.partition)
	}
	if h.Writer == LostWriter {
		if h.Kind != Tick {
			return fail("a frame of kind %s instead of a lost one", h.Kind)
		}
		c.writers[LostWriter] = Entry{Writer: LostWriter, Number: 1, CRC: crc, Seq: seq}
		return Apply, nil
	}
	last, known := c.writers[h.Writer]
	// The lost frames may be of any writer, and may include all of a writer's first ones.
	lost := c.writers[LostWriter].Seq
	switch {
	case h.Writer == 0 || h.Number == 0:
		return fail("neither a writer nor a number is ever 0")
	case known && h.Number > last.Number+1 && last.Seq < lost:
	case !known && h.Number != 1 && lost > 0:
	case !known && h.Number != 1:
		return fail("the writer is unknown, so %d frames before it are missing", h.Number-1)
	case known && h.Number == last.Number && crc != last.CRC:
		return fail("it repeats a number with another content: CRC %08x, before %08x", crc, last.CRC)
	case known && h.Number <= last.Number:
		return Duplicate, nil
	case h.Number != last.Number+1:
		return fail("the writer's last frame is %d, so %d are missing", last.Number, h.Number-last.Number-1)
	case h.Prev != last.CRC:
		return fail("it follows a frame with CRC %08x, and the writer's last has %08x", h.Prev, last.CRC)
	}
	if !known && len(c.writers) >= c.max {
		c.forgetOldest()
	}
	c.writers[h.Writer] = Entry{Writer: h.Writer, Number: h.Number, CRC: crc, Seq: seq}
	return Apply, nil
}

func (c *Chain) forgetOldest() {
	var oldest Entry
	for _, e := range c.writers { // the order does not matter: sequences differ
		if e.Writer != LostWriter && (oldest.Writer == 0 || e.Seq < oldest.Seq) {
			oldest = e
		}
	}
	delete(c.writers, oldest.Writer)
}

// Entries appends what the chain knows of all writers to dst, sorted by writer.
func (c *Chain) Entries(dst []Entry) []Entry {
	start := len(dst)
	for _, e := range c.writers {
		dst = append(dst, e)
	}
	slices.SortFunc(dst[start:], func(a, b Entry) int { return cmp.Compare(a.Writer, b.Writer) })
	return dst
}

// Entry returns what the chain knows of one writer.
func (c *Chain) Entry(writer uint64) (Entry, bool) {
	e, ok := c.writers[writer]
	return e, ok
}

// Load replaces the chain's content by entries, as Entries returned them.
func (c *Chain) Load(entries []Entry) error {
	if len(entries) > c.max {
		return fmt.Errorf("chain of %s/%d: %d writers, limit %d", c.app, c.partition, len(entries), c.max)
	}
	writers := make(map[uint64]Entry, len(entries))
	for i, e := range entries {
		if e.Writer == 0 || e.Number == 0 || e.Seq == 0 {
			return fmt.Errorf("chain of %s/%d: entry %d is of writer %d, number %d, sequence %d; none is ever 0", c.app, c.partition, i, e.Writer, e.Number, e.Seq)
		}
		if _, twice := writers[e.Writer]; twice {
			return fmt.Errorf("chain of %s/%d: writer %016x is listed twice", c.app, c.partition, e.Writer)
		}
		writers[e.Writer] = e
	}
	c.writers = writers
	return nil
}
