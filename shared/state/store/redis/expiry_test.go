package redis

import (
	"context"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/redistest"
)

func contains(err error, text string) bool { return err != nil && strings.Contains(err.Error(), text) }

// expiring returns how many keys like a pattern expire, and how many do not.
func expiring(t *testing.T, s *Store, pattern string) (expire, stay int) {
	t.Helper()
	nodes, err := s.nodes(within(t))
	must(t, err)
	for _, n := range nodes {
		keys, err := n.Keys(within(t), pattern).Result()
		must(t, err)
		for _, k := range keys {
			ttl, err := n.PTTL(within(t), k).Result()
			must(t, err)
			switch {
			case ttl < 0:
				stay++
			case ttl > 2*time.Hour || ttl < 2*time.Hour-time.Minute:
				t.Errorf("%s expires in %s", k, ttl)
			default:
				expire++
			}
		}
	}
	return expire, stay
}

// Objects that are not committed expire. A commit lifts that from everything it refers to,
// on whichever node it is.
func TestCommitLiftsExpiry(t *testing.T) {
	for name, servers := range map[string][]*redistest.Server{"single": {redistest.Start(t)}, "cluster": redistest.Cluster(t, 3)} {
		t.Run(name, func(t *testing.T) {
			s := openAt(t, servers[0].URL("ttl=2h", map[bool]string{true: "cluster=true", false: "cluster=false"}[len(servers) > 1]))
			var names []string
			for i := range 20 {
				must(t, s.Put(within(t), block(i), []byte{1}))
				names = append(names, block(i))
			}
			must(t, s.Put(within(t), "large/a", large(1)))
			must(t, s.Put(within(t), "large/b", large(1)))
			if expire, stay := expiring(t, s, "eventflux:[op]:*"); expire != 32 || stay != 0 {
				t.Errorf("%d keys expire before the commit, %d do not", expire, stay)
			}
			c := commitOf(1, 1, append(names, "large/a")...)
			c.Manifest = large(3)
			must(t, s.Commit(within(t), c))
			if expire, stay := expiring(t, s, "eventflux:[oph]:*"); expire != 6 || stay != 20+6+6+1 {
				t.Errorf("%d keys expire after the commit, %d do not", expire, stay)
			}
			wantErr(t, "put what is committed", s.Put(within(t), "large/a", large(1)), store.ErrExists)
			if expire, _ := expiring(t, s, "eventflux:[oph]:*"); expire != 6 {
				t.Errorf("%d keys expire after a put of what is committed", expire)
			}
			wantSame(t, s, c.Name, c.Manifest)
			must(t, s.Delete(within(t), c.Name, time.Time{}))
			must(t, s.Delete(within(t), "large/a", time.Time{}))
			must(t, s.Delete(within(t), "large/b", time.Time{}))
			if expire, stay := expiring(t, s, "eventflux:p:*"); expire+stay != 0 {
				t.Errorf("%d pieces are left of what was deleted", expire+stay)
			}
		})
	}
}

// A commit that refers to something that has expired, wholly or in part, is none.
func TestExpiredIsNotCommitted(t *testing.T) {
	server := redistest.Start(t)
	s := openAt(t, server.URL())
	must(t, s.Commit(within(t), commitOf(1, 1)))
	for name, expired := range map[string]string{"small": "o:{small}", "large": "p:{large}:*:3"} {
		must(t, s.Put(within(t), "small", []byte("x")))
		must(t, s.Put(within(t), "large", large(1)))
		key := server.Do("KEYS", s.opt.Prefix+expired).([]any)[0]
		server.Do("PEXPIRE", key, 1)
		server.Until("it has expired", func(ctx context.Context, c *goredis.Client) bool {
			return c.Exists(ctx, key.(string)).Val() == 0
		})
		err := s.Commit(within(t), commitOf(1, 2, "small", "large"))
		wantErr(t, "commit", err, store.ErrNotFound)
		if !contains(err, name+": ") || !contains(err, "expired") {
			t.Errorf("the error does not say that %s has expired: %v", name, err)
		}
		wantHead(t, s, 1, 1)
		_, err = s.Get(within(t), name)
		wantErr(t, "get", err, store.ErrNotFound)
		must(t, s.Put(within(t), name, large(2))) // and it can be put again
		wantSame(t, s, name, large(2))
		must(t, s.Delete(within(t), "small", time.Time{}))
		must(t, s.Delete(within(t), "large", time.Time{}))
	}
}

// Pieces whose upload broke off are gone soon.
func TestBrokenUploadGivesMemoryBack(t *testing.T) {
	server := redistest.Start(t, "--maxmemory", "14mb", "--maxmemory-policy", "noeviction")
	s := openAt(t, server.URL())
	data := make([]byte, 40<<20)
	wantErr(t, "put", s.Put(within(t), "large", data), store.ErrFull)
	wantKeys(t, server, "eventflux:p:*", 0)
	must(t, s.Put(within(t), "large", large(1)))
}
