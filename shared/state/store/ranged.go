package store

import (
	"context"
	"fmt"
)

// Ranger is a Store that reads a part of an object without the rest of it.
type Ranger interface {
	// GetRange returns n bytes of an object from an offset, or fewer if the object ends before.
	// It is none if the object ends at the offset or before. The caller owns the bytes.
	GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error)
}

// GetRange reads a part of an object, as Ranger says. If the store is no Ranger, it reads the
// whole object.
func GetRange(ctx context.Context, s Store, name string, offset, n int64) ([]byte, error) {
	if err := CheckRange(name, offset, n); err != nil {
		return nil, err
	}
	if r, ok := s.(Ranger); ok {
		return r.GetRange(ctx, name, offset, n)
	}
	data, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return Part(data, offset, n), nil
}

// CheckRange returns an ErrInvalid for a name or a range that no object has.
func CheckRange(name string, offset, n int64) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if offset < 0 || n < 1 || offset > ObjectBytesMax || n > ObjectBytesMax {
		return fmt.Errorf("%w: %d bytes from %d of %s, whose limit is %d", ErrInvalid, n, offset, name, ObjectBytesMax)
	}
	return nil
}

// Part returns n bytes of data from an offset, as far as there are any.
func Part(data []byte, offset, n int64) []byte {
	size := int64(len(data))
	from := min(offset, size)
	to := min(from+n, size)
	return data[from:to:to]
}
