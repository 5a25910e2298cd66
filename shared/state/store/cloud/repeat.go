package cloud

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

const (
	retryPauseMin = 50 * time.Millisecond
	retryPauseMax = 2 * time.Second
)

// repeat makes a request, and repeats it after errors that may pass: every request can be
// repeated. If the answer to a conditional one was lost, a repeated one finds the condition
// unmet; its caller looks whether it was its own.
func (s *Store) repeat(ctx context.Context, request string, do func(context.Context) error) error {
	until := time.Now().Add(s.opt.Timeout)
	var told error // what the last answer said
	for pause := retryPauseMin; ; pause = min(2*pause, retryPauseMax) {
		err := s.once(ctx, request, do)
		if !errors.Is(err, context.DeadlineExceeded) {
			told = err
		} else if told != nil {
			err = fmt.Errorf("%w; before that: %w", err, told)
		}
		wait := pause/2 + rand.N(pause/2+1) // so that many processes do not come back at once
		if err == nil || ctx.Err() != nil || kindOf(err) != Passing || time.Now().Add(wait).After(until) {
			return s.explain(ctx, err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Store) once(ctx context.Context, request string, do func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	err := do(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = &Error{Kind: Passing, Hint: fmt.Sprintf("no answer within %s", s.opt.Timeout), Err: err}
	}
	s.counts.done(request, err)
	return err
}

func (s *Store) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case kindOf(err) == Full && !errors.Is(err, store.ErrFull):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// written is what came of a put.
type written struct {
	version string
	// repeated says that a request before the last one may have written as well.
	repeated bool
}

func (s *Store) write(ctx context.Context, key string, content []byte, only Condition) (w written, err error) {
	if to, ok := s.bucket.(Multipart); ok && len(content) > partBytes {
		return s.writeMultipart(ctx, to, key, content, only)
	}
	tries := 0
	err = s.repeat(ctx, "put", func(ctx context.Context) (err error) {
		tries++
		w.version, err = s.bucket.Put(ctx, key, content, only)
		s.counts.sent.Add(float64(len(content)))
		return err
	})
	w.repeated = tries > 1
	return w, err
}

func (s *Store) read(ctx context.Context, key string) (content []byte, at Info, err error) {
	if from, ok := s.bucket.(Multipart); ok {
		return s.readMultipart(ctx, from, key)
	}
	err = s.repeat(ctx, "get", func(ctx context.Context) (err error) {
		content, at, err = s.bucket.Get(ctx, key)
		s.counts.received.Add(float64(len(content)))
		return err
	})
	return content, at, err
}

func (s *Store) stat(ctx context.Context, key string) (at Info, err error) {
	err = s.repeat(ctx, "head", func(ctx context.Context) (err error) {
		at, err = s.bucket.Stat(ctx, key)
		return err
	})
	return at, err
}

func (s *Store) list(ctx context.Context, prefix, page string) (found []Info, next string, err error) {
	err = s.repeat(ctx, "list", func(ctx context.Context) (err error) {
		found, next, err = s.bucket.List(ctx, prefix, page)
		return err
	})
	return found, next, err
}

func (s *Store) drop(ctx context.Context, key, version string) error {
	return s.repeat(ctx, "delete", func(ctx context.Context) error { return s.bucket.Delete(ctx, key, version) })
}
