// Package gcstest implements the part of the JSON API of Google Cloud Storage that a store uses, in
// the process of a test and in memory: objects with generations and preconditions.
package gcstest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/testing/buckettest"
)

// Bucket is the bucket of a server.
const Bucket = "checkpoints"

// pageMax is small, so that listings have several pages.
const pageMax = 7

// Server is a running server.
type Server struct {
	buckettest.Faults
	http *httptest.Server

	mu      sync.Mutex
	objects map[string]*object
	last    int64 // generation
	gone    bool  // the bucket
}

type object struct {
	Name       string    `json:"name"`
	Size       string    `json:"size"`
	Generation string    `json:"generation"`
	Updated    time.Time `json:"updated"`
	content    []byte
}

// Start starts a server with one bucket. It ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{objects: map[string]*object{}}
	s.http = httptest.NewServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// URL returns the URL of a store in the bucket, with these parameters.
func (s *Server) URL(prefix string, parameters ...string) string {
	return "gs://" + Bucket + "/" + prefix + "?" + strings.Join(append([]string{"endpoint=" + s.http.URL}, parameters...), "&")
}

// Refuse answers the requests that which hits with an error.
func (s *Server) Refuse(f buckettest.Fault, which buckettest.Which) {
	status := map[buckettest.Fault]int{
		buckettest.Busy: http.StatusServiceUnavailable, buckettest.Conflict: http.StatusConflict, buckettest.Full: http.StatusInsufficientStorage,
		buckettest.Denied: http.StatusForbidden, buckettest.Expired: http.StatusUnauthorized, buckettest.Skewed: http.StatusUnauthorized,
	}[f]
	s.Instead(func(w http.ResponseWriter, _ *http.Request) { fail(w, status, "as the test wants it") }, which)
}

// Set writes an object as something else than EventFlux does.
func (s *Server) Set(key, content string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.write(key, []byte(content))
}

// Names returns the keys of all objects.
func (s *Server) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.objects))
}

func (s *Server) write(name string, content []byte) *object {
	s.last++
	o := &object{Name: name, Size: strconv.Itoa(len(content)), Generation: strconv.FormatInt(s.last, 10), Updated: time.Now().UTC(), content: content}
	s.objects[name] = o
	return o
}

// Vanish deletes the bucket with all that is in it, or makes it again.
func (s *Server) Vanish(gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects, s.gone = map[string]*object{}, gone
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.Handle(w, r, s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	var content []byte
	name := ""
	path := r.URL.EscapedPath()
	own := "/storage/v1/b/" + Bucket + "/o"
	var err error
	if r.Method == http.MethodPost && path == "/upload"+own {
		name, content, err = upload(r)
	} else if rest, ok := strings.CutPrefix(path, own); ok {
		name, err = url.PathUnescape(strings.TrimPrefix(rest, "/"))
	} else {
		fail(w, http.StatusNotFound, "The specified bucket does not exist.")
		return
	}
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch there := s.objects[name]; {
	case s.gone:
		fail(w, http.StatusNotFound, "The specified bucket does not exist.")
	case !met(r, there):
		fail(w, http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold.")
	case r.Method == http.MethodPost:
		answer(w, s.write(name, content))
	case name == "":
		s.list(w, r)
	case there == nil:
		fail(w, http.StatusNotFound, "No such object: "+name)
	case r.Method == http.MethodDelete:
		delete(s.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case r.FormValue("alt") == "media":
		w.Header().Set("X-Goog-Generation", there.Generation)
		w.Header().Set("Last-Modified", there.Updated.Format(http.TimeFormat))
		content := there.content
		if asked := r.Header.Get("Range"); asked != "" {
			var from, last int
			if _, err := fmt.Sscanf(asked, "bytes=%d-%d", &from, &last); err != nil || from >= len(content) {
				fail(w, http.StatusRequestedRangeNotSatisfiable, asked)
				return
			}
			last = min(last, len(content)-1)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, last, len(content)))
			content = content[from : last+1]
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		if len(content) < len(there.content) {
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content) // the client may be gone
	default:
		answer(w, there)
	}
}

// met reports whether the precondition of a request holds.
func met(r *http.Request, there *object) bool {
	want := r.URL.Query().Get("ifGenerationMatch")
	switch {
	case want == "", there == nil && r.Method == http.MethodDelete:
		return true
	case there == nil:
		return want == "0"
	}
	return want == there.Generation
}

// upload reads the name and the content of a new object.
func upload(r *http.Request) (name string, content []byte, err error) {
	_, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return "", nil, err
	}
	parts := multipart.NewReader(r.Body, parameters["boundary"])
	about, err := parts.NextPart()
	if err != nil {
		return "", nil, err
	}
	var o object
	if err := json.NewDecoder(about).Decode(&o); err != nil {
		return "", nil, err
	}
	media, err := parts.NextPart()
	if err != nil {
		return "", nil, err
	}
	content, err = io.ReadAll(media)
	return o.Name, content, err
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var page struct {
		Items []*object `json:"items"`
		Next  string    `json:"nextPageToken,omitempty"`
	}
	for _, name := range slices.Sorted(maps.Keys(s.objects)) {
		if !strings.HasPrefix(name, r.FormValue("prefix")) || name <= r.FormValue("pageToken") {
			continue
		}
		if len(page.Items) == pageMax {
			page.Next = page.Items[pageMax-1].Name
			break
		}
		page.Items = append(page.Items, s.objects[name])
	}
	answer(w, page)
}

func answer(w http.ResponseWriter, with any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(with) // the client may be gone
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"code":%d,"message":%q}}`, status, message) // the client may be gone
}
