package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// A damaged database gives an error that names the file and the way out. It never causes a
// panic, or a fault that ends the process.
func TestDamagedDatabaseIsNamed(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "log.db")
	s, err := openLog(whole, true, true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(200) {
		if err := s.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]func([]byte) []byte{
		"only one byte":         func([]byte) []byte { return []byte{0} },
		"cut in the middle":     func(b []byte) []byte { return b[:len(b)/2] },
		"cut after three pages": func(b []byte) []byte { return b[:3*4096] },
		"zeros":                 func(b []byte) []byte { clear(b); return b },
		"zeros after the metas": func(b []byte) []byte { clear(b[2*4096:]); return b },
		"ones after the metas": func(b []byte) []byte {
			for i := 2 * 4096; i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log.db")
			if err := os.WriteFile(path, damage(append([]byte(nil), data...)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := openLog(path, true, true, quiet)
			if err == nil {
				t.Fatal("opened", s.close())
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "eventflux recover APP --adopt") {
				t.Errorf("%v", err)
			}
		})
	}
}

// One flipped bit, or a truncation, causes an error that names the file, or changes nothing
// that Raft reads. The database has free pages, several terms, and a log whose first entries
// were removed.
func TestEachDamagedBitIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, err := openLog(path, true, true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(300) {
		if err := errors.Join(s.SetUint64(keyTerm, i/100+1), s.Set([]byte("LastVoteCand"), []byte("a"))); err != nil {
			t.Fatal(err)
		}
		if err := s.StoreLog(&raft.Log{Index: i + 1, Term: i/100 + 1, Data: make([]byte, i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteRange(1, 200); err != nil {
		t.Fatal(err)
	}
	want := contentOf(t, s)
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	refused := 0
	for i := range 400 {
		data := bytes.Clone(whole)
		what := ""
		if i%10 == 0 {
			data = data[:1+rnd.IntN(len(data)-1)]
			what = fmt.Sprintf("seed %d, cut after %d bytes", seed, len(data))
		} else {
			at, bit := rnd.IntN(len(data)), rnd.IntN(8)
			if i%2 == 0 { // the metas and the first pages have mostly structure
				at = rnd.IntN(64) + rnd.IntN(len(data)/4096)*4096
			}
			data[at] ^= 1 << bit
			what = fmt.Sprintf("seed %d, bit %d of byte %d", seed, bit, at)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := openLog(path, true, true, quiet)
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "another process") {
				t.Fatalf("%s: %v", what, err)
			}
			continue
		}
		if s.from != 201 { // a gap that Node.checkLog compares with the snapshots
			refused++
		} else if got := contentOf(t, s); got != want {
			t.Errorf("%s: not noticed, and Raft reads something else", what)
		}
		// Damage to the list of free pages would show when they are used.
		for i := range uint64(20) {
			if err := s.StoreLog(&raft.Log{Index: i + 301, Term: 3, Data: make([]byte, 3000)}); err != nil {
				t.Errorf("%s: write: %v", what, err)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused == 0 || refused == 400 {
		t.Errorf("%d of 400 were refused", refused)
	}
}

// contentOf returns everything that Raft reads from a database.
func contentOf(t *testing.T, s *logStore) string {
	t.Helper()
	var b strings.Builder
	first, err := s.FirstIndex()
	last, err2 := s.LastIndex()
	term, err3 := s.GetUint64(keyTerm)
	vote, err4 := s.Get([]byte("LastVoteCand"))
	if err := errors.Join(err, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&b, first, last, term, string(vote))
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := s.GetLog(i, &l); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, l.Index, l.Term, l.Type, len(l.Data), l.AppendedAt)
	}
	return b.String()
}

// A log with a gap after the newest snapshot has lost entries, and is refused.
func TestLogHasAGap(t *testing.T) {
	cfg := Config{ID: "a", Dir: t.TempDir()}
	n, _ := open(t, cfg)
	lead(t, n)
	for range 5 {
		apply(t, n, "one")
	}
	closed(t, n)
	path := filepath.Join(cfg.Dir, "log.db")
	s, err := openLog(path, true, true, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DeleteRange(2, 3), s.close()); err != nil {
		t.Fatal(err)
	}
	n, err = Open(Config{ID: "a", Dir: cfg.Dir, FSM: &list{}, Log: quiet})
	if err == nil {
		closed(t, n)
		t.Fatal("it started without entries 2 and 3")
	}
	if !strings.Contains(err.Error(), "lacks the entries 1 to 3") {
		t.Error(err)
	}
}

// Damage that Raft finds while it runs ends the member with a reason, instead of the process
// with a panic.
func TestDamageWhileItRuns(t *testing.T) {
	n, _ := open(t, Config{ID: "a", Dir: t.TempDir()})
	lead(t, n)
	apply(t, n, "one")
	// A page that bbolt cannot use: the bucket is gone.
	if err := n.log.db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(bucketLog) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { _, _, _ = n.Apply(ctx, []byte("two")) }()
	err := <-n.Failed()
	cancel()
	if !strings.Contains(err.Error(), n.log.path) || !strings.Contains(err.Error(), "eventflux recover APP --adopt") {
		t.Error(err)
	}
	closed(t, n)
}

// A member without state calls Found before it starts a group. Found can forbid that, or
// make the member join one.
func TestMemberWithoutStateAsks(t *testing.T) {
	no := errors.New("there is a history")
	cfg := Config{ID: "a", Dir: t.TempDir(), FSM: &list{}, Log: quiet}
	cfg.Found = func() (bool, error) { return false, no }
	for range 2 { // the first attempt leaves an empty database
		if n, err := Open(cfg); !errors.Is(err, no) {
			t.Fatal(n, err)
		}
	}
	cfg.Found = func() (bool, error) { return true, nil }
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := n.raft.GetConfiguration().Configuration().Servers; len(got) > 0 {
		t.Errorf("it started a group of %v", got)
	}
	closed(t, n)
	cfg.Found = nil
	n, _ = open(t, cfg)
	lead(t, n)
	closed(t, n)
	cfg.Found = func() (bool, error) { return false, no } // not asked: it has state
	n, _ = open(t, cfg)
	lead(t, n)
	closed(t, n)
}

// An empty database beside snapshots is refused: it would take the group back to the newest
// snapshot.
func TestLogIsLostBesideSnapshots(t *testing.T) {
	cfg := Config{ID: "a", Dir: t.TempDir()}
	n, _ := open(t, cfg)
	lead(t, n)
	apply(t, n, "one")
	closed(t, n)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, hclogTo(quiet, true))
	if err != nil {
		t.Fatal(err)
	}
	members := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: "a"}}}
	_, transport := raft.NewInmemTransport("a")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 2, 2, members, 1, transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Dir, "log.db")
	for _, damage := range []func() error{func() error { return os.Truncate(path, 0) }, func() error { return os.Remove(path) }} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		n, err := Open(Config{ID: "a", Dir: cfg.Dir, FSM: &list{}, Log: quiet})
		if err == nil {
			closed(t, n)
			t.Fatal("it started from an old snapshot")
		}
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "eventflux recover APP --adopt") {
			t.Errorf("%v", err)
		}
	}
}

