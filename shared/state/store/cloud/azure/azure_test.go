package azure

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/testing/azuretest"
	"github.com/eventflux/eventflux/shared/testing/buckettest"
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

func wantText(t *testing.T, what string, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%s: %v, want %q in it", what, err, text)
	}
	if err != nil && strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%s: a secret is in the error: %v", what, err)
	}
}

func openError(t *testing.T, url string) error {
	t.Helper()
	s, err := Open(within(t), url, quiet)
	if err == nil {
		must(t, s.Close())
	}
	return err
}

var serverURL = flag.String("store", "", "the URL of a store in Azure, with '?', for the tests to write to")

// target returns the URL of a store before and after its prefix.
func target(t *testing.T) (base, parameters string) {
	url := *serverURL
	if url == "" {
		url = azuretest.Start(t).URL("some/where")
	}
	base, parameters, _ = strings.Cut(url, "?")
	return base + "/" + strings.ToLower(rand.Text()), "?" + parameters
}

// Any server can be tested, such as Azurite:
// go test ./shared/state/store/cloud/azure -run 'TestStore|TestLargeObject' -store 'azblob://CONTAINER?account=…&endpoint=…'.
func TestStore(t *testing.T) {
	base, parameters := target(t)
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) func() store.Store {
		url := fmt.Sprintf("%s/%d%s", base, n.Add(1), parameters)
		return func() store.Store { return openAt(t, url) }
	})
}

// An object that is larger than a part goes in parts, and comes in parts.
func TestLargeObject(t *testing.T) {
	base, parameters := target(t)
	s := openAt(t, base+parameters)
	large := bytes.Repeat([]byte("0123456789abcdef"), 9<<16)
	must(t, s.Put(within(t), "blocks/a", large))
	if err := s.Put(within(t), "blocks/a", large[1:]); !errors.Is(err, store.ErrExists) {
		t.Errorf("put what is there: %v", err)
	}
	got, err := s.Get(within(t), "blocks/a")
	if err != nil || !bytes.Equal(got, large) {
		t.Errorf("%d bytes, want %d (%v)", len(got), len(large), err)
	}
}

func TestFaults(t *testing.T) {
	buckettest.Run(t, buckettest.Kind{
		Bucket: "container",
		Start:  func(t testing.TB) buckettest.Server { return azuretest.Start(t) },
		Open:   func(t testing.TB, url string) (*cloud.Store, error) { return Open(within(t), url, quiet) },
	})
}

// An upload that ends at any request leaves no object, and the next one is whole.
func TestTornUpload(t *testing.T) {
	server := azuretest.Start(t)
	s, large := openAt(t, server.URL("x", "timeout=10s")), bytes.Repeat([]byte("0123456789abcdef"), 9<<16)
	for parts := range int64(3) { // the third request joins the parts
		ctx, cancel := context.WithCancel(within(t))
		is := buckettest.Number(parts)
		server.Instead(func(http.ResponseWriter, *http.Request) { cancel(); panic(http.ErrAbortHandler) }, is)
		if err := s.Put(ctx, "blocks/a", large); !errors.Is(err, context.Canceled) {
			t.Errorf("after %d parts: %v", parts, err)
		}
		server.Intercept(nil)
		if _, err := s.Get(within(t), "blocks/a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after %d parts: %v", parts, err)
		}
	}
	if server.Waiting() == 0 {
		t.Error("no part has arrived")
	}
	for at := range int64(3) {
		name := fmt.Sprintf("blocks/%d", at)
		server.LoseAnswers(buckettest.Number(at))
		must(t, s.Put(within(t), name, large))
		server.LoseAnswers(buckettest.Number(at))
		got, err := s.Get(within(t), name)
		if err != nil || !bytes.Equal(got, large) {
			t.Errorf("%d bytes, want %d (%v)", len(got), len(large), err)
		}
	}
}

// Two writers of one object in parts never mix, and one of them has created it.
func TestPartsOfTwoWriters(t *testing.T) {
	server := azuretest.Start(t)
	large := [][]byte{bytes.Repeat([]byte("a"), 9<<20), bytes.Repeat([]byte("b"), 9<<20)}
	outcomes := make(chan error, len(large))
	for _, data := range large {
		s := openAt(t, server.URL("x"))
		go func() { outcomes <- s.Put(within(t), "blocks/a", data) }()
	}
	first, second := <-outcomes, <-outcomes
	if (first == nil) == (second == nil) || !errors.Is(errors.Join(first, second), store.ErrExists) {
		t.Errorf("%v, %v", first, second)
	}
	got, err := openAt(t, server.URL("x")).Get(within(t), "blocks/a")
	must(t, err)
	if !bytes.Equal(got, large[0]) && !bytes.Equal(got, large[1]) {
		t.Error("the object is a mixture")
	}
}

