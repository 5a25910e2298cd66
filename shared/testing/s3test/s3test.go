// Package s3test starts an S3 server in the process of a test, with conditional puts and
// deletes, signatures that are checked, and faults that a test asks for.
package s3test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// The bucket and the credentials of a server.
const (
	Bucket    = "checkpoints"
	AccessKey = "test-access-key"
	SecretKey = "test-secret-key"
)

// Server is a running server.
type Server struct {
	Addr    string // of http
	Backend *s3mem.Backend

	faker *gofakes3.GoFakeS3
	open  *gofakes3.GoFakeS3 // takes any request
	http  *httptest.Server

	mu        sync.Mutex
	intercept func(http.Handler) http.Handler

	// The server looks at a condition, then writes. Here nothing else writes in between.
	writing sync.Mutex
}

// Start starts a server with one bucket. It ends with the test. The environment of the test
// has its credentials.
func Start(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.http = httptest.NewServer(s)
	s.Addr = s.http.Listener.Addr().String()
	t.Cleanup(s.http.Close)
	return s
}

// StartTLS is Start with TLS, by a certificate that CA has in PEM.
func StartTLS(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	s.http.StartTLS()
	s.Addr = s.http.Listener.Addr().String()
	t.Cleanup(s.http.Close)
	return s
}

func newServer(t testing.TB) *Server {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
	} {
		t.Setenv(name, value)
	}
	s := &Server{Backend: s3mem.New()}
	if err := s.Backend.CreateBucket(context.Background(), Bucket); err != nil {
		t.Fatal(err)
	}
	s.faker = gofakes3.New(s.Backend, gofakes3.WithV4Auth(map[string]string{AccessKey: SecretKey}))
	s.open = gofakes3.New(s.Backend)
	return s
}

// Certificate returns the certificate of a server with TLS, in DER.
func (s *Server) Certificate() []byte { return s.http.Certificate().Raw }

// URL returns the URL of a store in the bucket, with these parameters.
func (s *Server) URL(prefix string, parameters ...string) string {
	return "s3://" + Bucket + "/" + prefix + "?" + strings.Join(append([]string{"endpoint=" + s.http.URL}, parameters...), "&")
}

// Intercept puts a handler before the server's own; nil ends it.
func (s *Server) Intercept(with func(http.Handler) http.Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = with
}

// Ignore makes the server ignore the header of requests with that method, as servers without
// that condition do.
func (s *Server) Ignore(method, header string) {
	s.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method || r.Header.Get(header) == "" {
				next.ServeHTTP(w, r)
				return
			}
			r.Header.Del(header) // which breaks the signature
			s.open.Server().ServeHTTP(w, r)
		})
	})
}

// Refuse answers requests with an error as long as which says so.
func (s *Server) Refuse(status int, code string, which func(*http.Request) bool) {
	s.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !which(r) {
				next.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			if r.Method != http.MethodHead {
				_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", code) // the client may be gone
			}
		})
	})
}

// LoseAnswers carries requests out and loses the answer, as long as which says so.
func (s *Server) LoseAnswers(which func(*http.Request) bool) {
	s.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !which(r) {
				next.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		})
	})
}

// First returns a function that says yes to the first n requests with that method; any
// method if it is empty.
func First(n int64, method string) func(*http.Request) bool {
	var seen atomic.Int64
	return func(r *http.Request) bool {
		return (method == "" || r.Method == method) && seen.Add(1) <= n
	}
}

// SetKeys makes the server accept a pair of keys instead of another.
func (s *Server) SetKeys(former, access, secret string) {
	s.faker.DelAuthKeys([]string{former})
	s.faker.AddAuthKeys(map[string]string{access: secret})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	with := s.intercept
	s.mu.Unlock()
	h := http.Handler(http.HandlerFunc(s.serve))
	if with != nil {
		h = with(h)
	}
	h.ServeHTTP(w, r)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	s.faker.Server().ServeHTTP(w, r)
}
