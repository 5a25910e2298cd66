package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
)

// Server is a server of a protocol that can do what the tests want.
type Server interface {
	URL(prefix string, parameters ...string) string
	Intercept(with func(http.Handler) http.Handler)
	Refuse(f Fault, which Which)
	LoseAnswers(which Which)
	// Vanish deletes the bucket with all that is in it, or makes it again.
	Vanish(gone bool)
	// Set writes an object as something else than EventFlux does.
	Set(key, content string)
	// Names returns the keys of all objects.
	Names() []string
}

// Kind is a kind of cloud store under test.
type Kind struct {
	Start func(t testing.TB) Server
	Open  func(t testing.TB, url string) (*cloud.Store, error)
	// Bucket is what people call a bucket.
	Bucket string
	// NoClock says that the clock of the client does not matter.
	NoClock bool
}

// Run tests that a kind of cloud store survives the faults of its server.
func Run(t *testing.T, k Kind) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, k *kindOf)
	}{
		{"PassingFaults", passingFaults},
		{"OpenWithLostAnswers", openWithLostAnswers},
		{"RepeatingEnds", repeatingEnds},
		{"Refusals", refusals},
		{"VanishedBucket", vanishedBucket},
		{"OvertakenCommit", overtakenCommit},
		{"PutDuringDeleteKeepsTheObject", putDuringDelete},
		{"DeleteDuringPut", deleteDuringPut},
		{"CutOffAnswers", cutOffAnswers},
		{"ForeignContent", foreignContent},
		{"ProbeLeavesNothing", probeLeavesNothing},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.run(t, &kindOf{Kind: k, server: k.Start(t)})
		})
	}
}

type kindOf struct {
	Kind
	server Server
}

// open opens the store with a prefix and parameters.
func (k *kindOf) open(t *testing.T, prefix string, parameters ...string) *cloud.Store {
	t.Helper()
	s, err := k.Open(t, k.server.URL(prefix, parameters...))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
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

func wantText(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q in it", what, err, text)
	}
}

func commitOf(term, epoch uint64) store.Commit {
	return store.Commit{
		App: "app", Term: term, Epoch: epoch, Name: fmt.Sprintf("apps/app/checkpoints/%d.json", epoch),
		Manifest: fmt.Appendf(nil, `{"epoch":%d}`, epoch),
	}
}

func wantHead(t *testing.T, s store.Store, term, epoch uint64) {
	t.Helper()
	h, err := s.Head(within(t), "app")
	must(t, err)
	if h.Term != term || h.Epoch != epoch {
		t.Errorf("the head is %+v, want term %d, epoch %d", h, term, epoch)
	}
}

// everything does one of each operation, each for the first time.
func everything(t *testing.T, s store.Store, n uint64) {
	t.Helper()
	name, data := fmt.Sprintf("blocks/%d", n), fmt.Appendf(nil, "data %d", n)
	must(t, s.Put(within(t), name, data))
	wantErr(t, "put again", s.Put(within(t), name, []byte("other")), store.ErrExists)
	got, err := s.Get(within(t), name)
	must(t, err)
	if string(got) != string(data) {
		t.Errorf("%s has %q, and %q was put", name, got, data)
	}
	if part, err := store.GetRange(within(t), s, name, 2, 3); err != nil || string(part) != "ta " {
		t.Errorf("a part of %s is %q, %v", name, part, err)
	}
	must(t, s.Commit(within(t), commitOf(n, n)))
	wantHead(t, s, n, n)
	must(t, s.Commit(within(t), commitOf(n, n)))
	must(t, s.Delete(within(t), name, time.Now().Add(time.Hour)))
	_, err = s.Get(within(t), name)
	wantErr(t, "get what was deleted", err, store.ErrNotFound)
	must(t, s.List(within(t), name, func(o store.Object) error { return fmt.Errorf("%s is listed", o.Name) }))
}

// Requests that are refused for a moment, or whose answer is lost, make no difference,
// whichever they are.
func passingFaults(t *testing.T, k *kindOf) {
	s := k.open(t, "x")
	n := uint64(0)
	for at := range int64(15) {
		for what, fault := range map[string]func(Which){
			"throttled": func(which Which) { k.server.Refuse(Busy, which) },
			"conflict":  func(which Which) { k.server.Refuse(Conflict, which) },
			"lost":      k.server.LoseAnswers,
		} {
			fault(Number(at))
			n++
			everything(t, s, n)
			if t.Failed() {
				t.Fatalf("request %d is %s", at, what)
			}
		}
	}
}

