package cloud

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

const prefixBytesMax = 256

// URL is SCHEME://BUCKET/PREFIX?PARAMETER=VALUE&….
type URL struct {
	Bucket string
	Prefix string // empty, or ends with '/'
	Options
	Endpoint string // of another server than the provider's; empty for the provider's
	CA       string // a file with certificate authorities; empty for the system's
}

// Name names the bucket for people.
func (u *URL) Name(scheme string) string {
	name := scheme + "://" + strings.TrimSuffix(u.Bucket+"/"+u.Prefix, "/")
	if u.Endpoint != "" {
		name += " at " + u.Endpoint
	}
	return name
}

// Parameters are the parameters that a kind of bucket has of its own.
type Parameters map[string]func(value string) error

// Parse reads a URL. Its errors do not repeat the URL, which may hold a secret by mistake.
func Parse(text, scheme string, own Parameters) (*URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != scheme || u.Opaque != "" || u.Fragment != "" {
		return nil, fmt.Errorf("is not of the form %s://BUCKET/PREFIX?PARAMETER=VALUE", scheme)
	}
	if u.User != nil {
		return nil, errors.New("has a user or a password; credentials come from the environment, files or the machine's role, never from the URL")
	}
	to := &URL{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"), Options: Options{Timeout: TimeoutDefault}}
	if to.Bucket == "" || strings.Contains(to.Bucket, ":") {
		return nil, fmt.Errorf("names no bucket: write %s://BUCKET/PREFIX, and the server as endpoint=https://HOST:PORT", scheme)
	}
	if to.Prefix != "" {
		if len(to.Prefix) > prefixBytesMax || store.CheckName(to.Prefix) != nil {
			return nil, fmt.Errorf("has a prefix of more than %d bytes, or with a part that is empty, starts with a dot, or has other than printable ASCII", prefixBytesMax)
		}
		to.Prefix += "/"
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has parameters that are not NAME=VALUE with '&' between")
	}
	return to, to.set(values, own)
}

func (u *URL) set(values url.Values, own Parameters) error {
	all := Parameters{
		"endpoint": u.setEndpoint,
		"ca":       NotEmpty(&u.CA),
		"timeout":  u.setTimeout,
		"takeover": NotEmpty(&u.Takeover),
		"deletes": func(v string) error {
			u.LooseDeletes = v == "loose"
			return oneOf(v, "checked", "loose")
		},
	}
	maps.Copy(all, own)
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		set := all[name]
		switch {
		case set == nil:
			errs = append(errs, fmt.Errorf("unknown parameter %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(all)), ", ")))
		case len(values[name]) > 1:
			errs = append(errs, fmt.Errorf("parameter %s is there twice", name))
		default:
			if err := set(values[name][0]); err != nil {
				errs = append(errs, fmt.Errorf("parameter %s %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func (u *URL) setEndpoint(v string) error {
	e, err := url.Parse(v)
	if err != nil || e.Scheme != "http" && e.Scheme != "https" || e.Host == "" || e.User != nil || e.RawQuery != "" {
		return errors.New("is not of the form https://HOST:PORT")
	}
	u.Endpoint = strings.TrimRight(v, "/")
	return nil
}

func (u *URL) setTimeout(v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 10*time.Millisecond {
		return errors.New("is no duration of 10ms or more, such as 30s")
	}
	u.Timeout = d
	return nil
}

// NotEmpty returns a function that sets a text, which must not be empty.
func NotEmpty(to *string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("is empty")
		}
		*to = v
		return nil
	}
}

// OneOf returns a function that sets one of several words.
func OneOf(to *string, words ...string) func(string) error {
	return func(v string) error {
		*to = v
		return oneOf(v, words...)
	}
}

// Bool returns a function that sets a truth value.
func Bool(to *bool) func(string) error {
	return func(v string) (err error) {
		if *to, err = strconv.ParseBool(v); err != nil {
			return errors.New("is neither true nor false")
		}
		return nil
	}
}

func oneOf(v string, words ...string) error {
	if !slices.Contains(words, v) {
		return fmt.Errorf("is none of %s", strings.Join(words, ", "))
	}
	return nil
}

// connections is how many idle connections to a bucket are kept.
const connections = 64

// Transport returns the transport for requests to the bucket.
func (u *URL) Transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: u.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       time.Minute,
		TLSHandshakeTimeout:   u.Timeout,
		ExpectContinueTimeout: time.Second,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if u.CA == "" {
		return t, nil
	}
	data, err := os.ReadFile(u.CA)
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority: %w", err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("no certificate in PEM is in %s", u.CA)
	}
	return t, nil
}
