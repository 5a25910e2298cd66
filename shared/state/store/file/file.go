// Package file keeps the objects of checkpoints as files in a folder that a person can
// read:
//
//	DIR/blocks/3f/3f9a…         an object, under its name; hashes are spread over folders
//	DIR/runs/c0/c04d…
//	DIR/packs/9e/9e07…
//	DIR/apps/<app>/checkpoints/00000000000000000042.json
//	DIR/heads/<app>.json        the newest commit of an app
//	DIR/tmp                     what is being written
//	DIR/lock                    held while objects come and go
//	DIR/format                  of all this
//
// An object is written to tmp, synced, linked to its name and the folder synced, so
// that under a name there is all of it or nothing, whenever the power fails.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// Store is a store.Store of files.
type Store struct {
	dir    string
	disk   disk
	log    *slog.Logger
	strays []string
	opened bool // the folder was there
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Ranger = (*Store)(nil)
)

const (
	tempFolder = "tmp"
	headFolder = "heads"
	lockFile   = "lock"
	formatFile = "format"
	hashBytes  = 64 // of a name's last part that is a hash
)

// Open opens the folder, and creates it if it is missing. It removes what a crash has left,
// and logs what should not be there; Strays lists it. nil for log is slog.Default.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: a store of files needs a folder, as in file:DIR", store.ErrInvalid)
	}
	if log == nil {
		log = slog.Default()
	}
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		dir = target // a listing does not follow a link
	}
	s := &Store{dir: dir, disk: realDisk{}, log: log}
	for _, folder := range []string{tempFolder, headFolder} {
		if err := s.makeFolder(filepath.Join(dir, folder)); err != nil {
			return nil, fmt.Errorf("store %s: %w", dir, full(err))
		}
	}
	s.opened = true
	if err := s.checkFormat(); err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, err)
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("store %s: check: %w", dir, err)
	}
	for _, stray := range s.strays {
		log.Warn("stray file in the store", "store", dir, "file", stray)
	}
	return s, nil
}

// Exists returns an error if a folder holds no store. It creates nothing.
func Exists(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, headFolder)); err != nil {
		return fmt.Errorf("the folder %s holds no checkpoints, as it has no folder %s: %w; those of a data folder are in its folder checkpoints", dir, headFolder, err)
	}
	return nil
}

// Strays are the unexpected files that Open found, with what is odd about them. Files that
// a crash left in tmp are gone; the others are unchanged.
func (s *Store) Strays() []string { return s.strays }

// path returns the file of an object. If the last part of a name is a hash, files are
// spread over folders of its first two digits.
func (s *Store) path(name string) string {
	folder, last := filepath.Split(filepath.FromSlash(name))
	if len(last) == hashBytes {
		folder = filepath.Join(folder, last[:2])
	}
	return filepath.Join(s.dir, folder, last)
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := store.Check(name, data); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if err := s.put(name, data); err != nil {
		return fmt.Errorf("put %s: %w", name, full(err))
	}
	return nil
}

