// Package secret keeps passwords and tokens out of what people read: logs, errors,
// listings and replies. Package config says where secrets come from.
package secret

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// Mask stands where a secret was.
const Mask = "xxxxx"

var (
	// The user part of a URL ends at the last '@' before the path. What looks like a
	// user part in prose has no scheme and is left alone.
	userPart = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^/?#\s"'` + "`" + `]*)@`)
	// Parameters that name a file, such as password_file, hold no secret.
	parameter = regexp.MustCompile(`([?&](?:password|pass|token|secret|sig|signature)=)[^&\s"'` + "`" + `]+`)
)

// Text returns text with the secrets of all URLs in it masked: passwords, tokens (a user
// without a password) and parameters such as ?token=…. Names of users stay.
func Text(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	text = userPart.ReplaceAllStringFunc(text, func(found string) string {
		parts := userPart.FindStringSubmatch(found)
		if user, _, ok := strings.Cut(parts[2], ":"); ok {
			return parts[1] + user + ":" + Mask + "@"
		}
		return parts[1] + Mask + "@"
	})
	return parameter.ReplaceAllString(text, "${1}"+Mask)
}

// URL is Text for a URL that may lack its scheme, or for several with commas between.
func URL(url string) string {
	if url == "" || strings.Contains(url, "://") {
		return Text(url)
	}
	const scheme = "nats://"
	return strings.TrimPrefix(Text(scheme+strings.ReplaceAll(url, ",", ","+scheme)), scheme)
}

// Error returns err with its text masked as by Text. It wraps err; nil stays nil.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return masked{err}
}

type masked struct{ error }

func (m masked) Error() string { return Text(m.error.Error()) }
func (m masked) Unwrap() error { return m.error }

// Writer returns a writer that masks each write as Text does before it reaches w. A URL
// must not be divided over two writes; loggers write a line at a time. It is as safe for
// concurrent use as w.
func Writer(w io.Writer) io.Writer { return writer{w} }

type writer struct{ to io.Writer }

func (w writer) Write(p []byte) (int, error) {
	if !bytes.Contains(p, []byte("://")) {
		return w.to.Write(p)
	}
	if _, err := io.WriteString(w.to, Text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// File returns the secret in a file, without the line end that editors add. An empty
// file is an error. Errors name the file and never its content.
func File(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", fmt.Errorf("read the password: %s is empty", path)
	}
	return text, nil
}
