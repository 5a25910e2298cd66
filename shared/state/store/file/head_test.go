package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/state/store"
)

// withEpochs returns a store with the checkpoints 1 to 12 of an app, as the checkpointer
// writes them.
func withEpochs(t *testing.T) (*Store, store.Head) {
	t.Helper()
	s := openAt(t, t.TempDir())
	for e := uint64(1); e <= 12; e++ {
		c := store.Commit{
			App: "app", Term: 3 + e/10, Epoch: e, Name: fmt.Sprintf("apps/app/checkpoints/%020d.json", e),
			Manifest: fmt.Appendf(nil, `{"format":1,"app":"app","epoch":%d,"term":%d}`, e, 3+e/10),
		}
		if err := s.Commit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	h, err := s.Head(t.Context(), "app")
	if err != nil || h.Epoch != 12 || h.Term != 4 {
		t.Fatalf("%+v, %v", h, err)
	}
	return s, h
}

// A head is only a record of what the manifests say. Whatever happens to its file, the
// store has the same head, logs the damage, and takes the next commit.
func TestHeadIsRebuilt(t *testing.T) {
	s, want := withEpochs(t)
	path := s.headPath("app")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s.log = slog.New(slog.NewTextHandler(&log, nil))
	check := func(what string) {
		t.Helper()
		got, err := s.Head(t.Context(), "app")
		if err != nil || got != want {
			t.Errorf("%s: head %+v, %v; want %+v", what, got, err, want)
		}
	}
	damages := map[string][]byte{
		"empty": {}, "half written": whole[:len(whole)/2], "zeros": make([]byte, len(whole)),
		"twice": slices.Concat(whole, whole), "another object": []byte("{\"a\":1}\n"), "no object": []byte("[]"),
	}
	for name, damaged := range damages {
		log.Reset()
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		check(name)
		if !strings.Contains(log.String(), path) || !strings.Contains(log.String(), "rebuilt from the manifests") {
			t.Errorf("%s: the log does not name the file: %s", name, log.String())
		}
		log.Reset()
		check(name)
		if log.Len() > 0 {
			t.Errorf("%s: it was rebuilt and not written: %s", name, log.String())
		}
	}
	log.Reset()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("missing")
	if !strings.Contains(log.String(), "it is missing") {
		t.Errorf("missing: %s", log.String())
	}
	for i := range len(whole) * 8 {
		flipped := slices.Clone(whole)
		flipped[i/8] ^= 1 << (i % 8)
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("bit %d of byte %d: %q", i%8, i/8, flipped))
	}
}

// A commit finds a damaged head too. It goes on from what the manifests say.
func TestCommitOverDamagedHead(t *testing.T) {
	s, _ := withEpochs(t)
	next := store.Commit{App: "app", Term: 4, Epoch: 12, Name: "apps/app/checkpoints/other.json", Manifest: []byte("{}")}
	for range 2 {
		if err := os.WriteFile(s.headPath("app"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context(), next); !errors.Is(err, store.ErrFenced) {
			t.Errorf("epoch 12 again: %v", err)
		}
		if err := s.Commit(t.Context(), store.Commit{App: "app", Term: 3}); !errors.Is(err, store.ErrFenced) {
			t.Errorf("a former term: %v", err)
		}
	}
	next.Epoch = 13
	if err := s.Commit(t.Context(), next); err != nil {
		t.Error(err)
	}
}

// The newest manifest counts by its name even if its content is damaged: its epoch was
// used. Of two manifests of one epoch the later one counts.
func TestHeadOfDamagedManifest(t *testing.T) {
	s, want := withEpochs(t)
	merged := store.Commit{
		App: "app", Term: 4, Epoch: 12, Replaces: want.Name, Name: "apps/app/checkpoints/00000000000000000012-0123456789abcdef.json",
		Manifest: []byte(`{"epoch":12,"term":4}`),
	}
	if err := s.Commit(t.Context(), merged); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{string(merged.Manifest), `{"epoch":`, ""} {
		if err := errors.Join(os.WriteFile(s.path(merged.Name), []byte(content), 0o600), os.Remove(s.headPath("app"))); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Head(t.Context(), "app"); err != nil || got != (store.Head{Term: 4, Epoch: 12, Name: merged.Name}) {
			t.Errorf("%q: %+v, %v", content, got, err)
		}
	}
}

// A head that version 0.x wrote has no checksum.
func TestHeadWithoutChecksum(t *testing.T) {
	s, want := withEpochs(t)
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.headPath("app"), append(data, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	if h, damage, err := s.readHead("app"); h != want || damage != "" || err != nil {
		t.Errorf("%+v, %q, %v", h, damage, err)
	}
}

// Lock files have no content, so damage to them has no effect, and neither has their loss.
func TestLockFilesHaveNoContent(t *testing.T) {
	s, want := withEpochs(t)
	for _, lock := range []string{filepath.Join(s.dir, lockFile), s.headPath("app") + ".lock"} {
		for _, damage := range []func() error{
			func() error { return os.WriteFile(lock, []byte("half of some"), 0o600) },
			func() error { return os.Truncate(lock, 0) },
			func() error { return os.Remove(lock) },
		} {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			again := openAt(t, s.dir)
			if len(again.Strays()) > 0 {
				t.Errorf("strays %q", again.Strays())
			}
			want.Term++
			if err := again.Commit(t.Context(), store.Commit{App: "app", Term: want.Term}); err != nil {
				t.Errorf("%s: %v", lock, err)
			}
			if got, err := again.Head(t.Context(), "app"); err != nil || got != want {
				t.Errorf("%s: %+v, %v", lock, got, err)
			}
		}
	}
}
