package compress

import (
	"errors"
	"fmt"
)

// ErrVersion is returned for an envelope that is whole, but says something that
// this version does not know. Run the version that wrote it, or a newer one.
var ErrVersion = errors.New("envelope of a newer version")

// CorruptError says what is wrong with an envelope, and where. It is an ErrCorrupt.
type CorruptError struct {
	What   string // what was found, and what was to be expected
	Offset int    // position in the sealed bytes
}

// Error tells what and where.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt envelope: %s (at byte %d)", e.What, e.Offset)
}

// Is makes the error an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(offset int, format string, args ...any) error {
	return &CorruptError{What: fmt.Sprintf(format, args...), Offset: offset}
}
