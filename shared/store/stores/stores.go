// Package stores opens the backend that a URL names.
package stores

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"eventflux/shared/store"
	"eventflux/shared/store/file"
)

// Open opens the store at url, as the setting store.url has it: file:DIR.
func Open(_ context.Context, url string, log *slog.Logger) (store.Store, error) {
	if dir, ok := strings.CutPrefix(url, "file:"); ok {
		return failable(file.Open(strings.TrimPrefix(dir, "//"), log))
	}
	scheme, _, _ := strings.Cut(url, ":") // not the rest: it may hold a password
	return nil, fmt.Errorf("%w: no store is called %q; write file:DIR", store.ErrInvalid, scheme)
}