func openWithLostAnswers(t *testing.T, k *kindOf) {
	for at := range int64(14) {
		k.server.LoseAnswers(Number(at))
		if s, err := k.Open(t, k.server.URL(fmt.Sprintf("x%d", at))); err != nil {
			t.Errorf("the answer to request %d is lost: %v", at, err)
		} else {
			must(t, s.Close())
		}
	}
}

func repeatingEnds(t *testing.T, k *kindOf) {
	s := k.open(t, "x", "timeout=1s")
	k.server.Refuse(Busy, Always(""))
	wantText(t, "put", s.Put(within(t), "a", []byte("x")), "asks for fewer requests")
	ended := make(chan struct{})
	k.server.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		})
	})
	_, err := s.Get(within(t), "a")
	wantText(t, "get", err, "no answer within 1s")
	close(ended)
	ctx, cancel := context.WithCancel(within(t))
	k.server.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) })
	})
	wantErr(t, "put that is cancelled", s.Put(ctx, "a", []byte("x")), context.Canceled)
	k.server.Refuse(Full, func(r *http.Request) bool { return r.Method != http.MethodGet })
	wantErr(t, "put to a full bucket", s.Put(within(t), "a", []byte("x")), store.ErrFull)
}

// Credentials that have expired may be renewed while requests are repeated; those that lack
// a right, and a clock that is off, are reported at once.
func refusals(t *testing.T, k *kindOf) {
	s := k.open(t, "x", "timeout=10s")
	k.server.Refuse(Expired, First(1, ""))
	must(t, s.Put(within(t), "a", []byte("x")))
	for fault, want := range map[Fault]string{Denied: "docs/stores.md has the rights", Skewed: "set it right, by NTP"} {
		if fault == Skewed && k.NoClock {
			continue
		}
		requests := 0
		k.server.Refuse(fault, func(*http.Request) bool { requests++; return true })
		err := s.Put(within(t), "b", []byte("x"))
		wantText(t, "put", err, want)
		if requests != 1 {
			t.Errorf("%v: %d requests, want 1", err, requests)
		}
	}
}

// A bucket that vanishes is no store without checkpoints.
func vanishedBucket(t *testing.T, k *kindOf) {
	s := k.open(t, "x")
	must(t, s.Commit(within(t), commitOf(3, 5)))
	k.server.Vanish(true)
	want := "there is no " + k.Bucket
	_, err := s.Head(within(t), "app")
	wantText(t, "head", err, want)
	wantText(t, "put", s.Put(within(t), "a", []byte("x")), want)
	wantText(t, "commit", s.Commit(within(t), commitOf(3, 6)), want)
	k.server.Vanish(false)
	_, err = s.Head(within(t), "app")
	wantErr(t, "head of a bucket that is empty again", err, store.ErrLost)
	wantErr(t, "commit to a bucket that is empty again", s.Commit(within(t), commitOf(3, 6)), store.ErrLost)
	wantHead(t, k.open(t, "x"), 0, 0)
}

// A process that remembers an old head is corrected by the bucket, and a refused commit
// leaves no manifest.
func overtakenCommit(t *testing.T, k *kindOf) {
	a, b := k.open(t, "x"), k.open(t, "x")
	must(t, a.Commit(within(t), commitOf(1, 1)))
	must(t, b.Commit(within(t), commitOf(2, 2)))
	late := commitOf(1, 2)
	late.Name += "-late"
	wantErr(t, "an older term", a.Commit(within(t), late), store.ErrFenced)
	_, err := b.Get(within(t), late.Name)
	wantErr(t, "its manifest", err, store.ErrNotFound)
	must(t, b.Commit(within(t), commitOf(2, 3)))
	must(t, a.Commit(within(t), commitOf(2, 4)))
	swap := commitOf(2, 4)
	swap.Name, swap.Replaces = swap.Name+"-merged", swap.Name
	must(t, b.Commit(within(t), swap))
	wantHead(t, a, 2, 4)
}

