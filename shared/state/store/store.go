// Package store keeps the objects of checkpoints: bytes under a name, put once and never
// changed. Package checkpoint defines their content and which of them belong together; the
// checkpointer decides who may write.
//
// Data goes first, by Put, under names that identify it (the hash of its content). The
// manifest that makes it a checkpoint goes last, by Commit. Objects that no manifest refers
// to are garbage, which a sweep deletes.
//
// A backend is done when storetest.Run passes.
package store

import (
	"context"
	"errors"
	"time"
)

// What a caller can do about an operation that failed. Every other error means that the
// outcome is unknown. All operations are idempotent, so the caller may repeat them.
var (
	// ErrExists is returned by Put if an object with the name exists already. For data it
	// is not a failure, because the name identifies the content.
	ErrExists = errors.New("object exists")
	// ErrNotFound is returned if no object has the name.
	ErrNotFound = errors.New("object not found")
	// ErrFenced is returned by Commit when a newer term or epoch has written. Stop;
	// do not retry.
	ErrFenced = errors.New("fenced by a newer term or epoch")
	// ErrFull is returned if the backend has no space. Abort the epoch; what was put before
	// is intact.
	ErrFull = errors.New("store is full")
	// ErrInvalid is returned for names and sizes that no backend accepts. It is a bug of
	// the caller.
	ErrInvalid = errors.New("invalid use of store")
	// ErrLost is returned if the backend does not have what it was known to have, such as a
	// Redis that restarted without persistence.
	ErrLost = errors.New("store lost what was committed")
)

// ErrForeign is returned by Claim if the store belongs to another cluster.
var ErrForeign = errors.New("the store belongs to another cluster")

// Claimer is a Store that a mistake in a URL can give to two clusters.
type Claimer interface {
	// Claim gives the store to a cluster, unless another one has claimed it before.
	Claim(ctx context.Context, cluster string) error
}

// As returns the T in a store that others may wrap, by a method Unwrap.
func As[T any](s Store) (T, bool) {
	for {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			var none T
			return none, false
		}
		s = w.Unwrap()
	}
}

// ObjectBytesMax is the limit of an object, in bytes.
const ObjectBytesMax = 64 << 20

// Object describes an object in a listing.
type Object struct {
	Name  string
	Bytes int64 // as given to Put
	// Used is when it was put, or put again; it may be seconds off.
	Used time.Time
}

// Commit makes a manifest the newest of its app.
type Commit struct {
	App string
	// Term is the leadership that commits, Epoch the checkpoint. The store keeps the
	// largest of both for each app. It refuses an older term, and an epoch that is not
	// newer, with ErrFenced. Epoch 0 commits nothing: it only raises the term, so that
	// earlier leaders are refused from then on.
	Term, Epoch uint64
	// Name and Manifest are put as Put does it. The name starts with apps/<App>/, so that a
	// backend can keep what it changes at once on one node.
	Name     string
	Manifest []byte
	// Replaces is the name of another manifest of the same epoch that this one replaces; ""
	// for a new epoch. With Replaces, the epoch may be any that the store has seen, and the
	// head goes from that name to this one, or stays if it has another. The term is checked
	// as always.
	Replaces string
	// Objects are the names of all data that the manifest refers to. From now on none of it
	// expires.
	Objects []string
}

// Head is what the store knows of an app's newest commit.
type Head struct {
	Term  uint64 `json:"term"`
	Epoch uint64 `json:"epoch"`    // 0: nothing was committed
	Name  string `json:"manifest"` // of the manifest
}

// Store is a backend. Its methods may be called concurrently, also from several processes.
// CheckName checks names.
type Store interface {
	// Put stores data under a name. It is durable on return. If the name exists, its object
	// stays and counts as used now, and Put returns ErrExists.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns the object of a name; the caller owns the bytes.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls visit with each object whose name starts with the prefix, in any order,
	// until visit returns an error, which List returns.
	List(ctx context.Context, prefix string, visit func(Object) error) error
	// Delete removes an object unless it was used since. In that case, and if there is no
	// object, it returns no error. A zero time removes the object in any case.
	Delete(ctx context.Context, name string, since time.Time) error
	// Commit puts a manifest and makes it the head of its app, both or none. Repeating a
	// commit is no error. It is durable on return.
	Commit(ctx context.Context, c Commit) error
	// Head returns the newest commit of an app; the zero Head if there is none.
	Head(ctx context.Context, app string) (Head, error)
	// Close releases the store's resources.
	Close() error
}
