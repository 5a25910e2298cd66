// Package stores opens the backend that a URL names.
package stores

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud/azure"
	"github.com/eventflux/eventflux/shared/state/store/cloud/gcs"
	"github.com/eventflux/eventflux/shared/state/store/cloud/s3"
	"github.com/eventflux/eventflux/shared/state/store/file"
	"github.com/eventflux/eventflux/shared/state/store/redis"
)

// Forms are the forms of a URL, for people.
const Forms = "file:DIR, redis://HOST:PORT/DB, rediss:// (with TLS), s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or azblob://CONTAINER/PREFIX"

// Check says what is wrong with a URL. It never repeats the URL, which may hold a password.
func Check(url string) error {
	switch kind, rest, _ := strings.Cut(url, ":"); kind {
	case "file":
		if strings.TrimPrefix(rest, "//") == "" {
			return errors.New("is not of the form file:DIR")
		}
		return nil
	case "redis", "rediss":
		_, err := redis.Parse(url)
		return err
	case "s3":
		_, err := s3.Parse(url)
		return err
	case "gs":
		_, err := gcs.Parse(url)
		return err
	case "azblob":
		_, err := azure.Parse(url)
		return err
	}
	return errors.New("is none of " + Forms)
}

// Open opens the store at url, as the setting store.url has it.
func Open(ctx context.Context, url string, log *slog.Logger) (store.Store, error) {
	switch kind, rest, _ := strings.Cut(url, ":"); kind {
	case "file":
		return failable(opened(file.Open(strings.TrimPrefix(rest, "//"), log)))
	case "redis", "rediss":
		return failable(opened(redis.Open(ctx, url, log)))
	case "s3":
		return failable(opened(s3.Open(ctx, url, log)))
	case "gs":
		return failable(opened(gcs.Open(ctx, url, log)))
	case "azblob":
		return failable(opened(azure.Open(ctx, url, log)))
	}
	return nil, fmt.Errorf("%w: the URL of the store %w", store.ErrInvalid, Check(url))
}

// Exists returns an error if the URL names a folder without a store: Open would make one there.
// Stores of other kinds are found empty when they are read.
func Exists(url string) error {
	if dir, ok := strings.CutPrefix(url, "file:"); ok {
		return file.Exists(strings.TrimPrefix(dir, "//"))
	}
	return nil
}

// distantWorkers is how many requests to a store over the network are in flight at once. Most of
// their time passes on the way, not in a core: with 5 ms of latency, 16 load a checkpoint six times
// as fast as one.
const distantWorkers = 16

// Workers returns how many blocks of the store at url are best read or written at once; zero
// stands for the number of cores.
func Workers(url string) int {
	if strings.HasPrefix(url, "file:") {
		return 0
	}
	return distantWorkers
}

// opened keeps a nil pointer from becoming a store that is not nil.
func opened[S store.Store](s S, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}
