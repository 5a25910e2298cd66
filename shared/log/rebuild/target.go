package rebuild

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Position is a position in a log: after an event of a frame. The zero value is the start of
// the log.
type Position struct {
	Sequence uint64 `json:"sequence"`
	// Event is the number of the last event in the frame, from 1; 0: all of the frame,
	// and what time that passes with it brings.
	Event uint64 `json:"event,omitempty"`
}

// Prefix marks the text of a log position. The position of a result looks alike
// otherwise, and counts other things: rows from 0, not events from 1.
const Prefix = "seq:"

// String returns "seq:17", or "seq:17.3" after the third event.
func (p Position) String() string {
	if p.Event == 0 {
		return Prefix + strconv.FormatUint(p.Sequence, 10)
	}
	return fmt.Sprintf("%s%d.%d", Prefix, p.Sequence, p.Event)
}

// ParsePosition reads what String writes. The prefix may be missing.
func ParsePosition(text string) (p Position, err error) {
	text = strings.TrimPrefix(text, Prefix)
	sequence, event, dotted := strings.Cut(text, ".")
	if p.Sequence, err = strconv.ParseUint(sequence, 10, 64); err == nil && dotted {
		p.Event, err = strconv.ParseUint(event, 10, 64)
		if p.Event == 0 {
			err = strconv.ErrRange
		}
	}
	if err != nil {
		return Position{}, fmt.Errorf("%.40q is no position in a log; write seq:17, or seq:17.3 for the third event of that frame", text)
	}
	return p, nil
}

// Compare orders positions: after a whole frame is later than after any of its events.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Sequence, o.Sequence), cmp.Compare(p.Event-1, o.Event-1)) // 0 is the largest
}

// Target is the position or instant where a replay ends, but never past the end of the log.
type Target struct {
	Position
	// Timed stops at the last moment when the task's clock is at most Time (ms), after the
	// timers that are due until then. Position does not matter then.
	Timed bool
	Time  int64
}

// String returns the place, or the instant in ms.
func (t Target) String() string {
	if t.Timed {
		return fmt.Sprintf("instant %d", t.Time)
	}
	return t.Position.String()
}
