package s3

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/testing/buckettest"
	"github.com/eventflux/eventflux/shared/testing/s3test"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
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
	s, err := Open(within(t), url, quiet)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

var serverURL = flag.String("store", "", "the URL of a store in S3, with '?', for TestStore to write to")

// Any server can be tested: go test ./shared/state/store/cloud/s3 -run 'TestStore$' -store 's3://BUCKET?endpoint=…'.
func TestStore(t *testing.T) {
	url := *serverURL
	if url == "" {
		url = s3test.Start(t).URL("some/where")
	}
	base, parameters, _ := strings.Cut(url, "?")
	storetest.Run(t, func(t *testing.T) func() store.Store {
		prefix := base + "/" + strings.ToLower(rand.Text())
		return func() store.Store { return openAt(t, prefix+"?"+parameters) }
	})
}

func TestFaults(t *testing.T) {
	buckettest.Run(t, buckettest.Kind{
		Bucket: "bucket",
		Start:  func(t testing.TB) buckettest.Server { return s3test.Start(t) },
		Open:   func(t testing.TB, url string) (*cloud.Store, error) { return Open(within(t), url, quiet) },
	})
}

func commitOf(term, epoch uint64) store.Commit {
	return store.Commit{
		App: "app", Term: term, Epoch: epoch, Name: fmt.Sprintf("apps/app/checkpoints/%d.json", epoch),
		Manifest: fmt.Appendf(nil, `{"epoch":%d}`, epoch),
	}
}

// The requests that docs/stores.md promises, which cost money.
func TestRequests(t *testing.T) {
	server := s3test.Start(t)
	openAt(t, server.URL("x"))
	var requests []string
	server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests = append(requests, r.Method)
			next.ServeHTTP(w, r)
		})
	})
	var s *cloud.Store
	for _, test := range []struct {
		what, want string
		do         func() error
	}{
		{"open", "GET PUT GET PUT PUT GET PUT GET DELETE DELETE", func() error { s = openAt(t, server.URL("x")); return nil }},
		{"put", "PUT", func() error { return s.Put(within(t), "blocks/a", []byte("x")) }},
		{"get", "GET", func() error { _, err := s.Get(within(t), "blocks/a"); return err }},
		{"first commit", "GET PUT PUT", func() error { return s.Commit(within(t), commitOf(1, 1)) }},
		{"commit", "PUT PUT", func() error { return s.Commit(within(t), commitOf(1, 2)) }},
		{"head", "GET", func() error { _, err := s.Head(within(t), "app"); return err }},
		{"list", "GET", func() error { return s.List(within(t), "", func(store.Object) error { return nil }) }},
		{"delete if old", "HEAD DELETE", func() error { return s.Delete(within(t), "blocks/a", time.Now().Add(time.Hour)) }},
		{"delete", "DELETE", func() error { return s.Delete(within(t), "blocks/a", time.Time{}) }},
	} {
		requests = nil
		must(t, test.do())
		if got := strings.Join(requests, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}
