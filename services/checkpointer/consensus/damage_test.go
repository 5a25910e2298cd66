package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// A damaged database is an error that names the file and the way out. It is never a
// panic, or a fault that ends the process.
func TestDamagedDatabaseIsNamed(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "log.db")
	s, err := openLog(whole, true)
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
		"empty but for one byte": func([]byte) []byte { return []byte{0} },
		"cut in the middle":      func(b []byte) []byte { return b[:len(b)/2] },
		"cut after three pages":  func(b []byte) []byte { return b[:3*4096] },
		"zeros":                  func(b []byte) []byte { clear(b); return b },
		"zeros behind the metas": func(b []byte) []byte { clear(b[2*4096:]); return b },
		"ones behind the metas": func(b []byte) []byte {
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
			s, err := openLog(path, true)
			if err == nil {
				t.Fatal("opened", s.close())
			}
			if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "eventflux recover APP --adopt") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A member without state asks before it starts a group: it may not, or joins one.
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

// An empty database beside snapshots would take the group back to the newest of them.
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
