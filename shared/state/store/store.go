// Package store keeps the objects of checkpoints: bytes under a name, put once and
// never changed. What is in them, and which of them belong together, is
// shared/state/checkpoint's business; who may write, the checkpointer's.
//
// Data goes first, by Put, under names that say what it is (the hash of its
// content). The manifest that makes it a checkpoint goes last, by Commit. What no
// manifest refers to is garbage, which a sweep deletes.
//
// A backend is done when storetest.Run passes.
package store

import (
	"context"
	"errors"
	"time"
)

// What a caller can do about an operation that failed. Every other error means that
// the outcome is unknown: the operation may be repeated, all of them are idempotent.
var (
	// ErrExists is returned by Put where there is something under the name already.
	// For data it is no failure: the name says what it is.
	ErrExists = errors.New("object exists")
	// ErrNotFound is returned for a name under which there is nothing.
	ErrNotFound = errors.New("object not found")
	// ErrFenced is returned by Commit when a newer term or epoch has written. Stop;
	// do not retry.
	ErrFenced = errors.New("fenced by a newer term or epoch")
	// ErrFull is returned where the backend has no space. Abort the epoch; what was
	// put before is whole.
	ErrFull = errors.New("store is full")
	// ErrInvalid is returned for names and sizes that no backend takes. It is a bug
	// of the caller.
	ErrInvalid = errors.New("invalid use of store")
	// ErrLost is returned where the backend does not have what it was known to have,
	// such as a Redis that restarted without persistence.
	ErrLost = errors.New("store lost what was committed")
)

// ObjectBytesMax is the limit of an object, in bytes.
const ObjectBytesMax = 64 << 20

// Object is what a listing tells of an object.
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
	// largest of both for each app, and refuses an older term, and an epoch that is
	// not newer, with ErrFenced. Epoch 0 commits nothing: it raises the term alone,
	// so that whoever led before is refused from then on.
	Term, Epoch uint64
	// Name and Manifest are put as Put does it. The name begins with apps/<App>/: a
	// backend keeps what it changes at once in one place.
	Name     string
	Manifest []byte
	// Replaces is the name of another manifest of the same epoch, in whose place this
	// one comes; "" for a new epoch. Then the epoch may be any that the store has seen,
	// and the head goes from that name to this one, or stays if it has another. The
	// term counts as always.
	Replaces string
	// Objects are the names of all data that the manifest refers to. From now on
	// none of it expires.
	Objects []string
}

// Head is what the store knows of an app's newest commit.
type Head struct {
	Term  uint64 `json:"term"`
	Epoch uint64 `json:"epoch"`    // 0: nothing was committed
	Name  string `json:"manifest"` // of the manifest
}

// Store is a backend. Its methods may be called concurrently, also from several
// processes. Names are checked by CheckName.
type Store interface {
	// Put stores data under a name. It is durable on return. Where there is something
	// under the name, that stays, counts as used now, and ErrExists is returned.
	Put(ctx context.Context, name string, data []byte) error
	// Get returns what is under a name; the bytes are the caller's.
	Get(ctx context.Context, name string) ([]byte, error)
	// List calls visit with each object whose name begins with the prefix, in any
	// order, until it returns an error, which List returns.
	List(ctx context.Context, prefix string, visit func(Object) error) error
	// Delete removes an object unless it was used since, which is no error. Nothing
	// under the name is no error either. A zero time removes it in any case.
	Delete(ctx context.Context, name string, since time.Time) error
	// Commit puts a manifest and makes it the head of its app, both or none. The same
	// commit again is no error. It is durable on return.
	Commit(ctx context.Context, c Commit) error
	// Head returns the newest commit of an app; the zero Head where there is none.
	Head(ctx context.Context, app string) (Head, error)
	// Close gives up what the store holds.
	Close() error
}
