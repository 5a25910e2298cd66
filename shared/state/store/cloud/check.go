package cloud

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

const format = "1" // of all that is in docs/formats/store.md

// check refuses a bucket that ignores conditions, that a newer version wrote to, or that
// denies a right that is needed.
func (s *Store) check(ctx context.Context) error {
	if err := s.checkFormat(ctx); err != nil {
		return err
	}
	key := probeFolder + strings.ToLower(rand.Text())
	err := s.probe(ctx, key)
	// Whatever the probe found, it leaves nothing.
	if dropped := s.drop(ctx, key, ""); dropped != nil && kindOf(dropped) != Missing && err == nil {
		err = fmt.Errorf("delete the test object %s: %w", key, dropped)
	}
	return err
}

func (s *Store) checkFormat(ctx context.Context) error {
	content, _, err := s.read(ctx, formatKey)
	if kindOf(err) == Missing {
		_, err = s.write(ctx, formatKey, tagged([]byte(format), newTag()), Condition{Absent: true})
		if err == nil {
			return nil
		}
		if kindOf(err) == Unmet { // another process was faster
			content, _, err = s.read(ctx, formatKey)
		}
	}
	if err != nil {
		return err
	}
	if there, _ := untagged(content); string(there) != format {
		return fmt.Errorf("%s is %.40q, and this version knows %s; run the version of eventflux that wrote it, or choose another prefix", formatKey, there, format)
	}
	return nil
}

// probe does with a test object what later operations do, and checks that the conditions
// of puts and deletes count.
func (s *Store) probe(ctx context.Context, key string) error {
	first, err := s.probePut(ctx, key, Condition{Absent: true})
	if err != nil {
		return fmt.Errorf("put a test object: %w", err)
	}
	_, err = s.write(ctx, key, tagged([]byte("x"), newTag()), Condition{Absent: true})
	if kindOf(err) != Unmet {
		return errors.Join(errors.New("it has no puts that only create (If-None-Match: *): two processes could replace each other's checkpoints; use a server that has them"), err)
	}
	second, err := s.probePut(ctx, key, Condition{Version: first})
	if err != nil {
		return fmt.Errorf("replace a test object of a known version (If-Match): %w", err)
	}
	if second == first {
		return errors.New("a write of other content does not change the version (ETag) of an object; use a server that changes it")
	}
	_, err = s.write(ctx, key, tagged([]byte("x"), newTag()), Condition{Version: first})
	if kindOf(err) != Unmet {
		return errors.Join(errors.New("it has no puts that replace only a known version (If-Match): a former leader could overwrite newer checkpoints; use a server that has them"), err)
	}
	if _, _, err := s.list(ctx, key, ""); err != nil {
		return fmt.Errorf("list a test object: %w", err)
	}
	return s.probeDelete(ctx, key, first)
}

// probePut puts a test object and reads it back.
func (s *Store) probePut(ctx context.Context, key string, only Condition) (version string, err error) {
	content := tagged([]byte("x"), newTag())
	// If the answer to the first of several requests was lost, the condition is unmet.
	if _, err := s.write(ctx, key, content, only); err != nil && kindOf(err) != Unmet {
		return "", err
	}
	there, at, err := s.read(ctx, key)
	if err == nil && string(there) != string(content) {
		err = fmt.Errorf("%d bytes were put, and other %d are there", len(content), len(there))
	}
	return at.Version, err
}

func (s *Store) probeDelete(ctx context.Context, key, former string) error {
	err := s.drop(ctx, key, former)
	if kindOf(err) != Unmet && err != nil && kindOf(err) != Missing {
		return fmt.Errorf("delete a former version of a test object: %w", err)
	}
	if kindOf(err) == Unmet {
		return nil
	}
	if _, err := s.stat(ctx, key); kindOf(err) != Missing {
		return err // it deletes nothing, and says nothing
	}
	if s.opt.LooseDeletes {
		s.log.Warn("the bucket has no deletes of a known version, and deletes=loose accepts that: if a sweep stops between its look at an object and its delete, it may delete an object that was put again")
		return nil
	}
	return errors.New("it has no deletes of only a known version (DELETE with If-Match): a sweep could delete an object that was put again; use a server that has them, or accept the risk with deletes=loose in the URL")
}
