package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/storetest"
)

var quiet = slog.New(slog.DiscardHandler)

func openAt(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() store.Store {
		dir := filepath.Join(t.TempDir(), "not", "there", "yet")
		return func() store.Store { return openAt(t, dir) }
	})
}

// A store whose folder is a link lists what it has.
func TestFolderThatIsALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink(dir, dir+"-link"); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir+"-link")
	defer s.Close()
	if err := s.Put(t.Context(), "blocks/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	found := 0
	if err := s.List(t.Context(), "blocks/", func(store.Object) error { found++; return nil }); err != nil || found != 1 {
		t.Errorf("%d objects, %v", found, err)
	}
}

// A crash can leave files in tmp. They go; what else is odd is named and stays.
func TestOpenFindsStrays(t *testing.T) {
	dir := t.TempDir()
	openAt(t, dir)
	for name, data := range map[string]string{"tmp/put-1": "half", "runs/.hidden": "x", "blocks/empty": ""} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(dir, "tmp/put-1"), long, long); err != nil {
		t.Fatal(err)
	}
	under := filepath.Join(dir, "tmp/put-2")
	if err := os.WriteFile(under, []byte("another process is at it"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, dir)
	got := strings.Join(s.Strays(), "\n")
	want := "tmp/put-1: left by a crash, removed\nblocks/empty: empty\n.hidden: no object has such a name"
	if got != want {
		t.Errorf("strays:\n%s\nwant:\n%s", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "tmp/put-1")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the half written file: %v", err)
	}
	if _, err := os.Stat(under); err != nil {
		t.Errorf("the file that is being written: %v", err)
	}
}

// A process that is stopped while it holds the lock fails the commits of others, and does
// not keep them forever.
func TestLockOfStoppedProcess(t *testing.T) {
	s := openAt(t, t.TempDir())
	commit := store.Commit{App: "a", Term: 1, Epoch: 1, Name: "apps/a/checkpoints/1.json", Manifest: []byte("{}")}
	unlock, err := s.disk.lock(s.headPath("a")+".lock", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), commit); err == nil || !strings.Contains(err.Error(), "is one stopped?") {
		t.Errorf("commit: %v", err)
	}
	unlock()
	if err := s.Commit(t.Context(), commit); err != nil {
		t.Error(err)
	}
}

// A folder that goes away is not made again: what is put then would be hidden by what
// comes back.
func TestFolderGoesAway(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openAt(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.makeFolder(filepath.Join(dir, "runs", "00")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("make a folder: %v", err)
	}
	if err := s.Put(t.Context(), "apps/a/checkpoints/1.json", []byte("{}")); err == nil {
		t.Error("put succeeded")
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
}

// traced records what the store asks of the disk, and fails where a test wants it.
type traced struct {
	realDisk
	dir    string
	steps  []string
	failAt int // number of the step, from 1; 0: never
	err    error
}

func (d *traced) step(format string, args ...any) error {
	for i, a := range args {
		if path, ok := a.(string); ok {
			rel, _ := filepath.Rel(d.dir, path)
			if strings.HasPrefix(rel, tempFolder+"/") {
				rel = "temp"
			}
			args[i] = rel
		}
	}
	d.steps = append(d.steps, fmt.Sprintf(format, args...))
	if len(d.steps) == d.failAt {
		return d.err
	}
	return nil
}

func (d *traced) write(dir string, data []byte) (string, error) {
	if err := d.step("write and sync temp, %d bytes", len(data)); err != nil {
		return "", err
	}
	return d.realDisk.write(dir, data)
}

func (d *traced) link(from, to string) error {
	return errors.Join(d.step("link %s to %s", from, to), d.ifWhole(func() error { return d.realDisk.link(from, to) }))
}

func (d *traced) rename(from, to string) error {
	return errors.Join(d.step("rename %s to %s", from, to), d.ifWhole(func() error { return d.realDisk.rename(from, to) }))
}

func (d *traced) mkdir(dir string) error {
	return errors.Join(d.step("make folder %s", dir), d.ifWhole(func() error { return d.realDisk.mkdir(dir) }))
}

func (d *traced) syncFolder(dir string) error {
	return errors.Join(d.step("sync folder %s", dir), d.ifWhole(func() error { return d.realDisk.syncFolder(dir) }))
}

// ifWhole does what was not made to fail.
func (d *traced) ifWhole(do func() error) error {
	if len(d.steps) == d.failAt {
		return nil
	}
	return do()
}

func commitOf(epoch uint64) store.Commit {
	return store.Commit{App: "app", Term: 1, Epoch: epoch, Name: fmt.Sprintf("apps/app/checkpoints/%d.json", epoch), Manifest: []byte("{}")}
}

const block = "blocks/aa00000000000000000000000000000000000000000000000000000000000000"

func TestOrderOfDurability(t *testing.T) {
	datadriven.RunTest(t, "testdata/order.txt", func(t *testing.T, d *datadriven.TestData) string {
		s := openAt(t, t.TempDir())
		disk := &traced{dir: s.dir}
		s.disk = disk
		var err error
		switch d.Cmd {
		case "put":
			err = s.Put(context.Background(), block, []byte("block"))
		case "commit":
			err = s.Commit(context.Background(), commitOf(1))
		}
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return strings.Join(disk.steps, "\n") + "\n"
	})
}

// A disk that is full at whichever step makes the operation fail, leaves nothing in
// tmp, and harms nothing that was there; once there is space, it goes on.
func TestFullDiskHarmsNothing(t *testing.T) {
	ctx := context.Background()
	for failAt := 1; ; failAt++ {
		s := openAt(t, t.TempDir())
		if err := s.Commit(ctx, commitOf(1)); err != nil {
			t.Fatal(err)
		}
		disk := &traced{dir: s.dir, failAt: failAt, err: syscall.ENOSPC}
		s.disk = disk
		err := s.Put(ctx, block, []byte("block"))
		if err == nil {
			err = s.Commit(ctx, commitOf(2))
		}
		if err == nil {
			if failAt < 8 {
				t.Errorf("only %d steps were made to fail", failAt-1)
			}
			return
		}
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("step %d, %s: %v", failAt, disk.steps[failAt-1], err)
		}
		if left, _ := os.ReadDir(filepath.Join(s.dir, tempFolder)); len(left) > 0 {
			t.Errorf("step %d, %s: left %v", failAt, disk.steps[failAt-1], left)
		}
		if h, err := s.Head(ctx, "app"); err != nil || h.Epoch < 1 {
			t.Errorf("step %d, %s: head %+v, %v", failAt, disk.steps[failAt-1], h, err)
		}
		disk.failAt = 0
		if err := s.Put(ctx, block, []byte("block")); err != nil && !errors.Is(err, store.ErrExists) {
			t.Errorf("step %d: put with space: %v", failAt, err)
		}
		if err := s.Commit(ctx, commitOf(2)); err != nil {
			t.Errorf("step %d: commit with space: %v", failAt, err)
		}
	}
}

// A folder of another layout is refused, and one that was opened is marked.
func TestFormat(t *testing.T) {
	dir := t.TempDir()
	openAt(t, dir)
	openAt(t, dir)
	mark := filepath.Join(dir, formatFile)
	if data, err := os.ReadFile(mark); err != nil || string(data) != "1\n" {
		t.Fatalf("%q, %v", data, err)
	}
	for other, want := range map[string]string{"2\n": "run the version of eventflux that wrote it", "": "is damaged", "\x00": "is damaged", "q\n": "is damaged"} {
		if err := os.WriteFile(mark, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, quiet); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), mark) {
			t.Errorf("format %q: %v", other, err)
		}
	}
}
