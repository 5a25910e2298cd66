// Package s3test starts an S3 server in the process of a test, with conditional puts and
// deletes, signatures that are checked, and faults that a test asks for.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/eventflux/eventflux/shared/testing/buckettest"
)

// The bucket and the credentials of a server.
const (
	Bucket    = "checkpoints"
	AccessKey = "test-access-key"
	SecretKey = "test-secret-key"
)

// Server is a running server.
type Server struct {
	buckettest.Faults
	Addr    string // of http
	Backend *s3mem.Backend

	faker *gofakes3.GoFakeS3
	open  *gofakes3.GoFakeS3 // takes any request
	http  *httptest.Server

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

// Refuse answers the requests that which hits with an error.
func (s *Server) Refuse(f buckettest.Fault, which buckettest.Which) {
	switch f {
	case buckettest.Busy:
		s.RefuseAs(http.StatusServiceUnavailable, "SlowDown", which)
	case buckettest.Conflict:
		s.RefuseAs(http.StatusConflict, "ConditionalRequestConflict", which)
	case buckettest.Full:
		s.RefuseAs(http.StatusInsufficientStorage, "QuotaExceeded", which)
	case buckettest.Denied:
		s.RefuseAs(http.StatusForbidden, "AccessDenied", which)
	case buckettest.Expired:
		s.RefuseAs(http.StatusForbidden, "ExpiredToken", which)
	case buckettest.Skewed:
		s.RefuseAs(http.StatusForbidden, "RequestTimeTooSkewed", which)
	}
}

// RefuseAs is Refuse with a status and a code of S3.
func (s *Server) RefuseAs(status int, code string, which buckettest.Which) {
	s.Instead(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>as the test wants it</Message></Error>", code) // the client may be gone
		}
	}, which)
}

// Vanish deletes the bucket with all that is in it, or makes it again.
func (s *Server) Vanish(gone bool) {
	var err error
	if gone {
		for _, key := range s.Names() {
			_, failed := s.Backend.DeleteObject(context.Background(), Bucket, key)
			err = errors.Join(err, failed)
		}
		err = errors.Join(err, s.Backend.DeleteBucket(context.Background(), Bucket))
	} else {
		err = s.Backend.CreateBucket(context.Background(), Bucket)
	}
	if err != nil {
		panic(err)
	}
}

// Set writes an object as something else than EventFlux does.
func (s *Server) Set(key, content string) {
	if _, err := s.Backend.PutObject(context.Background(), Bucket, key, nil, strings.NewReader(content), int64(len(content))); err != nil {
		panic(err)
	}
}

// Names returns the keys of all objects.
func (s *Server) Names() (names []string) {
	found, err := s.Backend.ListBucket(context.Background(), Bucket, nil, gofakes3.ListBucketPage{})
	if err != nil {
		panic(err)
	}
	for _, o := range found.Contents {
		names = append(names, o.Key)
	}
	return names
}

// SetKeys makes the server accept a pair of keys instead of another.
func (s *Server) SetKeys(former, access, secret string) {
	s.faker.DelAuthKeys([]string{former})
	s.faker.AddAuthKeys(map[string]string{access: secret})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Handle(w, r, s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.writing.Lock()
		defer s.writing.Unlock()
	}
	s.faker.Server().ServeHTTP(w, r)
}
