package file

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/eventflux/eventflux/shared/ops/space"
	"github.com/eventflux/eventflux/shared/state/store"
)

// disk is how the store changes the file system. Tests replace it to record the order, and
// to fail.
type disk interface {
	// write writes and syncs a file of its own name in dir, and returns its path. A
	// failure leaves no file.
	write(dir string, data []byte) (string, error)
	link(from, to string) error
	rename(from, to string) error
	remove(path string)
	mkdir(dir string) error
	rmdir(dir string) error
	syncFolder(dir string) error
	touch(path string) error
	// lock takes a lock that other processes see, exclusive or shared.
	lock(path string, alone bool) (unlock func(), err error)
}

// A process that is killed releases its locks; a stopped one keeps them. No process waits
// for it forever.
const (
	lockWait    = 5 * time.Second
	lockPoll    = time.Millisecond
	lockPollMax = 16 * time.Millisecond
)

type realDisk struct{}

func (realDisk) write(dir string, data []byte) (string, error) {
	f, err := os.CreateTemp(dir, "put-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Chmod(0o640), f.Close()); err != nil {
		_ = os.Remove(f.Name()) // the first error says more
		return "", err
	}
	return f.Name(), nil
}

func (realDisk) link(from, to string) error   { return os.Link(from, to) }
func (realDisk) rename(from, to string) error { return os.Rename(from, to) }
func (realDisk) remove(path string)           { _ = os.Remove(path) } // Open removes what stays
func (realDisk) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func (realDisk) rmdir(dir string) error { return os.Remove(dir) }

func (realDisk) syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (realDisk) touch(path string) error {
	now := time.Now()
	return os.Chtimes(path, now, now)
}

func (realDisk) lock(path string, alone bool) (func(), error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_SH
	if alone {
		how = syscall.LOCK_EX
	}
	begun := time.Now()
	for wait := lockPoll; ; wait = min(2*wait, lockPollMax) {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) && !errors.Is(err, syscall.EWOULDBLOCK) {
			break
		}
		if time.Since(begun) > lockWait {
			err = fmt.Errorf("another process has held it for %s; is one stopped?", lockWait)
			break
		}
		time.Sleep(wait)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // this also unlocks
}

// full turns an error of a full disk into an ErrFull.
func full(err error) error {
	if space.IsFull(err) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
