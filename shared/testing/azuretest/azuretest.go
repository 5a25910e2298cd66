// Package azuretest implements the part of the protocol of Azure Blob Storage that a store uses, in
// the process of a test and in memory: blobs with ETags, conditions, blocks and ranges. It
// checks signatures with a shared key, and bearer tokens.
package azuretest

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/testing/buckettest"
)

// The account and the container of a server.
const (
	Account   = "testaccount"
	Container = "checkpoints"
)

// Key is the shared key of a server at its start.
var Key = base64.StdEncoding.EncodeToString([]byte("the shared key of a test, 0123456789"))

// pageMax is small, so that listings have several pages.
const pageMax = 7

// Server is a running server.
type Server struct {
	buckettest.Faults
	http *httptest.Server

	mu     sync.Mutex
	key    []byte
	token  string // that is accepted; empty for none
	blobs  map[string]*blob
	blocks map[string]map[string][]byte // of each blob, by id; not joined
	gone   bool                         // the container
}

type blob struct {
	content []byte
	tag     string // without quotes
	written time.Time
}

// Start starts a server with one container. It ends with the test. The environment of the
// test has its shared key.
func Start(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// StartTLS is Start with TLS.
func StartTLS(t testing.TB) *Server {
	t.Helper()
	s := newServer(t)
	s.http = httptest.NewUnstartedServer(s)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	return s
}

func newServer(t testing.TB) *Server {
	t.Helper()
	for name, value := range map[string]string{
		"AZURE_STORAGE_KEY": Key, "AZURE_STORAGE_ACCOUNT": "", "AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": "", "AZURE_CLIENT_SECRET": "",
		"AZURE_FEDERATED_TOKEN_FILE": "", "IDENTITY_ENDPOINT": "", "AZURE_TOKEN_CREDENTIALS": "",
	} {
		t.Setenv(name, value) // which the end of the test undoes
		if value == "" {
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := &Server{blobs: map[string]*blob{}, blocks: map[string]map[string][]byte{}}
	s.SetKey(Key)
	return s
}

// Certificate returns the certificate of a server with TLS, in DER.
func (s *Server) Certificate() []byte { return s.http.Certificate().Raw }

// URL returns the URL of a store in the container, with these parameters. The account is in
// the path, as with Azurite.
func (s *Server) URL(prefix string, parameters ...string) string {
	return "azblob://" + Container + "/" + prefix + "?" +
		strings.Join(append([]string{"account=" + Account, "endpoint=" + s.http.URL + "/" + Account}, parameters...), "&")
}

// SetKey makes the server accept another shared key, in base64.
func (s *Server) SetKey(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.key, err = base64.StdEncoding.DecodeString(key); err != nil {
		panic(err)
	}
}

// SetToken makes the server accept a bearer token.
func (s *Server) SetToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Vanish deletes the container with all that is in it, or makes it again.
func (s *Server) Vanish(gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = gone
	clear(s.blobs)
	clear(s.blocks)
}

// Set writes a blob as something else than EventFlux does.
func (s *Server) Set(name, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[name] = newBlob([]byte(content))
}

// Names returns the names of all blobs.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.blobs))
}

// Waiting returns how many blocks wait to be joined.
func (s *Server) Waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		n += len(b)
	}
	return n
}

// Ignore makes the server ignore a condition of requests with that method.
func (s *Server) Ignore(method, header string) {
	s.Intercept(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == method {
				r.Header.Del(header)
			}
			s.open(w, r)
		})
	})
}

// Refuse answers the requests that which hits with an error.
func (s *Server) Refuse(f buckettest.Fault, which buckettest.Which) {
	s.Instead(func(w http.ResponseWriter, r *http.Request) {
		switch f {
		case buckettest.Busy:
			fail(w, r, http.StatusServiceUnavailable, "ServerBusy", "")
		case buckettest.Conflict:
			fail(w, r, http.StatusInternalServerError, "OperationTimedOut", "")
		case buckettest.Full:
			fail(w, r, http.StatusInsufficientStorage, "", "")
		case buckettest.Denied:
			fail(w, r, http.StatusForbidden, "AuthorizationPermissionMismatch", "")
		case buckettest.Expired:
			fail(w, r, http.StatusUnauthorized, "InvalidAuthenticationInfo", "Lifetime validation failed. The token is expired.")
		case buckettest.Skewed:
			fail(w, r, http.StatusForbidden, "AuthenticationFailed", "Request date header too old")
		}
	}, which)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Handle(w, r, func(w http.ResponseWriter, r *http.Request) {
		if !s.authentic(r) {
			fail(w, r, http.StatusForbidden, "AuthenticationFailed", "The MAC signature found in the HTTP request is not the same as any computed signature.")
			return
		}
		s.open(w, r)
	})
}

