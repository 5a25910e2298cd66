package cli

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/stores"
)

// makeCheckpoint commits a checkpoint of an app with one component.
func makeCheckpoint(t *testing.T, s store.Store, app string, epoch uint64) {
	t.Helper()
	ctx := context.Background()
	entry := state.Entry{Key: []byte("k"), Value: []byte(app)}
	run, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: state.Epoch(epoch)}, []state.Change{{Key: entry.Key, Value: entry.Value}})
	if err != nil {
		t.Fatal(err)
	}
	m := checkpoint.Manifest{App: app, Generation: 1, Epoch: state.Epoch(epoch), Term: 1, Partitions: []checkpoint.Partition{{
		Log:        checkpoint.Lineage{Stream: "EFW_" + app, Sequence: epoch, ID: checkpoint.ID{1}},
		Components: []checkpoint.Component{{ID: "c", Type: "t", Version: "1.0.0", Digest: state.DigestOf([]state.Entry{entry}), Runs: []checkpoint.Run{run}}},
	}}}
	data, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(ctx, store.Commit{App: app, Term: 1, Epoch: epoch, Name: checkpoint.ManifestName(app, m.Epoch), Manifest: data}); err != nil {
		t.Fatal(err)
	}
}

func TestStoreCopy(t *testing.T) {
	unsetSettings(t)
	dir := t.TempDir()
	from, to := "file:"+filepath.Join(dir, "from"), "file:"+filepath.Join(dir, "to")
	s, err := stores.Open(context.Background(), from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	copied := func(code int, want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		if got := execute(append([]string{"store", "copy"}, args...), nil, &out, &out); got != code || !strings.Contains(out.String(), want) {
			t.Errorf("%v: exit code %d, want %d, with %q: %s", args, got, code, want, out.String())
		}
	}
	copied(exitUsage, "the same store", from, from)
	copied(exitUsage, "TO is none of file:DIR", from, "ftp://x")
	copied(exitFailed, "the store FROM has no checkpoints", from, to)
	copied(exitFailed, "holds no checkpoints", from+"typo", to)
	if _, err := os.Stat(strings.TrimPrefix(from, "file:") + "typo"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder was made for FROM, or %v", err)
	}
	makeCheckpoint(t, s, "A", 1)
	makeCheckpoint(t, s, "B", 7)
	copied(exitFailed, "app C: the store has no checkpoint of the app", from, to, "--app", "C")
	copied(exitOK, "app B: 1 checkpoints copied and verified, with 1 objects", from, to, "--app", "B")
	copied(exitOK, "app A: 1 checkpoints copied and verified", from, to)
	copied(exitOK, "app B: 0 checkpoints copied", from, to)
}

// lines is what a command has printed so far.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A copy that follows says what it waits for, once: the first checkpoint, and then new ones. It names the
// apps that the store has.
func TestStoreCopySaysWhatItWaitsFor(t *testing.T) {
	dir := t.TempDir()
	from, to := "file:"+filepath.Join(dir, "from"), "file:"+filepath.Join(dir, "to")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s, err := stores.Open(ctx, from, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, test := range []struct {
		apps  []string
		epoch uint64 // of a checkpoint of A that is there
		want  string
	}{
		{nil, 0, "the store FROM has no checkpoints yet: waiting for the first one; looking every 1ms until interrupted\n"},
		{[]string{"B"}, 0, "app B: the store FROM has no checkpoint of it: waiting for the first one; it has no other app, either; looking every 1ms until interrupted\n"},
		{[]string{"B"}, 1, "app B: the store FROM has no checkpoint of it: waiting for the first one; it has checkpoints of A; looking every 1ms until interrupted\n"},
		{nil, 2, "app A: the copy is up to date: waiting for new checkpoints; looking every 1ms until interrupted\n"},
	} {
		if test.epoch > 0 {
			makeCheckpoint(t, s, "A", test.epoch)
		}
		following, interrupt := context.WithCancel(ctx)
		out, ended := &lines{}, make(chan error, 1)
		go func() { ended <- copyStores(following, out, from, to, test.apps, true, time.Millisecond) }()
		for !strings.HasSuffix(out.String(), test.want) && ctx.Err() == nil {
			<-time.After(time.Millisecond)
		}
		interrupt()
		if err := <-ended; err != nil || strings.Count(out.String(), test.want) != 1 {
			t.Errorf("%v; it says %q, want %q once", err, out.String(), test.want)
		}
	}
}

// A copy that follows has a new checkpoint soon, and ends when it is interrupted.
func TestStoreCopyFollows(t *testing.T) {
	dir := t.TempDir()
	from, to := "file:"+filepath.Join(dir, "from"), "file:"+filepath.Join(dir, "to")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var opened [2]store.Store
	for i, url := range []string{from, to} {
		s, err := stores.Open(ctx, url, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		opened[i] = s
	}
	following, interrupt := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- copyStores(following, &bytes.Buffer{}, from, to, nil, true, time.Millisecond) }()
	for epoch := uint64(1); epoch <= 3; epoch++ {
		makeCheckpoint(t, opened[0], "A", epoch)
		for {
			head, err := opened[1].Head(ctx, "A")
			if err != nil {
				t.Fatal(err)
			}
			if head.Epoch == epoch {
				break
			}
		}
	}
	interrupt()
	if err := <-ended; err != nil {
		t.Errorf("interrupted: %v", err)
	}
}
