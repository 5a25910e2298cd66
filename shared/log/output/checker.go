package output

import (
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
)

// Checker finds results that are missing among those that a reader gets in the order of
// the output stream, from all of its subjects or from one. Results at the front may have
// been trimmed: the first one of a subject is taken as it comes, unless Seen says what was
// before, or Untrimmed that all is there. Results without HeaderPrevious, which releases before 1.0 have written, are not
// checked. A Checker belongs to one goroutine. The zero value is ready for use.
type Checker struct {
	// Whole says that the reader gets the results of all subjects, and so finds that the
	// last one of a subject is missing at the next one of any.
	Whole bool
	// Untrimmed says that the stream still has all messages from where the reader starts:
	// from the first one ever, or from those on that Seen was told of.
	Untrimmed bool
	// Compactions is asked when results seem to be missing. It returns, by result stream, which
	// may have been removed on purpose, as ReadCompactions does. nil: none.
	Compactions func() (map[string]Compaction, error)

	of  map[string]seen // by result stream: the newest
	any result.Position // the newest of all; zero: it is not known
}

// seen is a result that a reader has had.
type seen struct {
	at  result.Position
	seq uint64 // in the output stream; 0: it is not known
}

// MissingError says that results are not in the output stream, or that the server cannot
// read them.
type MissingError struct {
	Subject string
	Stream  string          // of results; the subject, if it does not tell
	Next    result.Position // the result that was read
	Before  result.Position // which follows that one
	Seen    result.Position // and not this one, the newest that the reader has seen

	seq uint64 // of Next
}

func (e *MissingError) Error() string {
	newest := "the newest before it is " + e.Seen.String()
	if e.Seen == (result.Position{}) {
		newest = "none is before it"
	}
	return fmt.Sprintf("results are missing: %s on %s follows %s, and %s", e.Next, e.Subject, e.Before, newest)
}

// Seen says that the reader has had a result of a stream, such as by an earlier reading.
func (c *Checker) Seen(stream string, at result.Position) {
	c.put(stream, seen{at: at})
}

func (c *Checker) put(stream string, s seen) {
	if c.of == nil {
		c.of = map[string]seen{}
	}
	c.of[stream], c.any = s, s.at
}

// Pass says that the reader goes on after results that are missing.
func (c *Checker) Pass(missing *MissingError) {
	c.put(missing.Stream, seen{missing.Next, missing.seq})
}

// SeenLast says which result was the last of all.
func (c *Checker) SeenLast(at result.Position) { c.any = at }

// Next takes the next result, with its sequence in the output stream. It returns a
// *MissingError if some are missing before it; then the result was not seen. A result that
// comes again is fine.
func (c *Checker) Next(seq uint64, subject string, h nats.Header) error {
	if Foreign(subject, h) {
		return nil
	}
	at, err := ReadPlace(h)
	if err != nil {
		return fmt.Errorf("result on %s: %w", subject, err)
	}
	stream, ok := StreamOf(subject, h)
	if !ok {
		stream = subject
	}
	this := seen{at, seq}
	text := h.Get(HeaderPrevious)
	if text == "" {
		c.put(stream, this)
		return nil
	}
	previous, err := ParsePrevious(text)
	if err != nil {
		return fmt.Errorf("result %s on %s: %w", at, subject, err)
	}
	before, known := c.of[stream]
	switch {
	case known && !at.After(before.at):
		return nil
	case (known || c.Untrimmed) && before.at != previous.Same:
		err := &MissingError{subject, stream, at, previous.Same, before.at, seq}
		switch intended, asked := c.compacted(stream, before.seq); {
		case asked != nil:
			return fmt.Errorf("%w; whether they were removed on purpose is not known: %w", err, asked)
		case !intended:
			return err
		}
	case c.Whole && (c.Untrimmed || c.any != result.Position{}) && c.any != previous.Any:
		return &MissingError{subject, stream, at, previous.Any, c.any, seq}
	}
	c.put(stream, this)
	return nil
}

// compacted reports whether the result after one of a stream may have been removed on purpose.
func (c *Checker) compacted(stream string, after uint64) (bool, error) {
	if c.Compactions == nil {
		return false, nil
	}
	all, err := c.Compactions()
	return err == nil && after+1 < all[stream].Before, err
}