// open handles a request without a look at who makes it.
func (s *Server) open(w http.ResponseWriter, r *http.Request) {
	rest, known := strings.CutPrefix(r.URL.EscapedPath(), "/"+Account+"/"+Container)
	name, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		fail(w, r, http.StatusBadRequest, "InvalidUri", err.Error())
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength > 0 && int64(len(body)) != r.ContentLength {
		return // the client is gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || !known || rest != "" && rest[0] != '/' {
		fail(w, r, http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")
		return
	}
	switch r.Method {
	case http.MethodPut:
		s.put(w, r, name, body)
	case http.MethodDelete:
		if s.met(w, r, name) {
			delete(s.blobs, name)
			w.WriteHeader(http.StatusAccepted)
		}
	default:
		if name == "" {
			s.list(w, r)
		} else if s.met(w, r, name) {
			s.get(w, r, s.blobs[name])
		}
	}
}

// met reports whether the conditions of a request hold. If not, it answers.
func (s *Server) met(w http.ResponseWriter, r *http.Request, name string) bool {
	there := s.blobs[name]
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case there == nil && r.Method != http.MethodPut:
		fail(w, r, http.StatusNotFound, "BlobNotFound", "The specified blob does not exist.")
	case none == "*" && there != nil:
		fail(w, r, http.StatusConflict, "BlobAlreadyExists", "The specified blob already exists.")
	case match != "" && (there == nil || match != `"`+there.tag+`"`):
		fail(w, r, http.StatusPreconditionFailed, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.")
	default:
		return true
	}
	return false
}

func newBlob(content []byte) *blob {
	return &blob{content: content, tag: "0x8D" + rand.Text()[:12], written: time.Now().UTC()}
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	comp, id := r.URL.Query().Get("comp"), r.URL.Query().Get("blockid")
	if comp == "block" {
		if s.blocks[name] == nil {
			s.blocks[name] = map[string][]byte{}
		}
		s.blocks[name][id] = body
		w.WriteHeader(http.StatusCreated)
		return
	}
	if !s.met(w, r, name) {
		return
	}
	if comp == "blocklist" {
		var list struct {
			Latest []string
		}
		if err := xml.Unmarshal(body, &list); err != nil {
			fail(w, r, http.StatusBadRequest, "InvalidXmlDocument", err.Error())
			return
		}
		body = nil
		for _, id := range list.Latest {
			block, ok := s.blocks[name][id]
			if !ok {
				fail(w, r, http.StatusBadRequest, "InvalidBlockList", "The specified block list is invalid.")
				return
			}
			body = append(body, block...)
		}
	} else if r.Header.Get("x-ms-blob-type") != "BlockBlob" {
		fail(w, r, http.StatusBadRequest, "MissingRequiredHeader", "x-ms-blob-type")
		return
	}
	delete(s.blocks, name)
	s.blobs[name] = newBlob(body)
	describe(w, s.blobs[name])
	w.WriteHeader(http.StatusCreated)
}

func describe(w http.ResponseWriter, b *blob) {
	w.Header().Set("ETag", `"`+b.tag+`"`)
	w.Header().Set("Last-Modified", b.written.Format(http.TimeFormat))
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, b *blob) {
	describe(w, b)
	content, status := b.content, http.StatusOK
	if asked := r.Header.Get("x-ms-range"); asked != "" && r.Method == http.MethodGet {
		var from, last int64
		if _, err := fmt.Sscanf(asked, "bytes=%d-%d", &from, &last); err != nil || from >= int64(len(content)) {
			fail(w, r, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", asked)
			return
		}
		last = min(last, int64(len(content))-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, last, len(content)))
		content, status = content[from:last+1], http.StatusPartialContent
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(content) // the client may be gone
	}
}
