package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Multipart is a Bucket that takes and gives large objects in parts. A part that fails is
// repeated alone, and several are on the way at once.
type Multipart interface {
	Bucket
	// PutPart keeps a part for a later Join. All ids of an object have the same length.
	PutPart(ctx context.Context, key, id string, part []byte) error
	// Join makes parts, in their order, the object if the condition holds. Nothing of it can
	// be seen before, and then all of it.
	Join(ctx context.Context, key string, ids []string, only Condition) (version string, err error)
}

const (
	partBytes = 8 << 20
	partsMax  = 4 // at once
	readTries = 5 // of an object that others replace while it is read
)

// writeMultipart writes an object of more than one part. The parts have names of their own: those
// of another writer are never mixed in.
func (s *Store) writeMultipart(ctx context.Context, to Multipart, key string, content []byte, only Condition) (w written, err error) {
	upload := rand.Text()
	var ids []string
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(partsMax)
	for from := 0; from < len(content); from += partBytes {
		id := fmt.Sprintf("%s-%05d", upload, len(ids))
		ids = append(ids, id)
		part := content[from:min(from+partBytes, len(content))]
		group.Go(func() error {
			return s.repeat(limited, "put", func(ctx context.Context) error {
				s.counts.sent.Add(float64(len(part)))
				return to.PutPart(ctx, key, id, part)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return w, err
	}
	tries := 0
	err = s.repeat(ctx, "put", func(ctx context.Context) (err error) {
		tries++
		w.version, err = to.Join(ctx, key, ids, only)
		return err
	})
	w.repeated = tries > 1
	return w, err
}

// readMultipart reads an object. Most have one part.
func (s *Store) readMultipart(ctx context.Context, from Multipart, key string) (content []byte, at Info, err error) {
	for range readTries {
		if content, at, err = s.readVersion(ctx, from, key); kindOf(err) != Unmet {
			return content, at, err
		}
	}
	return nil, Info{}, &Error{Kind: Passing, Err: errors.New("the object was replaced each time while it was read")}
}

func (s *Store) readVersion(ctx context.Context, from Multipart, key string) (content []byte, at Info, err error) {
	part := func(ctx context.Context, version string, offset int64) (part []byte, at Info, err error) {
		err = s.repeat(ctx, "get", func(ctx context.Context) (err error) {
			part, at, err = from.GetPart(ctx, key, version, offset, partBytes)
			s.counts.received.Add(float64(len(part)))
			return err
		})
		return part, at, err
	}
	first, at, err := part(ctx, "", 0)
	if err != nil || int64(len(first)) == at.Bytes {
		return first, at, err
	}
	if at.Bytes > contentBytesMax || at.Bytes < partBytes || len(first) != partBytes {
		return nil, Info{}, &Error{Err: fmt.Errorf("%d bytes of an object of %d bytes, limit %d", len(first), at.Bytes, contentBytesMax)}
	}
	content = make([]byte, at.Bytes)
	copy(content, first)
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(partsMax)
	for offset := int64(partBytes); offset < at.Bytes; offset += partBytes {
		group.Go(func() error {
			got, _, err := part(limited, at.Version, offset)
			if want := min(partBytes, at.Bytes-offset); err == nil && int64(len(got)) != want {
				err = &Error{Err: fmt.Errorf("%d bytes at %d, want %d", len(got), offset, want)}
			}
			copy(content[offset:], got)
			return err
		})
	}
	return content, at, group.Wait()
}
