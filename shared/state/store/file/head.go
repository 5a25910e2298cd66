package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
)

func (s *Store) headPath(app string) string { return filepath.Join(s.dir, headFolder, app+".json") }

// lockHead waits until no other process commits for the app.
func (s *Store) lockHead(app string) (unlock func(), err error) {
	return s.disk.lock(s.headPath(app)+".lock", true)
}

// Head implements store.Store. It rebuilds a head that is damaged or missing from the
// app's manifests, and logs that.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	if err := errors.Join(store.CheckApp(app), ctx.Err()); err != nil {
		return store.Head{}, err
	}
	h, damage, err := s.readHead(app)
	if damage == "" || err != nil {
		return h, err
	}
	if damage == headMissing {
		// Most often the app is new: then there is nothing to lock and nothing to write.
		if h, err := s.newestManifest(app); err != nil || h == (store.Head{}) {
			return h, err
		}
	}
	unlock, err := s.lockHead(app)
	if err != nil {
		return h, err
	}
	defer unlock()
	return s.head(app)
}

// head returns the head of an app and rebuilds it if needed. The caller has locked it.
func (s *Store) head(app string) (store.Head, error) {
	h, damage, err := s.readHead(app)
	if damage == "" || err != nil {
		return h, err
	}
	h, err = s.newestManifest(app)
	if err != nil || damage == headMissing && h == (store.Head{}) {
		return h, err
	}
	if err := s.writeHead(app, h); err != nil {
		return h, fmt.Errorf("head of app %s: rebuild %s, since %s: %w", app, s.headPath(app), damage, full(err))
	}
	s.log.Warn("the record of an app's newest checkpoint could not be used, and was rebuilt from the manifests in the store",
		"app", app, "file", s.headPath(app), "damage", damage, "epoch", h.Epoch, "term", h.Term, "manifest", h.Name)
	return h, nil
}

const headMissing = "it is missing"

// readHead returns the head as its file has it, or what is wrong with the file.
func (s *Store) readHead(app string) (h store.Head, damage string, err error) {
	data, err := os.ReadFile(s.headPath(app))
	if errors.Is(err, fs.ErrNotExist) {
		return h, headMissing, nil
	}
	if err != nil {
		return h, "", fmt.Errorf("head of app %s: %w", app, err)
	}
	if h, err = store.DecodeHead(data); err != nil {
		return store.Head{}, fmt.Sprintf("it is damaged: %v", err), nil
	}
	return h, "", nil
}

// newestManifest returns the head that names the newest manifest of an app; the zero Head
// if the app has none. The term is the largest in the manifests. It may be older than the
// lost one, until the leader commits again.
func (s *Store) newestManifest(app string) (h store.Head, err error) {
	var used time.Time
	err = s.walkIn(filepath.Join(s.dir, "apps", app), func(name string, entry fs.DirEntry) error {
		if name == "" {
			return nil
		}
		data, err := os.ReadFile(s.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // just deleted
		}
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		// The reader of a manifest checks it. Here, the name of a damaged one still says
		// that its epoch was used.
		var m struct{ Term, Epoch uint64 }
		if json.Unmarshal(data, &m) != nil {
			m.Term, m.Epoch = 0, 0
		}
		epoch := max(m.Epoch, epochInName(name))
		h.Term = max(h.Term, m.Term)
		// If two manifests have one epoch, the later one replaced the other.
		if epoch > h.Epoch || epoch == h.Epoch && info.ModTime().After(used) {
			h.Epoch, h.Name, used = epoch, name, info.ModTime()
		}
		return nil
	})
	return h, err
}

// epochInName returns the number at the start of the last part of a manifest's name; 0 if
// there is none.
func epochInName(name string) uint64 {
	last := name[strings.LastIndexByte(name, '/')+1:]
	end := strings.IndexFunc(last, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(last)
	}
	epoch, err := strconv.ParseUint(last[:end], 10, 64)
	if err != nil {
		return 0
	}
	return epoch
}

// writeHead writes the head, which is durable on return. The caller has locked it.
func (s *Store) writeHead(app string, h store.Head) error {
	data, err := store.EncodeHead(h)
	if err != nil {
		return err
	}
	temp, err := s.disk.write(filepath.Join(s.dir, tempFolder), data)
	if err != nil {
		return err
	}
	if err := s.disk.rename(temp, s.headPath(app)); err != nil {
		s.disk.remove(temp)
		return err
	}
	return s.disk.syncFolder(filepath.Join(s.dir, headFolder))
}
