package file

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// check looks through the folder. Files that a crash left in tmp are removed: nobody
// was told that they are there. A process that writes at this moment loses its file
// and gets an error, which it survives.
func (s *Store) check() error {
	temps, err := os.ReadDir(filepath.Join(s.dir, tempFolder))
	if err != nil {
		return err
	}
	for _, t := range temps {
		path := filepath.Join(s.dir, tempFolder, t.Name())
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		s.strays = append(s.strays, fmt.Sprintf("%s: left by a crash, removed", filepath.Join(tempFolder, t.Name())))
	}
	return s.walk(func(name string, entry fs.DirEntry) error {
		info, err := entry.Info()
		if err != nil {
			return nil // deleted meanwhile
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
