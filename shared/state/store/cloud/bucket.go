package cloud

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Bucket is a bucket of a provider, or a part of one with a common prefix. Keys are without
// the prefix. Its methods may be called concurrently. Each call is one request, which is not
// repeated. They return an *Error for what the caller can tell apart.
type Bucket interface {
	// Name names the bucket for people.
	Name() string
	// Put writes an object if the condition holds. It is durable on return.
	Put(ctx context.Context, key string, content []byte, only Condition) (version string, err error)
	Get(ctx context.Context, key string) (content []byte, at Info, err error)
	// GetPart returns at most size bytes from an offset, of that version if one is given.
	// Info describes the whole object.
	GetPart(ctx context.Context, key, version string, from, size int64) (part []byte, of Info, err error)
	Stat(ctx context.Context, key string) (Info, error)
	// List returns a page of the objects whose key starts with prefix. next is empty after
	// the last page.
	List(ctx context.Context, prefix, page string) (objects []Info, next string, err error)
	// Delete removes an object if it has that version; in any case if version is empty.
	Delete(ctx context.Context, key, version string) error
	Close() error
}

// Condition says when a put writes. The zero Condition imposes no condition.
type Condition struct {
	Absent  bool   // only if no object has the key
	Version string // only if the object has that version
}

// Info describes an object.
type Info struct {
	Key     string
	Bytes   int64
	Version string // changes with each write of other content
	Written time.Time
}

// Kind says what the caller can do about a request that failed.
type Kind int

// The kinds of errors.
const (
	// Permanent is an error that stays if the request is repeated.
	Permanent Kind = iota
	// Passing is an error that may be gone when the request is repeated.
	Passing
	// Missing says that no object has the key.
	Missing
	// Unmet says that the condition does not hold.
	Unmet
	// Full says that the bucket takes no more.
	Full
	// Beyond says that the object ends before the part that was asked for.
	Beyond
)

// Error is an error of a request.
type Error struct {
	Kind Kind
	Hint string // what it means and what to do about it; may be empty
	Err  error
}

// Error implements error.
func (e *Error) Error() string {
	if e.Hint == "" {
		return e.Err.Error()
	}
	return e.Hint + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// kindOf returns the kind of an error.
func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Permanent
}

// contentBytesMax is the limit of what is in a bucket under a key.
const contentBytesMax = store.ObjectBytesMax + int64(tagBytes)

// ReadAll reads the content of an answer, which has that many bytes, and closes it.
func ReadAll(from io.ReadCloser, size int64) ([]byte, error) {
	if size < 0 || size > contentBytesMax {
		return nil, errors.Join(&Error{Err: fmt.Errorf("an object of %d bytes, limit %d", size, contentBytesMax)}, from.Close())
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(from, content); err != nil {
		return nil, errors.Join(&Error{Kind: Passing, Err: fmt.Errorf("read the answer: %w", err)}, from.Close())
	}
	return content, from.Close()
}

// PartOf returns the part of an answer to GetPart, and the size of the whole object. contentRange is
// the header of the answer; it is empty if the server has sent the whole object.
func PartOf(content []byte, contentRange string, from, size int64) (part []byte, total int64, err error) {
	if contentRange == "" {
		total = int64(len(content))
		if from >= total && total > 0 {
			return nil, 0, &Error{Kind: Beyond, Err: fmt.Errorf("the object ends at %d", total)}
		}
		return content[from:min(from+size, total)], total, nil
	}
	var first, last int64
	_, err = fmt.Sscanf(contentRange, "bytes %d-%d/%d", &first, &last, &total)
	if n := int64(len(content)); err != nil || first != from || last-first+1 != n || n > size {
		return nil, 0, &Error{Err: fmt.Errorf("%d bytes from %d were asked for, and the answer has %q and %d bytes", size, from, contentRange, n)}
	}
	return content, total, nil
}
