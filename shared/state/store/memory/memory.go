// Package memory keeps objects in memory, for data read from a file and for tests: nothing
// outlives the process. Tests can make an operation fail.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Store is a store.Store in memory.
type Store struct {
	mu      sync.Mutex
	objects map[string]*object
	heads   map[string]store.Head
	fail    func(op, name string) error
}

type object struct {
	data []byte
	used time.Time
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]*object{}, heads: map[string]store.Head{}} }

// Fail makes operations fail from now on: fail is asked before each with its name (put,
// get, list, delete, commit, head) and the name of the object or the app. nil ends it.
func (s *Store) Fail(fail func(op, name string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// Alter changes the bytes of an object, as a broken disk does; if change returns nil, it
// drops the object.
func (s *Store) Alter(name string, change func([]byte) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects[name]
	if o == nil {
		return fmt.Errorf("%w: %s", store.ErrNotFound, name)
	}
	if o.data = change(bytes.Clone(o.data)); o.data == nil {
		delete(s.objects, name)
	}
	return nil
}

// begin locks the store for an operation, which must unlock it.
func (s *Store) begin(ctx context.Context, op, name string) error {
	s.mu.Lock()
	err := ctx.Err()
	if err == nil && s.fail != nil {
		err = s.fail(op, name)
	}
	if err != nil {
		s.mu.Unlock()
		return fmt.Errorf("%s %s: %w", op, name, err)
	}
	return nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := store.Check(name, data); err != nil {
		return err
	}
	if err := s.begin(ctx, "put", name); err != nil {
		return err
	}
	defer s.mu.Unlock()
	return s.put(name, data)
}

func (s *Store) put(name string, data []byte) error {
	if o := s.objects[name]; o != nil {
		o.used = time.Now()
		return fmt.Errorf("put %s: %w", name, store.ErrExists)
	}
	s.objects[name] = &object{bytes.Clone(data), time.Now()}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	if err := s.begin(ctx, "get", name); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	o := s.objects[name]
	if o == nil {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotFound)
	}
	return bytes.Clone(o.data), nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	if err := s.begin(ctx, "list", prefix); err != nil {
		return err
	}
	var found []store.Object
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			found = append(found, store.Object{Name: name, Bytes: int64(len(o.data)), Used: o.used})
		}
	}
	s.mu.Unlock()
	for _, o := range found {
		if err := visit(o); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if err := s.begin(ctx, "delete", name); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if o := s.objects[name]; o != nil && (since.IsZero() || o.used.Before(since)) {
		delete(s.objects, name)
	}
	return nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := s.begin(ctx, "commit", c.App); err != nil {
		return err
	}
	defer s.mu.Unlock()
	next, done, err := s.heads[c.App].Admit(&c)
	if err != nil || done {
		return err
	}
	if c.Epoch > 0 {
		if o := s.objects[c.Name]; o != nil && !bytes.Equal(o.data, c.Manifest) {
			return fmt.Errorf("commit %s: %w with another content", c.Name, store.ErrExists)
		}
		_ = s.put(c.Name, c.Manifest) // the same manifest may be there
	}
	s.heads[c.App] = next
	return nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	if err := store.CheckApp(app); err != nil {
		return store.Head{}, err
	}
	if err := s.begin(ctx, "head", app); err != nil {
		return store.Head{}, err
	}
	defer s.mu.Unlock()
	return s.heads[app], nil
}

// Close implements store.Store.
func (s *Store) Close() error { return nil }
