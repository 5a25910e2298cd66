package state

import (
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// CompressState returns data in an envelope that says how it is compressed, and that is at
// most compress.OverheadMax longer. It fails for more than compress.RawBytesMax bytes, and
// for a codec that does not exist.
func CompressState(data []byte, choice compress.Choice) ([]byte, error) {
	if len(data) > compress.RawBytesMax {
		return nil, fmt.Errorf("%w: state of %d bytes, compressed as one block are at most %d; divide it",
			ErrInvalid, len(data), compress.RawBytesMax)
	}
	if choice.Codec != compress.Auto && !choice.Codec.Valid() {
		return nil, fmt.Errorf("%w: %s does not exist", ErrInvalid, choice.Codec)
	}
	return compress.Seal(nil, data, choice), nil
}

// DecompressState returns what CompressState was given. It fails with a *CorruptError,
// which does not name the component, or with an ErrVersion.
func DecompressState(sealed []byte) ([]byte, error) {
	data, err := compress.Open(nil, sealed, compress.RawBytesMax)
	var wrong *compress.CorruptError
	switch {
	case errors.As(err, &wrong):
		return nil, &CorruptError{What: wrong.What, Offset: wrong.Offset}
	case errors.Is(err, compress.ErrVersion):
		return nil, fmt.Errorf("%w: %w", ErrVersion, err)
	}
	return data, err
}
