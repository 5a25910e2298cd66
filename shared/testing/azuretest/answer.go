package azuretest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authentic reports whether a request has the accepted token, or the signature of the shared
// key.
func (s *Server) authentic(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := r.Header.Get("Authorization")
	if token, ok := strings.CutPrefix(given, "Bearer "); ok {
		return s.token != "" && token == s.token
	}
	signed := hmac.New(sha256.New, s.key)
	signed.Write([]byte(toSign(r)))
	return given == "SharedKey "+Account+":"+base64.StdEncoding.EncodeToString(signed.Sum(nil))
}

// toSign returns what the signature of a request covers.
func toSign(r *http.Request) string {
	length := r.Header.Get("Content-Length")
	if length == "" && r.ContentLength > 0 {
		length = fmt.Sprint(r.ContentLength)
	}
	if length == "0" {
		length = ""
	}
	lines := []string{
		r.Method, r.Header.Get("Content-Encoding"), r.Header.Get("Content-Language"), length, r.Header.Get("Content-MD5"), r.Header.Get("Content-Type"),
		"", // the date is in x-ms-date
		r.Header.Get("If-Modified-Since"), r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), r.Header.Get("If-Unmodified-Since"), r.Header.Get("Range"),
	}
	var own []string
	for name, values := range r.Header {
		if name = strings.ToLower(name); strings.HasPrefix(name, "x-ms-") {
			own = append(own, name+":"+strings.Join(values, ","))
		}
	}
	slices.Sort(own)
	lines = append(append(lines, own...), "/"+Account+r.URL.EscapedPath())
	query, _ := url.ParseQuery(r.URL.RawQuery) // what is left out breaks the signature
	for _, name := range slices.Sorted(maps.Keys(query)) {
		slices.Sort(query[name])
		lines = append(lines, strings.ToLower(name)+":"+strings.Join(query[name], ","))
	}
	return strings.Join(lines, "\n")
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	type item struct {
		Name       string
		Properties struct {
			Modified string `xml:"Last-Modified"`
			Tag      string `xml:"Etag"`
			Length   int    `xml:"Content-Length"`
		}
	}
	var page struct {
		XMLName xml.Name `xml:"EnumerationResults"`
		Blobs   struct{ Blob []item }
		Next    string `xml:"NextMarker"`
	}
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		if !strings.HasPrefix(name, r.FormValue("prefix")) || name <= r.FormValue("marker") {
			continue
		}
		if len(page.Blobs.Blob) == pageMax {
			page.Next = page.Blobs.Blob[pageMax-1].Name
			break
		}
		one := item{Name: name}
		one.Properties.Modified = s.blobs[name].written.Format(http.TimeFormat)
		one.Properties.Tag, one.Properties.Length = s.blobs[name].tag, len(s.blobs[name].content)
		page.Blobs.Blob = append(page.Blobs.Blob, one)
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(page) // the client may be gone
}

func fail(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	if code != "" {
		w.Header().Set("x-ms-error-code", code)
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message) // the client may be gone
	}
}
