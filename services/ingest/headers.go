package ingest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// The headers of input. A dead letter has the publisher's own Ef-Timestamp.
const (
	headerID        = nats.MsgIdHdr
	headerTimestamp = "Ef-Timestamp"
	headerChunk     = "Ef-Chunk"

	headerPosition   = "Ef-Position" // of results
	headerGeneration = "Ef-Generation"
)

// traceBytesMax bounds the tracing headers that are forwarded. Longer ones are dropped
// without an error: a trace must not cost an event.
const traceBytesMax = 4 << 10

// headersBytesMax bounds the total size of a message's headers. JetStream stores no more for a
// dead letter.
const headersBytesMax = 32 << 10

// headersBytes returns the size of a received message's headers on the wire.
func headersBytes(m *nats.Msg) int { return m.Size() - len(m.Data) - len(m.Subject) - len(m.Reply) }

// An own time must be in the years 1 to 9999, the range of RFC 3339.
const (
	timestampMin = -62_135_596_800_000
	timestampMax = 253_402_300_799_999
)

// traceHeaders are forwarded under their standard names, whatever their case.
var traceHeaders = [...][2]string{
	{"traceparent", "Traceparent"},
	{"tracestate", "Tracestate"},
}

// demands are headers that ask JetStream for guarantees that ingest cannot give. They are
// refused rather than ignored.
var demands = [...]string{
	nats.ExpectedStreamHdr, nats.ExpectedLastSeqHdr, nats.ExpectedLastSubjSeqHdr,
	"Nats-Expected-Last-Subject-Sequence-Subject", nats.ExpectedLastMsgIdHdr,
	"Nats-Batch-Id", "Nats-Rollup", "Nats-TTL", "Nats-Schedule", "Nats-Incr",
}

// messageHeaders holds the parsed headers of a message.
type messageHeaders struct {
	ts    int64 // of its rows
	timed bool  // ts is from the message; otherwise it is the time of arrival
	chunk bool
	id    string
	trace string // headers to forward, as lines of a NATS header
}

// read parses the headers of a published message.
func (l *messageHeaders) read(m *nats.Msg) error {
	if n := headersBytes(m); n > headersBytesMax {
		return fmt.Errorf("%d bytes of headers, limit %d", n, headersBytesMax)
	}
	h := m.Header
	l.id = h.Get(headerID)
	for _, name := range demands {
		if h[name] != nil {
			return fmt.Errorf("header %s: ingest cannot guarantee what it asks for; publish without it", name)
		}
	}
	if len(l.id) > idBytesMax {
		return fmt.Errorf("header %s: %d bytes, limit %d", headerID, len(l.id), idBytesMax)
	}
	var err error
	if text := h.Get(headerTimestamp); text != "" {
		if l.ts, err = parseTimestamp(text); err != nil {
			return err
		}
		l.timed = true
	}
	switch text := h.Get(headerChunk); text {
	case "", "0":
	case "1":
		l.chunk = true
	default:
		return fmt.Errorf("header %s: expected 1 or 0, found %.20q", headerChunk, text)
	}
	l.trace = trace(h)
	return nil
}

func trace(h nats.Header) string {
	var lines string
	for _, names := range traceHeaders {
		v := h.Get(names[0])
		if v == "" {
			v = h.Get(names[1])
		}
		if v != "" {
			lines += names[0] + ": " + v + "\r\n"
		}
	}
	if len(lines) > traceBytesMax || strings.ContainsRune(lines, 0) {
		return ""
	}
	return lines
}

// parseTimestamp reads ms since the Unix epoch, or RFC 3339.
func parseTimestamp(text string) (int64, error) {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return 0, fmt.Errorf("header %s: expected ms since 1970 or RFC 3339, such as 2001-01-15T08:30:00Z, found %.40q", headerTimestamp, text)
		}
		ms = t.UnixMilli()
	}
	if ms < timestampMin || ms > timestampMax {
		return 0, fmt.Errorf("header %s: %.40q is not in the years 1 to 9999", headerTimestamp, text)
	}
	return ms, nil
}
