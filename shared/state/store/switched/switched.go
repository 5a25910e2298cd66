// Package switched is a store whose backend is replaced while it is in use, when the cluster
// moves to another store. Package stores opens the backends; the checkpointer decides which
// one counts.
package switched

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Target is a store to use.
type Target struct {
	Number uint64 // of the switch; 0: the store that the process was started with
	URL    string
}

// Store uses the backend of its target. It opens the backend at the first operation after a
// switch; until that succeeds, operations fail, and none of them goes to the former backend.
type Store struct {
	open    func(ctx context.Context, url string) (store.Store, error)
	opening chan struct{} // has room for the one that opens

	mu      sync.Mutex
	target  Target
	current store.Store // nil until it is open
	failed  error       // the last attempt to open it
	retry   time.Time   // no attempt is made before
	former  []store.Store
}

// retryWait is the time between two attempts to open a backend. Operations that fail in between
// get the error of the last one.
const retryWait = time.Second

var _ store.Ranger = (*Store)(nil)

// Open returns a Store with an open backend of the target.
func Open(ctx context.Context, t Target, open func(ctx context.Context, url string) (store.Store, error)) (*Store, error) {
	s := &Store{open: open, opening: make(chan struct{}, 1), target: t}
	_, err := s.backend(ctx)
	return s, err
}

// Use makes the target the one to use, and reports whether it was another one before.
func (s *Store) Use(t Target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t == s.target {
		return false
	}
	if s.current != nil {
		s.former = append(s.former, s.current) // operations may still use it
	}
	s.target, s.current, s.failed, s.retry = t, nil, nil, time.Time{}
	return true
}

// Target returns the target in use.
func (s *Store) Target() Target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.target
}

// backend returns the backend of the target, and opens it if necessary.
func (s *Store) backend(ctx context.Context) (store.Store, error) {
	if b := s.Unwrap(); b != nil {
		return b, nil
	}
	select {
	case s.opening <- struct{}{}:
		defer func() { <-s.opening }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for {
		s.mu.Lock()
		t, current, failed, retry := s.target, s.current, s.failed, s.retry
		s.mu.Unlock()
		if current != nil || failed != nil && time.Now().Before(retry) {
			return current, failed
		}
		opened, err := s.open(ctx, t.URL)
		if err != nil && t.Number > 0 {
			err = fmt.Errorf("open the store that the cluster was switched to: %w", err)
		}
		s.mu.Lock()
		if s.target == t {
			s.current, s.failed, s.retry = opened, err, time.Now().Add(retryWait)
			s.mu.Unlock()
			return opened, err
		}
		if opened != nil {
			s.former = append(s.former, opened)
		}
		s.mu.Unlock()
	}
}

// Unwrap returns the backend in use; nil if it is not open yet.
func (s *Store) Unwrap() store.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	b, err := s.backend(ctx)
	if err != nil {
		return err
	}
	return b.Put(ctx, name, data)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	b, err := s.backend(ctx)
	if err != nil {
		return nil, err
	}
	return b.Get(ctx, name)
}

// GetRange implements store.Ranger.
func (s *Store) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	b, err := s.backend(ctx)
	if err != nil {
		return nil, err
	}
	return store.GetRange(ctx, b, name, offset, n)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	b, err := s.backend(ctx)
	if err != nil {
		return err
	}
	return b.List(ctx, prefix, visit)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	b, err := s.backend(ctx)
	if err != nil {
		return err
	}
	return b.Delete(ctx, name, since)
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	b, err := s.backend(ctx)
	if err != nil {
		return err
	}
	return b.Commit(ctx, c)
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	b, err := s.backend(ctx)
	if err != nil {
		return store.Head{}, err
	}
	return b.Head(ctx, app)
}

// Close closes all backends that were used.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, b := range append(s.former, s.current) {
		if b != nil {
			errs = append(errs, b.Close())
		}
	}
	s.former, s.current = nil, nil
	s.failed, s.retry = store.ErrInvalid, time.Now().Add(time.Hour)
	return errors.Join(errs...)
}
