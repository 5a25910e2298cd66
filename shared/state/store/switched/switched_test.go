package switched

import (
	"context"
	"errors"
	"testing"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

// backends are stores by URL. A URL that is not among them cannot be opened.
type backends map[string]*memory.Store

func (b backends) open(_ context.Context, url string) (store.Store, error) {
	if s := b[url]; s != nil {
		return s, nil
	}
	return nil, errors.New("no route to host")
}

// After a switch, operations go to the new store alone: if it cannot be opened, they fail, and
// the former store stays as it was.
func TestNothingGoesToTheFormerStore(t *testing.T) {
	ctx := t.Context()
	all := backends{"a": memory.New(), "b": memory.New()}
	s, err := Open(ctx, Target{URL: "a"}, all.open)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string) error { return s.Put(ctx, name, []byte("x")) }
	has := func(url, name string) bool {
		_, err := all[url].Get(ctx, name)
		return err == nil
	}
	if err := put("blocks/1"); err != nil || !has("a", "blocks/1") {
		t.Fatal(err)
	}
	if s.Use(Target{URL: "a"}) || !s.Use(Target{Number: 1, URL: "b"}) || s.Use(Target{Number: 1, URL: "b"}) {
		t.Error("Use does not report whether the target is another one")
	}
	if err := put("blocks/2"); err != nil || has("a", "blocks/2") || !has("b", "blocks/2") {
		t.Errorf("after the switch: %v", err)
	}
	s.Use(Target{Number: 2, URL: "away"})
	for range 2 {
		if err := put("blocks/3"); err == nil || err.Error() != "open the store that the cluster was switched to: no route to host" {
			t.Errorf("with a store that is away: %v", err)
		}
	}
	if has("a", "blocks/3") || has("b", "blocks/3") {
		t.Error("an object went to a former store")
	}
	s.Use(Target{Number: 3, URL: "a"})
	if err := put("blocks/3"); err != nil || !has("a", "blocks/3") {
		t.Errorf("after a switch back: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := put("blocks/4"); err == nil {
		t.Error("it was put after Close")
	}
}

// A store that was switched is a store like any other.
func TestSwitchedStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		all := backends{"a": memory.New(), "b": memory.New()}
		return func() store.Store {
			s, err := Open(t.Context(), Target{URL: "a"}, all.open)
			if err != nil {
				t.Fatal(err)
			}
			s.Use(Target{Number: 1, URL: "b"})
			return s
		}
	})
}
