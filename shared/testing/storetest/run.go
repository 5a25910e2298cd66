// Package storetest holds the tests that every backend of shared/state/store must pass.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Run tests a backend. open opens the same store each time within one test: what was
// durable before is there again.
func Run(t *testing.T, open func(t *testing.T) func() store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, func() store.Store)
	}{
		{"PutGet", putGet},
		{"GetRange", getRange},
		{"PutIfAbsent", putIfAbsent},
		{"List", list},
		{"Delete", remove},
		{"Commit", commit},
		{"CommitRace", commitRace},
		{"Fence", fence},
		{"Replace", replace},
		{"Invalid", invalid},
		{"Cancelled", cancelled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func putGet(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	large := bytes.Repeat([]byte("0123456789abcdef"), 5<<16) // more than one piece, wherever it is cut
	for name, data := range map[string][]byte{"a": {0}, "blocks/b": large, "apps/my'app/c": []byte("x")} {
		must(t, s.Put(ctx, name, data))
		for _, from := range []store.Store{s, open()} {
			got, err := from.Get(ctx, name)
			must(t, err)
			if !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, put were %d", name, len(got), len(data))
			}
		}
	}
	_, err := s.Get(ctx, "b")
	wantErr(t, "get what is not there", err, store.ErrNotFound)
}

// getRange reads parts of a small and of a large object, up to their ends and beyond.
func getRange(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	large := make([]byte, 2<<20+5)
	for i := range large {
		large[i] = byte(i ^ i>>8 ^ i>>16)
	}
	for name, data := range map[string][]byte{"packs/a": []byte("0123456789"), "packs/b": large} {
		must(t, s.Put(ctx, name, data))
		size := int64(len(data))
		for _, r := range [][2]int64{{0, 1}, {0, size}, {3, 4}, {size - 1, 1}, {size - 3, 100}, {size / 2, size}, {size, 1}, {size + 1, 1}, {size + 1000, 10}, {0, store.ObjectBytesMax}} {
			got, err := store.GetRange(ctx, open(), name, r[0], r[1])
			must(t, err)
			if want := data[min(r[0], size):min(r[0]+r[1], size)]; !bytes.Equal(got, want) {
				t.Errorf("%d bytes from %d of %s, which has %d: got %d bytes", r[1], r[0], name, size, len(got))
			}
		}
		for _, r := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}, {store.ObjectBytesMax + 1, 1}, {0, store.ObjectBytesMax + 1}} {
			_, err := store.GetRange(ctx, s, name, r[0], r[1])
			wantErr(t, fmt.Sprint("range ", r), err, store.ErrInvalid)
		}
	}
	_, err := store.GetRange(ctx, s, "packs/c", 0, 1)
	wantErr(t, "a range of what is not there", err, store.ErrNotFound)
	_, err = store.GetRange(ctx, s, "packs/../c", 0, 1)
	wantErr(t, "a range of no name", err, store.ErrInvalid)
}

func putIfAbsent(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	const writers = 20
	outcomes := make([]error, writers)
	var group sync.WaitGroup
	for i := range outcomes {
		group.Go(func() { outcomes[i] = s.Put(ctx, "blocks/x", fmt.Appendf(nil, "of %d", i)) })
	}
	group.Wait()
	winner := slices.Index(outcomes, nil)
	if winner < 0 {
		t.Fatalf("no one could put: %v", outcomes[0])
	}
	for i, err := range outcomes {
		if i != winner {
			wantErr(t, "put what is there", err, store.ErrExists)
		}
	}
	got, err := s.Get(ctx, "blocks/x")
	must(t, err)
	if want := fmt.Sprintf("of %d", winner); string(got) != want {
		t.Errorf("%q is there, %q was put", got, want)
	}
}

func list(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	begun := time.Now()
	for i := range 30 {
		must(t, s.Put(ctx, fmt.Sprintf("%s/%064d", []string{"runs", "blocks"}[i%2], i), make([]byte, i+1)))
	}
	for prefix, want := range map[string]int{"": 30, "runs/": 15, "blocks/": 15, "runs/" + fmt.Sprintf("%063d", 1): 5, "none": 0} {
		n := 0
		must(t, open().List(ctx, prefix, func(o store.Object) error {
			n++
			var number int
			_, err := fmt.Sscanf(o.Name[len(o.Name)-64:], "%d", &number)
			if err != nil || o.Bytes != int64(number+1) || o.Used.Before(begun.Add(-5*time.Second)) || o.Used.After(time.Now().Add(5*time.Second)) {
				t.Errorf("%+v (%v)", o, err)
			}
			return nil
		}))
		if n != want {
			t.Errorf("%d objects start with %q, want %d", n, prefix, want)
		}
	}
	stop := errors.New("enough")
	wantErr(t, "a list that is broken off", s.List(ctx, "", func(store.Object) error { return stop }), stop)
}

