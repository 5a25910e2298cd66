package store

import (
	"errors"
	"fmt"
	"strings"
)

const nameBytesMax = 512

// CheckName returns an ErrInvalid for a name that no backend accepts. Names are one or more
// parts of printable ASCII with '/' between them; no part is empty, starts with '.', or has
// a '\'.
func CheckName(name string) error {
	if name == "" || len(name) > nameBytesMax {
		return fmt.Errorf("%w: name of %d bytes, allowed are 1 to %d", ErrInvalid, len(name), nameBytesMax)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part[0] == '.' || strings.ContainsFunc(part, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
			return fmt.Errorf("%w: name %q: a part is empty, starts with a dot, or has other than printable ASCII", ErrInvalid, name)
		}
	}
	return nil
}

// Check returns an ErrInvalid for a name or data that no backend accepts.
func Check(name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(data) == 0 || len(data) > ObjectBytesMax {
		return fmt.Errorf("%w: object %s of %d bytes, allowed are 1 to %d", ErrInvalid, name, len(data), ObjectBytesMax)
	}
	return nil
}

// CheckApp returns an ErrInvalid for an app that can have no head in any backend: its name
// must be one part of a name.
func CheckApp(app string) error {
	if strings.Contains(app, "/") || CheckName("apps/"+app) != nil {
		return fmt.Errorf("%w: %q is no name of an app", ErrInvalid, app)
	}
	return nil
}

// Check returns an ErrInvalid that names what is wrong with a commit.
func (c *Commit) Check() error {
	switch {
	case c.App == "" || c.Term == 0:
		return fmt.Errorf("%w: commit for app %q in term %d; neither is ever empty", ErrInvalid, c.App, c.Term)
	case c.Epoch == 0 && (c.Name != "" || len(c.Manifest) > 0 || c.Replaces != ""):
		return fmt.Errorf("%w: commit of app %s: a manifest without an epoch", ErrInvalid, c.App)
	case c.Replaces != "" && c.Replaces == c.Name:
		return fmt.Errorf("%w: commit of app %s: %s replaces itself", ErrInvalid, c.App, c.Name)
	case c.Epoch > 0 && !strings.HasPrefix(c.Name, "apps/"+c.App+"/"):
		return fmt.Errorf("%w: manifest %q of app %s; its name must start with apps/%[3]s/", ErrInvalid, c.Name, c.App)
	case c.Epoch > 0:
		return errors.Join(CheckApp(c.App), Check(c.Name, c.Manifest))
	}
	return CheckApp(c.App)
}

// Admit returns the head after the commit, or ErrFenced. done says that the head was there
// already, and the manifest with it.
func (h Head) Admit(c *Commit) (next Head, done bool, err error) {
	switch {
	case c.Term < h.Term:
		return h, false, fmt.Errorf("%w: app %s: commit in term %d, the store has seen %d", ErrFenced, c.App, c.Term, h.Term)
	case c.Epoch == 0:
		return Head{Term: c.Term, Epoch: h.Epoch, Name: h.Name}, c.Term == h.Term, nil
	case c.Epoch == h.Epoch && c.Name == h.Name:
		return Head{Term: c.Term, Epoch: h.Epoch, Name: h.Name}, c.Term == h.Term, nil
	case c.Replaces != "" && c.Epoch <= h.Epoch:
		next = Head{Term: c.Term, Epoch: h.Epoch, Name: h.Name}
		if c.Epoch == h.Epoch && c.Replaces == h.Name {
			next.Name = c.Name
		}
		return next, false, nil
	case c.Replaces != "":
		return h, false, fmt.Errorf("%w: app %s: epoch %d is to be replaced, the store has none after %d", ErrFenced, c.App, c.Epoch, h.Epoch)
	case c.Epoch <= h.Epoch:
		return h, false, fmt.Errorf("%w: app %s: commit of epoch %d, the store has %d", ErrFenced, c.App, c.Epoch, h.Epoch)
	}
	return Head{Term: c.Term, Epoch: c.Epoch, Name: c.Name}, false, nil
}
