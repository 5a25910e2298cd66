package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
)

const format = "1" // of all that is in docs/formats/store.md

// check refuses a Redis that evicts committed data or loses it at a restart, that a newer
// version wrote to, or that denies a right that is needed. It logs settings that lose data
// in a crash.
func (s *Store) check(ctx context.Context) error {
	var nodes []*goredis.Client
	err := s.repeat(ctx, func() (err error) {
		nodes, err = s.nodes(ctx)
		return err
	})
	for i := 0; err == nil && i < len(nodes); i++ {
		err = s.repeat(ctx, func() error {
			return s.connected(nodes[i], func(conn *goredis.Conn) error { return s.checkNode(ctx, conn) })
		})
	}
	if err == nil {
		err = s.checkFormat(ctx)
	}
	if err == nil {
		err = s.checkRights(ctx)
	}
	return err
}

// errLoading is what Redis answers to most commands while it loads its data. It answers INFO,
// but says aof_enabled:0 then, whatever is configured.
var errLoading = errors.New("LOADING redis is loading its data")

// checkNode asks INFO if CONFIG is not allowed, as with managed services.
func (s *Store) checkNode(ctx context.Context, conn *goredis.Conn) error {
	text, err := conn.Info(ctx).Result()
	if err != nil {
		return err
	}
	has := info(text)
	if has["loading"] == "1" {
		return errLoading
	}
	if v := has["redis_version"]; older(v, 6, 2) {
		return fmt.Errorf("redis %s is too old, 6.2 is the first that serves", v)
	}
	if has["maxmemory"] != "0" && strings.HasPrefix(has["maxmemory_policy"], "allkeys-") {
		return fmt.Errorf("it evicts what was committed once maxmemory is reached; set maxmemory-policy noeviction instead of %s", has["maxmemory_policy"])
	}
	if p := has["maxmemory_policy"]; has["maxmemory"] != "0" && p != "noeviction" {
		s.log.Warn("redis may evict what is being written, and a checkpoint then fails; set maxmemory-policy noeviction", "policy", p)
	}
	sync, err := conn.ConfigGet(ctx, "appendfsync").Result()
	if err != nil && !refused(err) {
		return err
	}
	save, err := conn.ConfigGet(ctx, "save").Result()
	if err != nil && !refused(err) {
		return err
	}
	switch {
	case has["aof_enabled"] == "1" && sync["appendfsync"] == "":
		s.log.Info("redis does not say whether it syncs before it answers; appendfsync always is wanted")
	case has["aof_enabled"] == "1" && sync["appendfsync"] != "always":
		s.log.Warn("a crash of redis can take the last checkpoints; set appendfsync always", "appendfsync", sync["appendfsync"])
	case has["aof_enabled"] != "1" && save["save"] != "":
		s.log.Warn("a crash of redis takes the checkpoints since its last snapshot; set appendonly yes and appendfsync always", "save", save["save"])
	case has["aof_enabled"] != "1":
		s.log.Warn("redis keeps nothing on disk, as far as it says: a restart takes all checkpoints; set appendonly yes and appendfsync always")
	}
	if has["aof_enabled"] == "1" {
		return s.checkReload(ctx, conn)
	}
	return nil
}

// checkReload refuses a Redis that would not read back what it wrote. Its log holds the
// writes of scripts as transactions. Versions before the fix of redis/redis#14541 run those
// as the user default, and if that user may not, they drop them and say so only in their
// own log.
func (s *Store) checkReload(ctx context.Context, conn *goredis.Conn) error {
	key := s.opt.Prefix + "probe"
	for _, command := range [][]any{{"hset", key, "f", "v"}, {"set", key, "v", "px", "1"}, {"pexpireat", key, "1"}, {"persist", key}, {"unlink", key}} {
		answer, err := conn.ACLDryRun(ctx, "default", command...).Result()
		switch {
		case err != nil && refused(err):
			s.log.Info("redis does not say whether its user default has the rights that a restart needs to read its log back; docs/formats/store.md has them")
			return nil
		case err != nil:
			return err
		case answer != "OK":
			return fmt.Errorf("a restart of redis would take checkpoints: it reads transactions in its log back as the user default, which may not %s (%s); allow that with ACL SETUSER default ~* &* +@all, and in the ACL file: the user can stay off", command[0], answer)
		}
	}
	return nil
}

// refused reports whether a server answered with a refusal.
func refused(err error) bool {
	return goredis.HasErrorPrefix(err, "NOPERM") || strings.Contains(err.Error(), "unknown command") ||
		strings.Contains(strings.ToLower(err.Error()), "unknown subcommand")
}

// info reads what INFO answers.
func info(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

func older(version string, major, minor int) bool {
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		return false // it does not say
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a < major || a == major && b < minor)
}

func (s *Store) checkFormat(ctx context.Context) error {
	key := s.opt.Prefix + "format"
	var there string
	err := s.on(ctx, key, func(conn *goredis.Conn) (err error) {
		if err := conn.SetNX(ctx, key, format, 0).Err(); err != nil && !goredis.HasErrorPrefix(err, "OOM") {
			return err
		}
		there, err = conn.Get(ctx, key).Result()
		if errors.Is(err, goredis.Nil) {
			there, err = format, nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case there != format:
		return fmt.Errorf("%s is %q, and this version knows %s; run the version of eventflux that wrote it, or choose another prefix", key, there, format)
	}
	return nil
}

// checkRights does once, with a test object, everything that later operations do.
func (s *Store) checkRights(ctx context.Context) error {
	name := "probe/" + newID()
	err := s.Put(ctx, name, []byte{0})
	if err == nil {
		err = s.keep(ctx, []string{name})
	}
	if err == nil {
		_, err = s.Get(ctx, name)
	}
	if err == nil {
		err = s.List(ctx, name, func(store.Object) error { return nil })
	}
	if errors.Is(err, errReplicas) || errors.Is(err, store.ErrFull) {
		// Objects can still be read, and each checkpoint reports the problem as well.
		s.log.Warn("no checkpoint can be stored as it is now", "err", err)
		err = nil
	}
	return errors.Join(err, s.Delete(ctx, name, time.Time{}))
}