func remove(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	must(t, s.Delete(ctx, "nothing", time.Time{}))
	must(t, s.Put(ctx, "a", []byte("1")))
	must(t, s.Delete(ctx, "a", time.Now().Add(-time.Hour)))
	wantErr(t, "put what was used since, and so not deleted", s.Put(ctx, "a", []byte("2")), store.ErrExists)
	must(t, s.Delete(ctx, "a", time.Now().Add(time.Hour)))
	_, err := open().Get(ctx, "a")
	wantErr(t, "get what was deleted", err, store.ErrNotFound)
	must(t, s.Put(ctx, "a", []byte("3")))
	must(t, s.Delete(ctx, "a", time.Time{}))
	_, err = s.Get(ctx, "a")
	wantErr(t, "get what was deleted", err, store.ErrNotFound)
}

func manifest(app string, term, epoch uint64) store.Commit {
	return store.Commit{
		App: app, Term: term, Epoch: epoch, Name: fmt.Sprintf("apps/%s/%d", app, epoch),
		Manifest: fmt.Appendf(nil, "epoch %d", epoch),
	}
}

func wantHead(t *testing.T, s store.Store, app string, want store.Head) {
	t.Helper()
	got, err := s.Head(within(t), app)
	must(t, err)
	if got != want {
		t.Errorf("head of %s is %+v, want %+v", app, got, want)
	}
}

func commit(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	wantHead(t, s, "a", store.Head{})
	must(t, s.Put(ctx, "blocks/x", []byte("data")))
	first := manifest("a", 3, 5)
	first.Objects = []string{"blocks/x"}
	must(t, s.Commit(ctx, first))
	must(t, open().Commit(ctx, first)) // again
	wantHead(t, open(), "a", store.Head{Term: 3, Epoch: 5, Name: "apps/a/5"})
	got, err := s.Get(ctx, "apps/a/5")
	must(t, err)
	if string(got) != "epoch 5" {
		t.Errorf("manifest %q", got)
	}
	other := manifest("a", 3, 5)
	other.Name = "apps/a/other"
	wantErr(t, "another commit of the epoch", s.Commit(ctx, other), store.ErrFenced)
	wantErr(t, "an older epoch", s.Commit(ctx, manifest("a", 3, 4)), store.ErrFenced)
	wantErr(t, "an older term", s.Commit(ctx, manifest("a", 2, 6)), store.ErrFenced)
	for _, name := range []string{"apps/a/4", "apps/a/6", "apps/a/other"} {
		_, err := s.Get(ctx, name)
		wantErr(t, "the manifest of a refused commit", err, store.ErrNotFound)
	}
	must(t, s.Commit(ctx, manifest("b", 1, 1))) // another app knows nothing of it
	must(t, s.Commit(ctx, manifest("a", 4, 9)))
	wantHead(t, open(), "a", store.Head{Term: 4, Epoch: 9, Name: "apps/a/9"})
	wantHead(t, open(), "b", store.Head{Term: 1, Epoch: 1, Name: "apps/b/1"})
}

// Of commits of the same epoch by several terms, the store takes one of each term at
// the most, and the head never goes back.
func commitRace(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	const writers = 16
	outcomes := make([]error, writers)
	var group sync.WaitGroup
	for i := range outcomes {
		group.Go(func() {
			c := manifest("a", 1, 7)
			c.Name = fmt.Sprintf("apps/a/7-%d", i)
			outcomes[i] = s.Commit(ctx, c)
		})
	}
	group.Wait()
	won := 0
	for i, err := range outcomes {
		if err == nil {
			won++
			wantHead(t, s, "a", store.Head{Term: 1, Epoch: 7, Name: fmt.Sprintf("apps/a/7-%d", i)})
			continue
		}
		wantErr(t, "the commit of another", err, store.ErrFenced)
	}
	if won != 1 {
		t.Errorf("%d commits of one epoch went through", won)
	}
}

func fence(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	must(t, s.Commit(ctx, manifest("a", 3, 5)))
	must(t, s.Commit(ctx, store.Commit{App: "a", Term: 4}))
	wantHead(t, open(), "a", store.Head{Term: 4, Epoch: 5, Name: "apps/a/5"})
	wantErr(t, "a commit of the former leader", s.Commit(ctx, manifest("a", 3, 6)), store.ErrFenced)
	wantErr(t, "a fence of the former leader", s.Commit(ctx, store.Commit{App: "a", Term: 3}), store.ErrFenced)
	must(t, s.Commit(ctx, store.Commit{App: "a", Term: 4}))
	must(t, s.Commit(ctx, manifest("a", 4, 6)))
}