// A sweep looks at an object, and then deletes it. If a put comes between, the object stays.
func putDuringDelete(t *testing.T, k *kindOf) {
	s, sweeper := k.open(t, "x"), k.open(t, "x")
	must(t, s.Put(within(t), "blocks/a", []byte("data")))
	puts := 0
	k.server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete && puts == 0 {
				puts++
				wantErr(t, "put", s.Put(within(t), "blocks/a", []byte("data")), store.ErrExists)
			}
			next.ServeHTTP(w, r)
		})
	})
	must(t, sweeper.Delete(within(t), "blocks/a", time.Now().Add(time.Hour)))
	data, err := s.Get(within(t), "blocks/a")
	if err != nil || string(data) != "data" || puts != 1 {
		t.Errorf("%q, %v after %d puts", data, err, puts)
	}
}

// A delete between the steps of a put does not make it believe that the object is there.
func deleteDuringPut(t *testing.T, k *kindOf) {
	s, sweeper := k.open(t, "x"), k.open(t, "x")
	for at := range int64(4) {
		must(t, s.Delete(within(t), "blocks/a", time.Time{}))
		must(t, s.Put(within(t), "blocks/a", []byte("data")))
		is := Number(at)
		k.server.Intercept(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodDelete && is(r) {
					must(t, sweeper.Delete(within(t), "blocks/a", time.Time{}))
				}
				next.ServeHTTP(w, r)
			})
		})
		if err := s.Put(within(t), "blocks/a", []byte("data")); err != nil && !errors.Is(err, store.ErrExists) {
			t.Errorf("deleted before request %d: %v", at, err)
		}
		k.server.Intercept(nil)
		if _, err := s.Get(within(t), "blocks/a"); at < 3 && err != nil {
			t.Errorf("deleted before request %d: %v", at, err)
		}
	}
}

// An answer that ends early is asked for again, of a whole object and of a part.
func cutOffAnswers(t *testing.T, k *kindOf) {
	s := k.open(t, "x")
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	must(t, s.Put(within(t), "blocks/a", data))
	for _, n := range []int64{int64(len(data)), 1000} {
		first := First(1, http.MethodGet)
		k.server.Intercept(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if first(r) {
					w = &cut{w}
				}
				next.ServeHTTP(w, r)
			})
		})
		read := s.Get
		if n < int64(len(data)) {
			read = func(ctx context.Context, name string) ([]byte, error) { return s.GetRange(ctx, name, 0, n) }
		}
		got, err := read(within(t), "blocks/a")
		must(t, err)
		if !bytes.Equal(got, data[:n]) {
			t.Errorf("%d bytes, want %d", len(got), n)
		}
	}
}

// cut writes the first half of an answer and drops the connection.
type cut struct{ http.ResponseWriter }

func (c *cut) Write(p []byte) (int, error) {
	_, _ = c.ResponseWriter.Write(p[:len(p)/2]) // the client may be gone
	panic(http.ErrAbortHandler)
}

// What something else wrote is read as it is, and found to be damaged by its reader.
func foreignContent(t *testing.T, k *kindOf) {
	s := k.open(t, "x")
	for name, content := range map[string]string{"blocks/short": "x", "blocks/long": strings.Repeat("x", 100)} {
		k.server.Set("x/"+name, content)
		got, err := s.Get(within(t), name)
		if err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		wantErr(t, "put", s.Put(within(t), name, []byte("data")), store.ErrExists)
	}
	must(t, s.Commit(within(t), commitOf(1, 1)))
	k.server.Set("x/.eventflux/heads/app.json", "{}x")
	_, err := s.Head(within(t), "app")
	wantText(t, "a damaged head", err, "is damaged")
}

func probeLeavesNothing(t *testing.T, k *kindOf) {
	k.open(t, "x")
	if names := k.server.Names(); !slices.Equal(names, []string{"x/.eventflux/format"}) {
		t.Errorf("%q are there", names)
	}
	k.server.Set("y/.eventflux/format", "2")
	_, err := k.Open(t, k.server.URL("y"))
	wantText(t, "a newer format", err, `is "2", and this version knows 1`)
}
