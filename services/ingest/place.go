package ingest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// place is where a result stands in the history of its partition. Those of one
// subject grow in the order of its stream, and identify a result for ever.
type place struct {
	generation, seq, ordinal uint64
}

func (p place) after(o place) bool {
	switch {
	case p.generation != o.generation:
		return p.generation > o.generation
	case p.seq != o.seq:
		return p.seq > o.seq
	default:
		return p.ordinal > o.ordinal
	}
}

// String returns "generation:sequence.ordinal".
func (p place) String() string {
	return fmt.Sprintf("%d:%d.%d", p.generation, p.seq, p.ordinal)
}

// parsePlace reads what String writes.
func parsePlace(text string) (p place, err error) {
	generation, position, _ := strings.Cut(text, ":")
	seq, ordinal, _ := strings.Cut(position, ".")
	for _, field := range []struct {
		to   *uint64
		text string
	}{{&p.generation, generation}, {&p.seq, seq}, {&p.ordinal, ordinal}} {
		if *field.to, err = strconv.ParseUint(field.text, 10, 64); err != nil {
			return place{}, fmt.Errorf("%.40q is not the place of a result, such as 1:17.0", text)
		}
	}
	if p.generation == 0 || p.seq == 0 {
		return place{}, fmt.Errorf("%.40q is not the place of a result: generation and sequence begin at 1", text)
	}
	return p, nil
}

// readResult takes the headers of a result of another app. Ef-Kind is left aside:
// a row that expired there is an event here.
func (l *letter) readResult(m *nats.Msg) (p place, err error) {
	h := m.Header
	if p, err = parsePlace(h.Get(headerGeneration) + ":" + h.Get(headerPosition)); err != nil {
		return p, fmt.Errorf("headers %s and %s: %w", headerGeneration, headerPosition, err)
	}
	if text := h.Get(headerTimestamp); text != "" {
		if l.ts, err = parseTimestamp(text); err != nil {
			return p, err
		}
	}
	l.id, l.trace = resultID(m.Subject, p), trace(h)
	return p, nil
}

// resultID is the message id of a result in the log of an app that reads it.
func resultID(subject string, p place) string { return subject + ":" + p.String() }