// A flipped bit in the meta file of a snapshot would change the members of the group. The snapshot is
// not used: the one before it is, with the log after it; if the log does not reach back to that, the
// member is refused.
func TestDamagedMetaOfASnapshot(t *testing.T) {
	open := func(t *testing.T, dir string) *snapshotStore {
		t.Helper()
		s, err := openSnapshots(dir, hclog.NewNullLogger(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	dir := t.TempDir()
	s := open(t, dir)
	members := raft.Configuration{Servers: []raft.Server{{ID: "one", Address: "one"}}}
	_, transport := raft.NewInmemTransport("one")
	for _, index := range []uint64{10, 20} {
		sink, err := s.Create(1, index, 1, members, 1, transport)
		if err == nil {
			_, err = sink.Write([]byte("state"))
		}
		if err = errors.Join(err, sink.Close()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Index != 20 {
		t.Fatal(list, err)
	}
	file := filepath.Join(dir, "snapshots", list[0].ID, metaFile)
	sound, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(sound) {
		flipped := bytes.Clone(sound)
		flipped[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(file, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := open(t, dir).List(); err != nil || len(list) != 1 || list[0].Index != 10 {
			t.Fatalf("bit %d: %v, %v", bit, list, err)
		}
	}
	sum := filepath.Join(filepath.Dir(file), metaSumFile)
	if err := errors.Join(os.WriteFile(file, sound, 0o600), os.Remove(sum)); err != nil {
		t.Fatal(err)
	}
	if list, err := open(t, dir).List(); err != nil || len(list) != 2 {
		t.Errorf("without a checksum, as earlier versions wrote it: %v, %v", list, err)
	}
}
