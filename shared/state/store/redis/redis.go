// Package redis keeps the objects of checkpoints in Redis: one server, Sentinel, or
// Cluster. What a person finds there with redis-cli is in docs/formats/store.md.
//
//	o:{blocks/3f9a…}                       an object: bytes, used, sha256, data
//	p:{blocks/3f9a…}:<id>:0                the first piece of a large one
//	o:{apps/<app>}/checkpoints/000…42.json a manifest
//	h:{apps/<app>}                         the newest commit of an app
//
// A change of more than one key is one script, and every script may be repeated: if an
// answer is lost, the operation is sent again. Objects that no manifest refers to yet
// expire; a commit lifts that, and only then makes the manifest the head.
//
// Redis decides how durable a write is (appendfsync); replicas=N sets how many replicas
// must have it. Open warns if a crash can lose committed data.
//
// Read url.go, client.go, object.go, commit.go; lua has the scripts.
package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Store is a store.Store in Redis.
type Store struct {
	opt    Options
	client goredis.UniversalClient
	log    *slog.Logger

	mu   sync.Mutex
	seen map[string]store.Head // of each app: what this process knows to be committed
}

var _ store.Store = (*Store)(nil)

// Open connects to the Redis that a URL names, as Parse reads it, and checks that it can
// keep checkpoints. nil for log is slog.Default.
func Open(ctx context.Context, url string, log *slog.Logger) (*Store, error) {
	opt, err := Parse(url)
	if err != nil {
		return nil, fmt.Errorf("%w: redis: the URL: %w", store.ErrInvalid, err)
	}
	if log == nil {
		log = slog.Default()
	}
	client, err := opt.client()
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", opt.Name(), err)
	}
	s := &Store{opt: *opt, client: client, log: log.With("store", opt.Name()), seen: map[string]store.Head{}}
	if err := s.check(ctx); err != nil {
		_ = client.Close() // nothing was written that closing could lose
		return nil, fmt.Errorf("store %s: %w", opt.Name(), err)
	}
	return s, nil
}

// Close implements store.Store.
func (s *Store) Close() error { return s.client.Close() }

// known returns the newest head of an app that this process has seen.
func (s *Store) known(app string) store.Head {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[app]
}

// learn raises the known head of an app.
func (s *Store) learn(app string, h store.Head) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.seen[app]; h.Term >= k.Term && h.Epoch >= k.Epoch {
		s.seen[app] = h
	}
}

// newID returns an id that tells writers apart, and the pieces of different uploads.
func newID() string { return rand.Text()[:16] }
