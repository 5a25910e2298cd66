// Package registry keeps entries that other packages register by import, under names, as
// database/sql keeps its drivers.
package registry

import (
	"fmt"
	"slices"
	"sync"
)

// Table holds the entries of one kind. The zero value is not usable: make it with New.
type Table[T any] struct {
	kind    string
	mu      sync.RWMutex
	entries map[string]T
}

// New returns an empty table of a kind of thing, such as "window".
func New[T any](kind string) *Table[T] { return &Table[T]{kind: kind, entries: map[string]T{}} }

// Register adds an entry. It panics if the name is taken.
func (t *Table[T]) Register(name string, entry T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.entries[name]; taken {
		panic(fmt.Sprintf("%s %q is registered twice", t.kind, name))
	}
	t.entries[name] = entry
}

// Lookup returns the entry called name.
func (t *Table[T]) Lookup(name string) (T, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	entry, ok := t.entries[name]
	return entry, ok
}

// Names lists the names, sorted.
func (t *Table[T]) Names() []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	names := make([]string, 0, len(t.entries))
	for name := range t.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
