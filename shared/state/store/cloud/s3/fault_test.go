package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rclone/gofakes3"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

var listAll = gofakes3.ListBucketPage{}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
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
	must(t, s.Commit(within(t), commitOf(n, n)))
	wantHead(t, s, n, n)
	must(t, s.Commit(within(t), commitOf(n, n)))
	must(t, s.Delete(within(t), name, time.Now().Add(time.Hour)))
	_, err = s.Get(within(t), name)
	wantErr(t, "get what was deleted", err, store.ErrNotFound)
	listed := 0
	must(t, s.List(within(t), "apps/", func(store.Object) error { listed++; return nil }))
	if listed != int(n) {
		t.Errorf("%d manifests are listed, want %d", listed, n)
	}
}

// number returns a function that says yes to one request, the first being 0.
func number(at int64) func(*http.Request) bool {
	var seen atomic.Int64
	return func(*http.Request) bool { return seen.Add(1) == at+1 }
}

// Requests that are refused for a moment, or whose answer is lost, make no difference,
// whichever they are.
func TestPassingFaults(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("x"))
	n := uint64(0)
	for at := range int64(14) {
		for what, fault := range map[string]func(func(*http.Request) bool){
			"throttled": func(which func(*http.Request) bool) { server.Refuse(http.StatusServiceUnavailable, "SlowDown", which) },
			"conflict": func(which func(*http.Request) bool) {
				server.Refuse(http.StatusConflict, "ConditionalRequestConflict", which)
			},
			"lost": server.LoseAnswers,
		} {
			fault(number(at))
			n++
			everything(t, s, n)
			if t.Failed() {
				t.Fatalf("request %d is %s", at, what)
			}
		}
	}
	server.LoseAnswers(s3test.First(1, ""))
	openAt(t, server.URL("new"))
}

func TestOpenWithLostAnswers(t *testing.T) {
	server := s3test.Start(t)
	for at := range int64(14) {
		server.LoseAnswers(number(at))
		if err := openError(t, server.URL(fmt.Sprintf("x%d", at))); err != nil {
			t.Errorf("the answer to request %d is lost: %v", at, err)
		}
	}
}

func TestRepeatingEnds(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("x", "timeout=2s"))
	server.Refuse(http.StatusServiceUnavailable, "SlowDown", s3test.First(1<<40, ""))
	wantText(t, "put", s.Put(within(t), "a", []byte("x")), "asks for fewer requests")
	ended := make(chan struct{})
	server.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-ended:
			}
		})
	})
	wantText(t, "get", func() error { _, err := s.Get(within(t), "a"); return err }(), "no answer within 2s")
	close(ended)
	ctx, cancel := context.WithCancel(within(t))
	server.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) })
	})
	wantErr(t, "put that is cancelled", s.Put(ctx, "a", []byte("x")), context.Canceled)
	server.Refuse(http.StatusInsufficientStorage, "QuotaExceeded", s3test.First(1, http.MethodPut))
	wantErr(t, "put to a full bucket", s.Put(within(t), "a", []byte("x")), store.ErrFull)
}

// A bucket that vanishes is no store without checkpoints.
func TestVanishedBucket(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("x"))
	must(t, s.Commit(within(t), commitOf(3, 5)))
	empty(t, server)
	must(t, server.Backend.DeleteBucket(within(t), s3test.Bucket))
	_, err := s.Head(within(t), "app")
	wantText(t, "head", err, "there is no bucket")
	wantText(t, "put", s.Put(within(t), "a", []byte("x")), "there is no bucket")
	wantText(t, "commit", s.Commit(within(t), commitOf(3, 6)), "there is no bucket")
	must(t, server.Backend.CreateBucket(within(t), s3test.Bucket))
	_, err = s.Head(within(t), "app")
	wantErr(t, "head of a bucket that is empty again", err, store.ErrLost)
	wantErr(t, "commit to a bucket that is empty again", s.Commit(within(t), commitOf(3, 6)), store.ErrLost)
	wantHead(t, openAt(t, server.URL("x")), 0, 0)
}

func empty(t *testing.T, server *s3test.Server) {
	t.Helper()
	found, err := server.Backend.ListBucket(within(t), s3test.Bucket, nil, listAll)
	must(t, err)
	for _, o := range found.Contents {
		_, err := server.Backend.DeleteObject(within(t), s3test.Bucket, o.Key)
		must(t, err)
	}
}

// A process that remembers an old head is corrected by the bucket, and a refused commit
// leaves no manifest.
func TestOvertakenCommit(t *testing.T) {
	server := s3test.Start(t)
	a, b := openAt(t, server.URL("x")), openAt(t, server.URL("x"))
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
func TestPutDuringDeleteKeepsTheObject(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("x"))
	must(t, s.Put(within(t), "blocks/a", []byte("data")))
	sweeper := openAt(t, server.URL("x"))
	puts := 0
	server.Intercept(func(next http.Handler) http.Handler {
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
func TestDeleteDuringPut(t *testing.T) {
	server := s3test.Start(t)
	s, sweeper := openAt(t, server.URL("x")), openAt(t, server.URL("x"))
	for at := range int64(4) {
		must(t, s.Delete(within(t), "blocks/a", time.Time{}))
		must(t, s.Put(within(t), "blocks/a", []byte("data")))
		is := number(at)
		server.Intercept(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodDelete {
					if is(r) {
						must(t, sweeper.Delete(within(t), "blocks/a", time.Time{}))
					}
				}
				next.ServeHTTP(w, r)
			})
		})
		if err := s.Put(within(t), "blocks/a", []byte("data")); err != nil && !errors.Is(err, store.ErrExists) {
			t.Errorf("deleted before request %d: %v", at, err)
		}
		server.Intercept(nil)
		if _, err := s.Get(within(t), "blocks/a"); at < 3 && err != nil {
			t.Errorf("deleted before request %d: %v", at, err)
		}
	}
}

// What something else wrote is read as it is, and found to be damaged by its reader.
func TestForeignContent(t *testing.T) {
	server := s3test.Start(t)
	s := openAt(t, server.URL("x"))
	for name, content := range map[string]string{"blocks/short": "x", "blocks/long": strings.Repeat("x", 100)} {
		_, err := server.Backend.PutObject(within(t), s3test.Bucket, "x/"+name, nil, strings.NewReader(content), int64(len(content)))
		must(t, err)
		got, err := s.Get(within(t), name)
		if err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		wantErr(t, "put", s.Put(within(t), name, []byte("data")), store.ErrExists)
	}
	must(t, s.Commit(within(t), commitOf(1, 1)))
	_, err := server.Backend.PutObject(within(t), s3test.Bucket, "x/.eventflux/heads/app.json", nil, strings.NewReader("{}x"), 3)
	must(t, err)
	_, err = s.Head(within(t), "app")
	wantText(t, "a damaged head", err, "is damaged")
}
