// Package result gives each result its position in the history of an app's partition.
package result

import (
	"fmt"
	"strconv"
	"strings"
)

// Position identifies a result of one partition forever. Positions of one subject grow in
// the order of its stream. The zero value means none.
type Position struct {
	Generation, Seq, Ordinal uint64
}

// After reports whether p comes after o.
func (p Position) After(o Position) bool {
	switch {
	case p.Generation != o.Generation:
		return p.Generation > o.Generation
	case p.Seq != o.Seq:
		return p.Seq > o.Seq
	default:
		return p.Ordinal > o.Ordinal
	}
}

// String returns "generation:sequence.ordinal".
func (p Position) String() string {
	return fmt.Sprintf("%d:%d.%d", p.Generation, p.Seq, p.Ordinal)
}

// Parse reads what String writes.
func Parse(text string) (p Position, err error) {
	generation, position, _ := strings.Cut(text, ":")
	seq, ordinal, _ := strings.Cut(position, ".")
	for _, field := range []struct {
		to   *uint64
		text string
	}{{&p.Generation, generation}, {&p.Seq, seq}, {&p.Ordinal, ordinal}} {
		if *field.to, err = strconv.ParseUint(field.text, 10, 64); err != nil {
			return Position{}, fmt.Errorf("%.40q is not the place of a result, such as 1:17.0", text)
		}
	}
	if p.Generation == 0 || p.Seq == 0 {
		return Position{}, fmt.Errorf("%.40q is not the place of a result: generation and sequence start at 1", text)
	}
	return p, nil
}

// ID is the message id of a result in the log of an app that reads it from subject.
func ID(subject string, p Position) string { return subject + ":" + p.String() }

// ParseID reads what ID writes; false for ids of another form. A subject may contain
// colons.
func ParseID(id string) (subject string, p Position, ok bool) {
	end := strings.LastIndexByte(id, ':')
	if end < 0 {
		return "", Position{}, false
	}
	if end = strings.LastIndexByte(id[:end], ':'); end < 0 {
		return "", Position{}, false
	}
	p, err := Parse(id[end+1:])
	return id[:end], p, err == nil
}
