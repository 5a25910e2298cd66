// Package cloud keeps the objects of checkpoints in a bucket of a cloud store. The packages
// below it have the buckets: s3, gcs and azure.
//
//	blocks/3f9a…                            an object, under its name
//	apps/<app>/checkpoints/000…42.json      a manifest
//	.eventflux/heads/<app>.json             the newest commit of an app
//	.eventflux/format                       of all this
//
// The store needs three things from a bucket: a put that creates only, a put that replaces
// only a known version, and a delete of only a known version. Open tries all three, and
// refuses a bucket that ignores the conditions.
//
// Each object ends with a tag that is new for every write, so each write makes a new
// version, also where the version is a hash of the content. A put of an existing object
// writes it again with another tag. A sweep that looked at it before then deletes nothing.
//
// Read bucket.go, object.go, commit.go, check.go, repeat.go, parts.go.
package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Options are the options that all kinds of buckets share.
type Options struct {
	// Timeout is how long one request may take, and how long a failed one is repeated.
	Timeout time.Duration
	// LooseDeletes accepts a bucket that ignores the condition of a delete.
	LooseDeletes bool
	// Takeover is a cluster whose store this cluster takes over; empty for none.
	Takeover string
}

// TimeoutDefault lets the largest object through at 2 MiB/s.
const TimeoutDefault = 30 * time.Second

// Store is a store.Store in a bucket. It is a prometheus.Collector.
type Store struct {
	bucket Bucket
	opt    Options
	log    *slog.Logger
	counts *counts

	mu    sync.Mutex
	heads map[string]headAt // of each app: the newest head that this process has seen
}

// headAt is a head with the version of its object.
type headAt struct {
	store.Head
	version string
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Ranger = (*Store)(nil)
)

// Open checks that a bucket can keep checkpoints. Closing the store closes the bucket; if
// Open fails, it has closed it. nil for log is slog.Default.
func Open(ctx context.Context, bucket Bucket, opt Options, log *slog.Logger) (*Store, error) {
	if log == nil {
		log = slog.Default()
	}
	s := &Store{
		bucket: bucket, opt: opt, log: log.With("store", bucket.Name()), counts: newCounts(),
		heads: map[string]headAt{},
	}
	if err := s.check(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", bucket.Name(), err), bucket.Close())
	}
	return s, nil
}

// Close implements store.Store.
func (s *Store) Close() error { return s.bucket.Close() }

// known returns the newest head of an app that this process has seen.
func (s *Store) known(app string) headAt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.heads[app]
}

// learn raises the known head of an app.
func (s *Store) learn(app string, h headAt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.heads[app]; h.Term >= k.Term && h.Epoch >= k.Epoch {
		s.heads[app] = h
	}
}

// A tag is the line that ends each object. It has always the same length.
const (
	tagStart    = "\n# eventflux "
	tagIDBytes  = 18
	tagBytes    = len(tagStart) + tagIDBytes + len("\n")
	ownFolder   = ".eventflux/" // no name of an object starts with a dot
	headFolder  = ownFolder + "heads/"
	formatKey   = ownFolder + "format"
	probeFolder = ownFolder + "probe/"
)

func newTag() string { return tagStart + rand.Text()[:tagIDBytes] + "\n" }

// tagged returns data with a tag.
func tagged(data []byte, tag string) []byte {
	return append(append(make([]byte, 0, len(data)+tagBytes), data...), tag...)
}

// untagged splits what is in a bucket. The tag is empty if the end of it is none: then
// something else has written there, and the reader finds that the content is damaged.
func untagged(content []byte) (data []byte, tag string) {
	at := len(content) - tagBytes
	if at < 0 || string(content[at:at+len(tagStart)]) != tagStart || content[len(content)-1] != '\n' {
		return content, ""
	}
	return content[:at:at], string(content[at:])
}
