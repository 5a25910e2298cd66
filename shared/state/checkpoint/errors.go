package checkpoint

import (
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// What a caller can do about a checkpoint that does not load.
var (
	// ErrCorrupt is what every *CorruptError is. Do not retry: use an older checkpoint.
	ErrCorrupt = errors.New("corrupt checkpoint")
	// ErrVersion is returned for an object of a newer format. It is whole: read it with
	// the version that wrote it or a newer one.
	ErrVersion = errors.New("checkpoint of a newer version")
	// ErrDigest is matched by a *CorruptError if every byte is as it was written, but the
	// resulting state is wrong.
	ErrDigest = errors.New("digest differs")
)

// CorruptError says which object is damaged, where, and how.
type CorruptError struct {
	Object string // name in the store
	What   string // what was found, and what was expected
	Offset int    // position in the object; -1: the whole object
	digest bool
}

// Error names the object, the damage and the position.
func (e *CorruptError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%v: %s: %s", ErrCorrupt, e.Object, e.What)
	}
	return fmt.Sprintf("%v: %s: %s (at byte %d)", ErrCorrupt, e.Object, e.What, e.Offset)
}

// Is makes the error match ErrCorrupt, and ErrDigest if it is one.
func (e *CorruptError) Is(target error) bool {
	return target == ErrCorrupt || target == ErrDigest && e.digest
}

func corrupt(object string, offset int, format string, args ...any) error {
	return &CorruptError{Object: object, What: fmt.Sprintf(format, args...), Offset: offset}
}

// corruption turns an error of a reader of an object's bytes into one that names the object.
func corruption(object string, err error) error {
	if at, ok := err.(*wire.Error); ok {
		return &CorruptError{Object: object, What: at.What, Offset: at.Offset}
	}
	return err
}
