package gcs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/testing/gcstest"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openAt(t testing.TB, url string) *cloud.Store {
	t.Helper()
	s, err := Open(within(t), url, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	server := gcstest.Start(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) func() store.Store {
		prefix := fmt.Sprintf("some/where/%d", n.Add(1))
		return func() store.Store { return openAt(t, server.URL(prefix)) }
	})
}

func TestWrongURL(t *testing.T) {
	for url, want := range map[string]string{
		"gs://":              "names no bucket",
		"gs://u:s3cr3t@b":    "never from the URL",
		"gs://b?region=x":    `unknown parameter "region"`,
		"gs://b?endpoint=ho": "not of the form https://HOST:PORT",
	} {
		_, err := Open(within(t), url, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}

func commitOf(n uint64) store.Commit {
	return store.Commit{App: "app", Term: n, Epoch: n, Name: fmt.Sprintf("apps/app/%d.json", n), Manifest: fmt.Appendf(nil, "%d", n)}
}

// Requests that are refused for a moment, or whose answer is lost, make no difference,
// whichever they are.
func TestPassingFaults(t *testing.T) {
	server := gcstest.Start(t)
	s := openAt(t, server.URL("x"))
	n := uint64(0)
	for _, lost := range []bool{false, true} {
		for at := range 12 {
			var seen atomic.Int64
			server.Intercept(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					switch {
					case seen.Add(1) != int64(at)+1:
						next.ServeHTTP(w, r)
					case lost:
						next.ServeHTTP(httptest.NewRecorder(), r)
						panic(http.ErrAbortHandler)
					default:
						w.WriteHeader(http.StatusServiceUnavailable)
					}
				})
			})
			n++
			name := fmt.Sprintf("blocks/%d", n)
			must(t, s.Put(within(t), name, []byte("x")))
			if err := s.Put(within(t), name, []byte("y")); !errors.Is(err, store.ErrExists) {
				t.Errorf("put again: %v", err)
			}
			data, err := s.Get(within(t), name)
			must(t, err)
			must(t, s.Commit(within(t), commitOf(n)))
			head, err := s.Head(within(t), "app")
			must(t, err)
			if string(data) != "x" || head.Epoch != n {
				t.Errorf("%q is there, and the head is %+v", data, head)
			}
			must(t, s.Delete(within(t), name, time.Now().Add(time.Hour)))
			if _, err := s.Get(within(t), name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("get what was deleted: %v", err)
			}
		}
	}
}

// A bucket that vanishes is no store without checkpoints.
func TestVanishedBucket(t *testing.T) {
	server := gcstest.Start(t)
	s := openAt(t, server.URL("x"))
	must(t, s.Commit(within(t), commitOf(5)))
	server.Vanish(true)
	for what, err := range map[string]error{
		"put":    s.Put(within(t), "a", []byte("x")),
		"commit": s.Commit(within(t), commitOf(6)),
		"head":   func() error { _, err := s.Head(within(t), "app"); return err }(),
	} {
		if err == nil || !strings.Contains(err.Error(), "there is no bucket") {
			t.Errorf("%s: %v", what, err)
		}
	}
	server.Vanish(false)
	if err := s.Commit(within(t), commitOf(6)); !errors.Is(err, store.ErrLost) {
		t.Errorf("commit to a bucket that is empty again: %v", err)
	}
}
