package ingest

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
)

// placeText returns the position of a result from its headers, unchecked.
func placeText(h nats.Header) string { return h.Get(headerGeneration) + ":" + h.Get(headerPosition) }

// readResult parses the headers of a result of another app. It ignores Ef-Kind: a row that
// expired there is an event here.
func (l *messageHeaders) readResult(m *nats.Msg) (p result.Position, err error) {
	h := m.Header
	if p, err = result.Parse(placeText(h)); err != nil {
		return p, fmt.Errorf("headers %s and %s: %w", headerGeneration, headerPosition, err)
	}
	if text := h.Get(headerTimestamp); text != "" {
		if l.ts, err = parseTimestamp(text); err != nil {
			return p, err
		}
		l.timed = true
	}
	l.id, l.trace = result.ID(m.Subject, p), trace(h)
	return p, nil
}
