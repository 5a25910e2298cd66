package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
)

// errReplicas says that the master has a write, but may lose it.
var errReplicas = errors.New("fewer replicas than replicas=N asks for have confirmed the write")

// transient reports whether an operation may succeed when it is repeated.
func transient(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, goredis.ErrPoolTimeout) || errors.Is(err, goredis.ErrClosed) {
		return true
	}
	for _, prefix := range []string{
		"MOVED ", "ASK ", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "UNBLOCKED",
		"BUSY", "ERR max number of clients",
	} {
		if goredis.HasErrorPrefix(err, prefix) || strings.HasPrefix(err.Error(), prefix) {
			return true
		}
	}
	var wire net.Error                                                        // refused, reset, no answer in time
	return errors.As(err, &wire) || strings.HasPrefix(err.Error(), "redis: ") // a Sentinel without a master, a connection in a bad state
}

// explain says what an error means, and how to fix it.
func (s *Store) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	var wire net.Error
	timeout := errors.As(err, &wire) && wire.Timeout()
	switch has := func(prefix string) bool { return goredis.HasErrorPrefix(err, prefix) }; {
	case ctx.Err() != nil:
		return ctx.Err()
	case has("OOM"), has("MISCONF") && strings.Contains(err.Error(), "No space left"):
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case has("NOAUTH"), has("WRONGPASS"):
		return fmt.Errorf("redis does not accept the user or the password: %w", err)
	case has("NOPERM"), strings.Contains(err.Error(), "The user executing the script"), strings.Contains(err.Error(), "ACL failure in script"):
		return fmt.Errorf("redis does not let user %s do that; docs/formats/store.md has the rights it needs: %w", s.user(), err)
	case has("READONLY"):
		return fmt.Errorf("it is a replica; the master is wanted: %w", err)
	case has("MOVED"), has("ASK"):
		return fmt.Errorf("it is a node of a Cluster, or its slots are moving; the former needs cluster=true: %w", err)
	case strings.Contains(err.Error(), "cluster support disabled"):
		return fmt.Errorf("it is no Cluster; leave out cluster=true: %w", err)
	case timeout:
		return fmt.Errorf("no answer within %s: %w", s.opt.Timeout, err)
	}
	return err
}

func (s *Store) user() string {
	if s.opt.User == "" {
		return "default"
	}
	return s.opt.User
}
