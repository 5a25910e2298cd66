package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/redistest"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openAt(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(within(t), url, quiet)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

// conform runs the tests of all backends, each with a prefix of its own.
func conform(t *testing.T, url string) {
	var n atomic.Int64
	storetest.Run(t, func(t *testing.T) func() store.Store {
		prefix := fmt.Sprintf("eventflux:%d:", n.Add(1))
		return func() store.Store { return openAt(t, url+"&prefix="+prefix) }
	})
}

func TestStore(t *testing.T) {
	server := redistest.Start(t)
	conform(t, server.URL())
}

func TestStoreOnCluster(t *testing.T) {
	nodes := redistest.Cluster(t, 3)
	conform(t, nodes[0].URL("cluster=true", "addr="+nodes[1].Addr))
	for i, n := range nodes {
		if keys := n.Do("DBSIZE").(int64); keys < 10 {
			t.Errorf("node %d has %d keys of all", i, keys)
		}
	}
}

func TestStoreWithReplica(t *testing.T) {
	server := redistest.Start(t)
	replica := server.Replica()
	conform(t, server.URL("replicas=1"))
	if m, r := server.Do("DBSIZE"), replica.Do("DBSIZE"); m != r {
		t.Errorf("the master has %d keys, the replica %d", m, r)
	}
}

func block(i int) string { return fmt.Sprintf("blocks/%064d", i) }

func commitOf(term, epoch uint64, objects ...string) store.Commit {
	return store.Commit{
		App: "app", Term: term, Epoch: epoch, Name: fmt.Sprintf("apps/app/checkpoints/%020d.json", epoch),
		Manifest: fmt.Appendf(nil, `{"epoch":%d}`, epoch), Objects: objects,
	}
}

func large(seed byte) []byte {
	return bytes.Repeat([]byte{seed, 1, 2, 3, 5, 7, 11}, 700_000) // five pieces, the last one not full
}

func wantSame(t testing.TB, s *Store, name string, want []byte) {
	t.Helper()
	got, err := s.Get(within(t), name)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d other bytes than the %d that were put", name, len(got), len(want))
	}
}

func wantHead(t testing.TB, s *Store, term, epoch uint64) {
	t.Helper()
	got, err := s.Head(within(t), "app")
	must(t, err)
	if got.Term != term || got.Epoch != epoch {
		t.Errorf("the head is %+v, want term %d, epoch %d", got, term, epoch)
	}
}

func wantKeys(t testing.TB, server *redistest.Server, pattern string, want int) {
	t.Helper()
	if keys := server.Do("KEYS", pattern).([]any); len(keys) != want {
		t.Errorf("%d keys are like %s, want %d: %q", len(keys), pattern, want, keys)
	}
}

// Names may have what means something in a key or a pattern.
func TestOddNames(t *testing.T) {
	s := openAt(t, redistest.Start(t).URL())
	names := []string{"}", "{}x", "a}b{c", "apps", "apps/{x}", "apps/a*/b", "apps/a?/b}", "%7B", "%257B", "[a]", "a^", "blocks/*", "apps/it's/x:0"}
	for _, name := range names {
		for _, data := range [][]byte{[]byte(name), large(1)} {
			must(t, s.Delete(within(t), name, time.Time{}))
			must(t, s.Put(within(t), name, data))
			wantSame(t, s, name, data)
		}
	}
	for _, name := range append(names, "", "apps/a", "apps/a*", "[", "{", "%") {
		want := 0
		for _, n := range names {
			if strings.HasPrefix(n, name) {
				want++
			}
		}
		must(t, s.List(within(t), name, func(o store.Object) error { want--; return nil }))
		if want != 0 {
			t.Errorf("%d objects that start with %q are not listed", want, name)
		}
	}
	c := store.Commit{App: "{o}dd*", Term: 1, Epoch: 1, Name: "apps/{o}dd*/1", Manifest: []byte("x"), Objects: names}
	must(t, s.Commit(within(t), c))
}
