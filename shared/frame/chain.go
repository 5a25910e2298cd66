package frame

import (
	"fmt"
	"slices"
)

// Link is the last frame of one writer that a log is known to hold.
type Link struct {
	Writer uint64
	Number uint64
	CRC    uint32
}

// Verdict says what to do with a frame.
type Verdict uint8

// The verdicts.
const (
	// Apply: the frame is the writer's next.
	Apply Verdict = iota
	// Duplicate: the writer repeated a frame whose first outcome it did not know.
	// It was applied already.
	Duplicate
)

// ChainError says that frames are missing from a log, or are not the ones that
// their writer wrote.
type ChainError struct {
	Header Header
	Last   Link // of the same writer; Number 0: none was seen
}

func (e *ChainError) Error() string {
	h := e.Header
	if h.Number == e.Last.Number+1 {
		return fmt.Sprintf("frame %d of writer %016x follows a frame with CRC %08x, but the one before it has %08x: the log was altered",
			h.Number, h.Writer, h.Prev, e.Last.CRC)
	}
	return fmt.Sprintf("frame %d of writer %016x follows its frame %d: the log lost what is between them",
		h.Number, h.Writer, e.Last.Number)
}

// Unwrap makes a ChainError an ErrCorrupt.
func (e *ChainError) Unwrap() error { return ErrCorrupt }

// Chain checks the numbering of frames in one log, writer by writer. The zero
// value is the chain of an empty log.
type Chain struct{ last map[uint64]Link }

// Next judges the next frame of the log and, if it is to be applied, remembers
// it. An error means that the log is damaged: nothing after it can be trusted.
func (c *Chain) Next(h Header, crc uint32) (Verdict, error) {
	last := c.last[h.Writer]
	switch {
	case h.Number <= last.Number:
		return Duplicate, nil
	case h.Number != last.Number+1 || h.Prev != last.CRC:
		last.Writer = h.Writer
		return 0, &ChainError{Header: h, Last: last}
	}
	if c.last == nil {
		c.last = map[uint64]Link{}
	}
	c.last[h.Writer] = Link{Writer: h.Writer, Number: h.Number, CRC: crc}
	return Apply, nil
}

// Links returns the last frame of every writer, ordered by writer.
func (c *Chain) Links() []Link {
	links := make([]Link, 0, len(c.last))
	for _, l := range c.last {
		links = append(links, l)
	}
	slices.SortFunc(links, func(a, b Link) int {
		if a.Writer < b.Writer {
			return -1
		}
		return 1
	})
	return links
}
