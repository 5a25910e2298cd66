package store_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// Data goes first, by Put. The manifest that refers to it goes last, by Commit, which refuses a
// leader that a newer one has replaced.
func ExampleStore() {
	ctx := context.Background()
	var s store.Store = memory.New()

	fmt.Println("put:", s.Put(ctx, "runs/1f", []byte("entries")))
	fmt.Println("put again:", errors.Is(s.Put(ctx, "runs/1f", []byte("entries")), store.ErrExists))

	commit := store.Commit{
		App: "flights", Term: 2, Epoch: 7, Name: "apps/flights/manifests/7",
		Manifest: []byte("refers to runs/1f"), Objects: []string{"runs/1f"},
	}
	fmt.Println("commit:", s.Commit(ctx, commit))

	commit.Term, commit.Epoch, commit.Name = 1, 8, "apps/flights/manifests/8"
	fmt.Println("commit of a former leader:", errors.Is(s.Commit(ctx, commit), store.ErrFenced))

	head, err := s.Head(ctx, "flights")
	fmt.Println("head:", head.Term, head.Epoch, head.Name, err)
	// Output:
	// put: <nil>
	// put again: true
	// commit: <nil>
	// commit of a former leader: true
	// head: 2 7 apps/flights/manifests/7 <nil>
}