func (s *Store) put(name string, data []byte) error {
	path := s.path(name)
	// Looking first saves writing an object that exists.
	if err := s.touch(path); !errors.Is(err, fs.ErrNotExist) {
		return s.exists(path, err)
	}
	temp, err := s.disk.write(filepath.Join(s.dir, tempFolder), data)
	if err != nil {
		return err
	}
	defer s.disk.remove(temp)
	faultpoint.Reach(faultpoint.FileWritten)
	if err := s.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := s.disk.lock(filepath.Join(s.dir, lockFile), false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.disk.link(temp, path); errors.Is(err, fs.ErrExist) {
		return s.exists(path, s.disk.touch(path))
	} else if err != nil {
		return err
	}
	return s.disk.syncFolder(filepath.Dir(path))
}

// touch marks an object as used now, while no Delete looks at it.
func (s *Store) touch(path string) error {
	unlock, err := s.disk.lock(filepath.Join(s.dir, lockFile), false)
	if err != nil {
		return err
	}
	defer unlock()
	return s.disk.touch(path)
}

// exists returns ErrExists unless err says otherwise, once the object is durable: the
// process that put it may not have synced it yet.
func (s *Store) exists(path string, err error) error {
	if err == nil {
		err = s.disk.syncFolder(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	return store.ErrExists
}

// makeFolder makes a folder durable, and its parents.
func (s *Store) makeFolder(dir string) error {
	if info, err := os.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	if dir == s.dir && s.opened { // if the volume is not mounted any more, its mount point must not be filled
		return fmt.Errorf("folder %s of the store is gone: %w", dir, fs.ErrNotExist)
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := s.makeFolder(parent); err != nil {
			return err
		}
	}
	if err := s.disk.mkdir(dir); err != nil {
		return err
	}
	if err := s.disk.syncFolder(parent); err != nil {
		return errors.Join(err, s.disk.rmdir(dir)) // or the next call assumes that it is durable
	}
	return nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	data, err := os.ReadFile(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	return data, nil
}

// GetRange implements store.Ranger.
func (s *Store) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if err := store.CheckRange(name, offset, n); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	f, err := os.Open(s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("get %s: %w", name, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, err)
	}
	data := make([]byte, n)
	got, err := f.ReadAt(data, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("get %d bytes from %d of %s: %w", n, offset, name, err)
	}
	return data[:got:got], nil
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	return s.walk(func(name string, entry fs.DirEntry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if name == "" || !strings.HasPrefix(name, prefix) {
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // just deleted
		}
		if err != nil {
			return err
		}
		return visit(store.Object{Name: name, Bytes: info.Size(), Used: info.ModTime()})
	})
}

// walk calls visit with each file outside tmp and heads, and the name of its object; "" if
// it is none.
func (s *Store) walk(visit func(name string, entry fs.DirEntry) error) error {
	return s.walkIn(s.dir, visit)
}

// walkIn is walk for the files in one folder. A folder that is missing has none.
func (s *Store) walkIn(dir string, visit func(name string, entry fs.DirEntry) error) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // just deleted
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if rel == tempFolder || rel == headFolder {
				return filepath.SkipDir
			}
			return nil
		}
		if rel == lockFile || rel == formatFile {
			return nil
		}
		return visit(s.nameOf(rel), entry)
	})
}

// nameOf returns the name of the object in a file, or "" if the file cannot hold one.
func (s *Store) nameOf(rel string) string {
	folder, last := filepath.Split(rel)
	name := filepath.ToSlash(rel)
	if len(last) == hashBytes {
		name = filepath.ToSlash(filepath.Join(filepath.Dir(filepath.Clean(folder)), last))
	}
	if store.CheckName(name) != nil || s.path(name) != filepath.Join(s.dir, rel) {
		return ""
	}
	return name
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	unlock, err := s.disk.lock(filepath.Join(s.dir, lockFile), true)
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	defer unlock()
	path := s.path(name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !since.IsZero() && !info.ModTime().Before(since) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

// Commit implements store.Store. The manifest is durable before the head names it.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit %s: %w", c.Name, err)
	}
	if err := s.commit(&c); err != nil {
		return fmt.Errorf("commit epoch %d of app %s: %w", c.Epoch, c.App, full(err))
	}
	return nil
}

func (s *Store) commit(c *store.Commit) error {
	unlock, err := s.lockHead(c.App)
	if err != nil {
		return err
	}
	defer unlock()
	head, err := s.head(c.App)
	if err != nil {
		return err
	}
	next, done, err := head.Admit(c)
	if err != nil {
		return err
	}
	if done { // but a commit that failed late may not have made it durable
		return s.disk.syncFolder(filepath.Join(s.dir, headFolder))
	}
	if c.Epoch > 0 {
		if err := s.putManifest(c); err != nil {
			return err
		}
		faultpoint.Reach(faultpoint.FileCommitted)
	}
	return s.writeHead(c.App, next)
}

func (s *Store) putManifest(c *store.Commit) error {
	err := s.put(c.Name, c.Manifest)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	there, err := os.ReadFile(s.path(c.Name))
	if err != nil {
		return err
	}
	if string(there) != string(c.Manifest) {
		return fmt.Errorf("%s: %w with another content", c.Name, store.ErrExists)
	}
	return nil
}

// Close implements store.Store.
func (s *Store) Close() error { return nil }
