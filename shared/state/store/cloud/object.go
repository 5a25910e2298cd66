package cloud

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := store.Check(name, data); err != nil {
		return err
	}
	if err := s.put(ctx, name, data); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return nil
}

// put creates an object. If one is there, it makes it a new version, unless it is our own:
// then the answer to an earlier request was lost.
func (s *Store) put(ctx context.Context, name string, data []byte) error {
	own := newTag()
	content := tagged(data, own)
	for {
		_, err := s.write(ctx, name, content, Condition{Absent: true})
		if kindOf(err) != Unmet {
			return err
		}
		there, at, err := s.read(ctx, name)
		if kindOf(err) == Missing {
			continue // just deleted
		}
		if err != nil {
			return err
		}
		existing, tag := untagged(there)
		if tag == own {
			return nil
		}
		_, err = s.write(ctx, name, tagged(existing, newTag()), Condition{Version: at.Version})
		switch kindOf(err) {
		case Missing:
			continue // just deleted
		case Unmet:
			// Another put made it a new version, or deleted it. The latter must not count.
			if _, err := s.stat(ctx, name); kindOf(err) == Missing {
				continue
			} else if err != nil {
				return err
			}
			return store.ErrExists
		}
		if err != nil {
			return err
		}
		return store.ErrExists
	}
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	content, _, err := s.read(ctx, name)
	if kindOf(err) == Missing {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	data, _ := untagged(content)
	return data, nil
}

// GetRange implements store.Ranger.
func (s *Store) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if err := store.CheckRange(name, offset, n); err != nil {
		return nil, err
	}
	var part []byte
	var of Info
	err := s.repeat(ctx, "get", func(ctx context.Context) (err error) {
		part, of, err = s.bucket.GetPart(ctx, name, "", offset, n)
		s.counts.received.Add(float64(len(part)))
		return err
	})
	switch kindOf(err) {
	case Missing:
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotFound)
	case Beyond:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %d bytes from %d of %s: %w", n, offset, name, err)
	}
	return store.Part(part, 0, max(0, of.Bytes-int64(tagBytes)-offset)), nil // without the tag
}

// List implements store.Store. What a listing says may be old: a Delete looks again.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	for page := ""; ; {
		found, next, err := s.list(ctx, prefix, page)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, o := range found {
			if strings.HasPrefix(o.Key, ownFolder) || store.CheckName(o.Key) != nil {
				continue
			}
			if err := visit(store.Object{Name: o.Key, Bytes: max(0, o.Bytes-int64(tagBytes)), Used: o.Written}); err != nil {
				return err
			}
		}
		if next == "" {
			return nil
		}
		page = next
	}
}

// Delete implements store.Store. With a time, it deletes the version that it looked at and
// no later one.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if err := s.remove(ctx, name, since); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, name string, since time.Time) error {
	version := ""
	if !since.IsZero() {
		at, err := s.stat(ctx, name)
		if kindOf(err) == Missing || err == nil && !at.Written.Before(since) {
			return nil
		}
		if err != nil {
			return err
		}
		version = at.Version
		if s.opt.LooseDeletes {
			version = ""
		}
	}
	err := s.drop(ctx, name, version)
	if k := kindOf(err); k == Missing || k == Unmet {
		return nil
	}
	return err
}
