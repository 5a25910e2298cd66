package gcs

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/testing/buckettest"
	"github.com/eventflux/eventflux/shared/testing/gcstest"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestFaults(t *testing.T) {
	buckettest.Run(t, buckettest.Kind{
		Bucket: "bucket", NoClock: true,
		Start: func(t testing.TB) buckettest.Server { return gcstest.Start(t) },
		Open: func(t testing.TB, url string) (*cloud.Store, error) {
			return Open(within(t), url, slog.New(slog.DiscardHandler))
		},
	})
}