func TestWrongURL(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	for url, want := range map[string]string{
		"azblob://":                                "names no bucket",
		"azblob://u:s3cr3t@c?account=a":            "never from the URL",
		"azblob://c":                               "names no storage account; add account=NAME",
		"azblob://c?account=a&key=s3cr3t":          `unknown parameter "key"`,
		"azblob://c?account=a&tier=Archive":        "none of Hot, Cool, Cold",
		"azblob://c?account=a&endpoint=host:10000": "not of the form https://HOST:PORT",
	} {
		err := openError(t, url)
		wantText(t, url, err, want)
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v is no ErrInvalid", url, err)
		}
	}
}

func TestWhatCannotKeepCheckpointsIsRefused(t *testing.T) {
	server := azuretest.Start(t)
	for _, test := range []struct {
		method, header, want string
	}{
		{http.MethodPut, "If-None-Match", "no puts that only create"},
		{http.MethodPut, "If-Match", "no puts that replace only a known version"},
		{http.MethodDelete, "If-Match", "no deletes of only a known version"},
	} {
		server.Ignore(test.method, test.header)
		wantText(t, test.method+" without "+test.header, openError(t, server.URL("x")), test.want)
		err := openError(t, server.URL("x", "deletes=loose"))
		if loose := test.method == http.MethodDelete; loose != (err == nil) {
			t.Errorf("%s without %s and deletes=loose: %v", test.method, test.header, err)
		}
	}
	server.Intercept(nil)
	wantText(t, "no container", openError(t, strings.Replace(server.URL("x"), azuretest.Container, "another", 1)), "there is no container another; create it")
	for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
		server.Refuse(buckettest.Denied, buckettest.Always(method))
		wantText(t, method+" is denied", openError(t, server.URL("x")), "docs/stores.md has the rights")
	}
}

func TestSharedKey(t *testing.T) {
	server := azuretest.Start(t)
	another := base64.StdEncoding.EncodeToString([]byte("another key, s3cr3t"))
	t.Run("is wrong", func(t *testing.T) {
		t.Setenv("AZURE_STORAGE_KEY", another)
		wantText(t, "open", openError(t, server.URL("x", "timeout=1s")), "does not accept the shared key")
	})
	t.Run("is not in base64", func(t *testing.T) {
		t.Setenv("AZURE_STORAGE_KEY", "s3cr3t!")
		wantText(t, "open", openError(t, server.URL("x")), "not in base64")
	})
	t.Run("is missing, and there is no TLS", func(t *testing.T) {
		t.Setenv("AZURE_STORAGE_KEY", "")
		wantText(t, "open", openError(t, server.URL("x")), "set AZURE_STORAGE_KEY, or key_file=")
	})
	t.Run("is in a file that is renewed", func(t *testing.T) {
		t.Setenv("AZURE_STORAGE_KEY", "")
		file := filepath.Join(t.TempDir(), "key")
		wantText(t, "no file", openError(t, server.URL("x", "key_file="+file)), "read the shared key")
		must(t, os.WriteFile(file, []byte(azuretest.Key+"\n"), 0o600))
		s := openAt(t, server.URL("x", "key_file="+file, "timeout=10s"))
		server.SetKey(another)
		defer server.SetKey(azuretest.Key)
		must(t, os.WriteFile(file, []byte(another), 0o600))
		must(t, s.Put(within(t), "a", []byte("x")))
	})
}

// A machine's identity gives tokens, over TLS only.
func TestManagedIdentity(t *testing.T) {
	server := azuretest.StartTLS(t)
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate()}), 0o600))
	wantText(t, "an unknown authority", openError(t, server.URL("x")), "name its authority with ca=FILE")
	asked := atomic.Int64{}
	identity := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("X-Identity-Header") != "secret" || r.FormValue("resource") != "https://storage.azure.com" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"the-token","expires_on":"%d","resource":"https://storage.azure.com","token_type":"Bearer"}`, time.Now().Add(time.Hour).Unix())
	}))
	defer identity.Close()
	for name, value := range map[string]string{"AZURE_STORAGE_KEY": "", "IDENTITY_ENDPOINT": identity.URL, "IDENTITY_HEADER": "secret", "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"} {
		t.Setenv(name, value)
	}
	server.SetToken("the-token")
	s := openAt(t, server.URL("x", "ca="+file))
	must(t, s.Put(within(t), "a", []byte("x")))
	if asked.Load() != 1 {
		t.Errorf("%d tokens were asked for", asked.Load())
	}
	refused := openAt(t, server.URL("y", "ca="+file, "timeout=1s"))
	server.SetToken("another")
	wantText(t, "a refused token", refused.Put(within(t), "a", []byte("x")), "does not accept the credentials")
}
