package cloud

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/store"
)

// commitTries is how often a commit starts again because another one was faster.
const commitTries = 20

// Commit implements store.Store. The manifest is durable before the head names it:
//
//	refuse an older term ──▶ put the manifest ──▶ replace the head that was read
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	if err := c.Check(); err != nil {
		return err
	}
	if err := s.commit(ctx, &c); err != nil {
		return fmt.Errorf("commit epoch %d of app %s: %w", c.Epoch, c.App, err)
	}
	return nil
}

func (s *Store) commit(ctx context.Context, c *store.Commit) error {
	// The head that this process wrote is most often still there. If not, replacing it fails.
	head := s.known(c.App)
	if _, done, err := head.Admit(c); done || err != nil || head.version == "" {
		if head, err = s.readHead(ctx, c.App); err != nil {
			return err
		}
	}
	manifest := "" // the version that this commit put
	for range commitTries {
		next, done, err := head.Admit(c)
		if done || err != nil {
			s.withdraw(ctx, c, head, manifest)
			return err
		}
		if c.Epoch > 0 && manifest == "" {
			if manifest, err = s.putManifest(ctx, c); err != nil {
				return err
			}
		}
		at, err := s.writeHead(ctx, c.App, next, head.version)
		if err == nil {
			s.learn(c.App, headAt{next, at.version})
			return nil
		}
		if k := kindOf(err); k != Unmet && k != Missing {
			return err
		}
		if at.repeated {
			// The head may have been ours for a moment, so its manifest stays.
			manifest = manifestThere
		}
		if head, err = s.readHead(ctx, c.App); err != nil {
			return err
		}
	}
	return errBusy
}

// errBusy is returned when other commits were faster each time.
var errBusy = errors.New("other commits of the app were faster each time")

// withdraw deletes the manifest that a refused commit put, unless the head names it.
func (s *Store) withdraw(ctx context.Context, c *store.Commit, head headAt, manifest string) {
	if manifest == "" || manifest == manifestThere || head.Name == c.Name {
		return
	}
	if err := s.drop(ctx, c.Name, manifest); err != nil {
		s.log.Debug("the manifest of a refused commit is left to the sweep", "manifest", c.Name, "err", err)
	}
}

// manifestThere stands for the version of a manifest that must stay, such as one that
// another commit put.
const manifestThere = "there"

// putManifest puts a manifest, or finds that it is there. It returns the version that it
// wrote.
func (s *Store) putManifest(ctx context.Context, c *store.Commit) (version string, err error) {
	w, err := s.write(ctx, c.Name, tagged(c.Manifest, newTag()), Condition{Absent: true})
	if kindOf(err) != Unmet {
		return w.version, err
	}
	there, _, err := s.read(ctx, c.Name)
	if err != nil {
		return "", err
	}
	if data, _ := untagged(there); string(data) != string(c.Manifest) {
		return "", fmt.Errorf("%s: %w with another content", c.Name, store.ErrExists)
	}
	return manifestThere, nil
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	if err := store.CheckApp(app); err != nil {
		return store.Head{}, err
	}
	h, err := s.readHead(ctx, app)
	if err != nil {
		return store.Head{}, fmt.Errorf("head of app %s: %w", app, err)
	}
	return h.Head, nil
}

func headKey(app string) string { return headFolder + app + ".json" }

// readHead returns the head of an app; the zero head if there is none.
func (s *Store) readHead(ctx context.Context, app string) (headAt, error) {
	known := s.known(app) // read before asking, because it may rise in the meantime
	content, at, err := s.read(ctx, headKey(app))
	if err != nil && kindOf(err) != Missing {
		return headAt{}, err
	}
	var h headAt
	if err == nil {
		data, _ := untagged(content)
		h.version = at.Version
		if h.Head, err = store.DecodeHead(data); err != nil {
			return headAt{}, fmt.Errorf("%s is damaged: %w; restore an earlier version of it, or delete it and continue from the manifests with eventflux recover --adopt", headKey(app), err)
		}
	}
	if h.Term < known.Term || h.Epoch < known.Epoch {
		return headAt{}, fmt.Errorf("%w: the head of app %s is term %d, epoch %d, and was term %d, epoch %d: something else deleted or replaced objects in the bucket",
			store.ErrLost, app, h.Term, h.Epoch, known.Term, known.Epoch)
	}
	s.learn(app, h)
	return h, nil
}

// writeHead replaces the head of that version; "" creates it.
func (s *Store) writeHead(ctx context.Context, app string, h store.Head, version string) (written, error) {
	data, err := store.EncodeHead(h)
	if err != nil {
		return written{}, err
	}
	content := tagged(data, newTag())
	w, err := s.write(ctx, headKey(app), content, Condition{Absent: version == "", Version: version})
	if kindOf(err) != Unmet || !w.repeated {
		return w, err
	}
	there, at, readErr := s.read(ctx, headKey(app))
	if readErr == nil && string(there) == string(content) {
		return written{version: at.Version}, nil
	}
	return w, err
}