// A manifest replaces another of its epoch, the newest or an older one.
func replace(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	must(t, s.Commit(ctx, manifest("a", 2, 5)))
	must(t, s.Commit(ctx, manifest("a", 2, 6)))
	must(t, s.Put(ctx, "blocks/x", []byte("data")))
	swap := func(term, epoch uint64, name, replaces string) store.Commit {
		return store.Commit{
			App: "a", Term: term, Epoch: epoch, Name: "apps/a/" + name, Manifest: []byte("merged " + name),
			Objects: []string{"blocks/x"}, Replaces: "apps/a/" + replaces,
		}
	}
	there := func(name string, want error) {
		t.Helper()
		got, err := open().Get(ctx, "apps/a/"+name)
		wantErr(t, "get "+name, err, want)
		if err == nil && string(got) != "merged "+name {
			t.Errorf("%s holds %q", name, got)
		}
	}
	for range 2 { // again is no error
		must(t, open().Commit(ctx, swap(2, 6, "6-m", "6")))
		wantHead(t, open(), "a", store.Head{Term: 2, Epoch: 6, Name: "apps/a/6-m"})
	}
	for range 2 { // an older one leaves the head alone
		must(t, open().Commit(ctx, swap(2, 5, "5-m", "5")))
		wantHead(t, open(), "a", store.Head{Term: 2, Epoch: 6, Name: "apps/a/6-m"})
	}
	there("6-m", nil)
	there("5-m", nil)
	must(t, s.Commit(ctx, swap(2, 6, "6-other", "6"))) // 6 is not the head any more
	wantHead(t, open(), "a", store.Head{Term: 2, Epoch: 6, Name: "apps/a/6-m"})
	must(t, s.Commit(ctx, swap(3, 6, "6-n", "6-m"))) // a newer term is noted
	wantHead(t, open(), "a", store.Head{Term: 3, Epoch: 6, Name: "apps/a/6-n"})
	wantErr(t, "a swap of the former leader", s.Commit(ctx, swap(2, 6, "6-p", "6-n")), store.ErrFenced)
	wantErr(t, "a swap of an epoch that is not there yet", s.Commit(ctx, swap(3, 7, "7-m", "7")), store.ErrFenced)
	there("6-p", store.ErrNotFound)
	there("7-m", store.ErrNotFound)
	wantErr(t, "a commit under another name", s.Commit(ctx, manifest("a", 3, 6)), store.ErrFenced)
	changed := swap(3, 5, "5-m", "5")
	changed.Manifest = []byte("something else")
	if err := s.Commit(ctx, changed); err == nil {
		t.Error("another content under the name of a manifest was taken")
	}
	there("5-m", nil)
	must(t, s.Commit(ctx, manifest("a", 3, 7)))
	wantHead(t, open(), "a", store.Head{Term: 3, Epoch: 7, Name: "apps/a/7"})
}

func invalid(t *testing.T, open func() store.Store) {
	s, ctx := open(), within(t)
	for _, name := range []string{"", "/a", "a/", "a//b", ".a", "a/../b", "a b", `a\b`, "ä", string(make([]byte, 600))} {
		wantErr(t, fmt.Sprintf("put %q", name), s.Put(ctx, name, []byte("x")), store.ErrInvalid)
		_, err := s.Get(ctx, name)
		wantErr(t, fmt.Sprintf("get %q", name), err, store.ErrInvalid)
		wantErr(t, fmt.Sprintf("delete %q", name), s.Delete(ctx, name, time.Time{}), store.ErrInvalid)
	}
	wantErr(t, "put nothing", s.Put(ctx, "a", nil), store.ErrInvalid)
	wantErr(t, "put too much", s.Put(ctx, "a", make([]byte, store.ObjectBytesMax+1)), store.ErrInvalid)
	wantErr(t, "commit without an app", s.Commit(ctx, manifest("", 1, 1)), store.ErrInvalid)
	wantErr(t, "commit without a term", s.Commit(ctx, manifest("a", 0, 1)), store.ErrInvalid)
	wantErr(t, "commit of a part of an app", s.Commit(ctx, manifest("a/b", 1, 1)), store.ErrInvalid)
	wantErr(t, "a fence of no app", s.Commit(ctx, store.Commit{App: ".a", Term: 1}), store.ErrInvalid)
	_, err := s.Head(ctx, "a/b")
	wantErr(t, "head of a part of an app", err, store.ErrInvalid)
	foreign := manifest("a", 1, 1)
	foreign.Name = "apps/b/1"
	wantErr(t, "commit of another app's manifest", s.Commit(ctx, foreign), store.ErrInvalid)
	wantErr(t, "a fence with a manifest", s.Commit(ctx, manifest("a", 1, 0)), store.ErrInvalid)
	itself := manifest("a", 1, 1)
	itself.Replaces = itself.Name
	wantErr(t, "a manifest that replaces itself", s.Commit(ctx, itself), store.ErrInvalid)
}

func cancelled(t *testing.T, open func() store.Store) {
	s := open()
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	wantErr(t, "put", s.Put(ctx, "a", []byte("x")), context.Canceled)
	_, err := s.Get(ctx, "a")
	wantErr(t, "get", err, context.Canceled)
	wantErr(t, "commit", s.Commit(ctx, manifest("a", 1, 1)), context.Canceled)
	wantErr(t, "delete", s.Delete(ctx, "a", time.Time{}), context.Canceled)
	_, err = s.Get(within(t), "a")
	wantErr(t, "get after a put that was cancelled", err, store.ErrNotFound)
}
