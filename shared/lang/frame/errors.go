package frame

import (
	"errors"
	"fmt"
)

// What a caller can do about a frame that does not decode or encode.
var (
	// ErrCorrupt is matched by every *CorruptError. Reading again does not help: stop, and
	// restore from an undamaged log or checkpoint.
	ErrCorrupt = errors.New("corrupt frame")
	// ErrTorn is a frame that was cut off, or zeros where a file was extended
	// before a crash. It is corrupt as well.
	ErrTorn = errors.New("torn frame")
	// ErrVersion is a frame that is undamaged but says something that this version does not
	// know. Run the version that wrote it, or a newer one.
	ErrVersion = errors.New("frame of a newer version")
	// ErrTooLarge is returned by Append for a frame that exceeds a limit of the format.
	// Spread the rows over several frames; refuse a single event that is too large.
	ErrTooLarge = errors.New("frame too large")
	// ErrInvalid is returned by Append for a frame that contradicts itself. It is
	// a bug of the caller.
	ErrInvalid = errors.New("invalid frame")
)

// CorruptError says what is wrong with a frame, and where.
type CorruptError struct {
	What string // what was found, and what was expected
	// Offset is a position in the encoded frame or, with InPayload, in its payload
	// after decompression.
	Offset    int
	InPayload bool
	Torn      bool // the end is missing, or is zeros
}

// Error names the damage and the position.
func (e *CorruptError) Error() string {
	what, where := ErrCorrupt, "byte"
	if e.Torn {
		what = ErrTorn
	}
	if e.InPayload {
		where = "byte of the payload"
	}
	return fmt.Sprintf("%v: %s (at %s %d)", what, e.What, where, e.Offset)
}

// Is makes the error match ErrCorrupt, and ErrTorn if the frame is torn.
func (e *CorruptError) Is(target error) bool {
	return target == ErrCorrupt || e.Torn && target == ErrTorn
}

func corrupt(offset int, format string, args ...any) error {
	return &CorruptError{What: fmt.Sprintf(format, args...), Offset: offset}
}

func torn(offset int, format string, args ...any) error {
	return &CorruptError{What: fmt.Sprintf(format, args...), Offset: offset, Torn: true}
}
