package file

import (
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

// tempTime is how long a file may stay in tmp before it counts as left by a crash. Other
// processes write there while this one starts, and would lose their files.
const tempTime = 10 * time.Minute

// format is the layout of the folder, as the file of that name has it.
const format = "1\n"

// checkFormat refuses a folder with the layout of another version, and marks a new one.
func (s *Store) checkFormat() error {
	path := filepath.Join(s.dir, formatFile)
	there, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		var temp string
		if temp, err = s.disk.write(filepath.Join(s.dir, tempFolder), []byte(format)); err != nil {
			if err = full(err); errors.Is(err, store.ErrFull) {
				return nil // what is there can still be read
			}
			return err
		}
		defer s.disk.remove(temp)
		if err = s.disk.link(temp, path); err == nil {
			return s.disk.syncFolder(s.dir)
		}
		if errors.Is(err, fs.ErrExist) { // another process was as quick
			there, err = os.ReadFile(path)
		}
	}
	if err != nil {
		return err
	}
	if string(there) != format {
		if _, err := strconv.ParseUint(strings.TrimSpace(string(there)), 10, 32); err != nil {
			return fmt.Errorf("%s is damaged: it has %.20q in place of a number; write the line %q into it, unless another version of eventflux wrote the folder", path, there, strings.TrimSpace(format))
		}
		return fmt.Errorf("its format in %s is %.20q, and this version knows %q; run the version of eventflux that wrote it, or choose another folder", path, there, format)
	}
	return nil
}

// check looks through the folder. It removes files that a crash left in tmp: no caller was
// told that they exist.
func (s *Store) check() error {
	temps, err := os.ReadDir(filepath.Join(s.dir, tempFolder))
	if err != nil {
		return err
	}
	for _, t := range temps {
		path := filepath.Join(s.dir, tempFolder, t.Name())
		info, err := t.Info()
		if err != nil || time.Since(info.ModTime()) < tempTime {
			continue // just deleted, or being written
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		s.strays = append(s.strays, fmt.Sprintf("%s: left by a crash, removed", filepath.Join(tempFolder, t.Name())))
	}
	return s.walk(func(name string, entry fs.DirEntry) error {
		info, err := entry.Info()
		if err != nil {
			return nil // just deleted
		}
		switch {
		case name == "":
			s.strays = append(s.strays, fmt.Sprintf("%s: no object has such a name", entry.Name()))
		case info.Size() == 0:
			s.strays = append(s.strays, fmt.Sprintf("%s: empty", name))
		}
		return nil
	})
}
