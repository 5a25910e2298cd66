package node

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
)

// frameCheck checks the frames of one log in the order of its files. The server's checksum does not
// detect a record that was already wrong when it was stored. The first frame of a writer may have
// been trimmed, so the first remaining one is not checked against an earlier one.
type frameCheck struct {
	stream  string
	writers map[uint64]frame.Entry // newest frame of each writer
	lost    uint64                 // sequence of the newest tick that replaces a lost frame
}

// newFrameCheck returns the check for the messages of a stream; nil if the stream is not a log.
func newFrameCheck(stream string) func(*streamfiles.Message) string {
	if !streamfiles.IsLog(stream) {
		return nil
	}
	c := &frameCheck{stream: stream, writers: map[uint64]frame.Entry{}}
	return c.check
}

// check returns what is wrong with a record of the log, or "".
func (c *frameCheck) check(m *streamfiles.Message) string {
	h, crc, err := frame.DecodeHeader(m.Data)
	if err != nil {
		return fmt.Sprintf("it is no frame: %v", err)
	}
	if natsconn.WALStream(h.App, h.Partition) != c.stream {
		return fmt.Sprintf("it is a frame of another log, %s", natsconn.WALStream(h.App, h.Partition))
	}
	if h.Kind == frame.Deploy {
		return "" // it belongs to no chain
	}
	if h.Writer == frame.LostWriter {
		c.lost = m.Sequence
		return ""
	}
	last, known := c.writers[h.Writer]
	if !known || h.Number > last.Number {
		c.writers[h.Writer] = frame.Entry{Writer: h.Writer, Number: h.Number, CRC: crc, Seq: m.Sequence}
	}
	switch {
	case !known || h.Number < last.Number:
		return ""
	case h.Number == last.Number && crc != last.CRC:
		return fmt.Sprintf("it repeats frame %d of its writer with another content", h.Number)
	case h.Number == last.Number+1 && h.Prev != last.CRC:
		return fmt.Sprintf("its writer's frame before it has CRC %08x, and the log has one with %08x, at sequence %d", h.Prev, last.CRC, last.Seq)
	case h.Number > last.Number+1 && last.Seq >= c.lost:
		return fmt.Sprintf("%d frames of its writer are missing before it", h.Number-last.Number-1)
	}
	return ""
}
