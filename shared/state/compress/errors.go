package compress

import (
	"errors"
	"fmt"
)

// ErrVersion is returned for an envelope that is undamaged, but says something that this
// version does not know. Run the version that wrote it, or a newer one.
var ErrVersion = errors.New("envelope of a newer version")

// CorruptError says what is wrong with an envelope, and where. It is an ErrCorrupt.
type CorruptError struct {
	What   string // what was found, and what was expected
	Offset int    // position in the sealed bytes
}

// Error names the damage and the position.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("corrupt envelope: %s (at byte %d)", e.What, e.Offset)
}

// Is makes the error an ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(offset int, format string, args ...any) error {
	return &CorruptError{What: fmt.Sprintf(format, args...), Offset: offset}
}
