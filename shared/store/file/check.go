package file

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// tempTime is how long a file may stay in tmp before it counts as left by a crash. Others
// write there while this process starts, and would lose theirs.
const tempTime = 10 * time.Minute

// check looks through the folder. Files that a crash left in tmp are removed: nobody
// was told that they are there.
func (s *Store) check() error {
	temps, err := os.ReadDir(filepath.Join(s.dir, tempFolder))
	if err != nil {
		return err
	}
	for _, t := range temps {
		path := filepath.Join(s.dir, tempFolder, t.Name())
		info, err := t.Info()
		if err != nil || time.Since(info.ModTime()) < tempTime {
			continue // gone meanwhile, or being written
		}
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
