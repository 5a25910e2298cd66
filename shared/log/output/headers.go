// Package output defines what a message of an app's output stream says besides its rows:
// the headers of results, and the fences between them. A Checker finds results that the
// stream has lost. docs/formats/output.md describes each byte; services/processor writes
// them.
package output

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
)

// Headers of results.
const (
	HeaderPosition   = "Ef-Position"
	HeaderKind       = "Ef-Kind"
	HeaderTimestamp  = "Ef-Timestamp"
	HeaderGeneration = "Ef-Generation"
	// HeaderVersion has the version of the app that made the result.
	HeaderVersion = "Ef-Version"
	// HeaderStream has the name of the result stream of a result whose subject the app has
	// chosen. Other results have it in their subject.
	HeaderStream = "Ef-Stream"
	// HeaderFormat has the format of a result that is not JSON.
	HeaderFormat = "Content-Type"
	// HeaderView says which view has written a value of a KV bucket. It starts with the name of
	// the app and a space.
	HeaderView = "Ef-View"
	// HeaderPrevious has the place of the result before, as Previous.
	HeaderPrevious = "Ef-Previous"
)

// StreamOf returns the result stream of a message of an output stream; false for a fence.
func StreamOf(subject string, h nats.Header) (name string, ok bool) {
	if name = h.Get(HeaderStream); name != "" {
		return name, true
	}
	rest, ok := strings.CutPrefix(subject, "out.")
	if !ok {
		return "", false
	}
	_, rest, _ = strings.Cut(rest, ".")
	name, rest, ok = strings.Cut(rest, ".")
	return name, ok && name != "" && !strings.Contains(rest, ".")
}

// Foreign reports whether a message of an output stream is neither a result nor a fence: others
// can publish on the subjects that an app has chosen for its results.
func Foreign(subject string, h nats.Header) bool {
	return !strings.HasPrefix(subject, "out.") && !strings.HasPrefix(subject, "ef.") && h.Get(HeaderPosition) == ""
}

// ReadPlace returns where a result stands. Its text came from a server, so anything may
// be in it.
func ReadPlace(h nats.Header) (result.Position, error) {
	return result.Parse(h.Get(HeaderGeneration) + ":" + h.Get(HeaderPosition))
}

// Previous says which results came before one: the newest on the same result stream, and
// the newest on any. A reader that has seen others has missed some. The zero place stands
// for none.
type Previous struct {
	Same, Any result.Position
}

// Append appends the value of HeaderPrevious: both places, or one if they are the same.
func (p Previous) Append(to []byte) []byte {
	to = appendPlace(to, p.Same)
	if p.Any != p.Same {
		to = appendPlace(append(to, ' '), p.Any)
	}
	return to
}

func appendPlace(to []byte, p result.Position) []byte {
	to = append(strconv.AppendUint(to, p.Generation, 10), ':')
	to = append(strconv.AppendUint(to, p.Seq, 10), '.')
	return strconv.AppendUint(to, p.Ordinal, 10)
}

// ParsePrevious reads what Append writes.
func ParsePrevious(text string) (p Previous, err error) {
	same, others, two := strings.Cut(text, " ")
	if p.Same, err = parsePlace(same); err != nil {
		return Previous{}, fmt.Errorf("header %s: %w", HeaderPrevious, err)
	}
	if p.Any = p.Same; !two {
		return p, nil
	}
	if p.Any, err = parsePlace(others); err != nil {
		return Previous{}, fmt.Errorf("header %s: %w", HeaderPrevious, err)
	}
	return p, nil
}

const none = "0:0.0"

func parsePlace(text string) (result.Position, error) {
	if text == none {
		return result.Position{}, nil
	}
	return result.Parse(text)
}
