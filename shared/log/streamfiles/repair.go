package streamfiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

const (
	reportFile = "report.json"
	dirMode    = 0o750
	fileMode   = 0o640
)

// readBounded reads a file that has no more than a number of bytes.
func readBounded(file string, most int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes, limit %d", file, info.Size(), most)
	}
	return io.ReadAll(f)
}

// replace gives a file another content, durably, and returns where the original is.
func (c *checker) replace(stream, file string, content []byte) (original string, err error) {
	if original, err = c.place(stream, filepath.Base(file)); err != nil {
		return "", err
	}
	if err := os.Link(file, original); err != nil {
		return "", err
	}
	if err := syncDir(filepath.Dir(original)); err != nil {
		return "", err
	}
	return original, writeFile(file, content)
}

// setAside moves a file or folder to where originals are kept.
func (c *checker) setAside(stream, path string) (original string, err error) {
	if original, err = c.place(stream, filepath.Base(path)); err != nil {
		return "", err
	}
	if err := os.Rename(path, original); err != nil {
		return "", err
	}
	return original, errors.Join(syncDir(filepath.Dir(original)), syncDir(filepath.Dir(path)))
}

// place returns a free name for an original.
func (c *checker) place(stream, base string) (string, error) {
	dir := filepath.Join(c.Aside, stream)
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return "", err
	}
	stem := filepath.Join(dir, c.now.Format("20060102T150405")+"."+base)
	name := stem
	for i := 2; ; i++ {
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
		name = stem + "." + strconv.Itoa(i)
	}
}

// writeFile writes a file as a whole or not at all. It is durable on return.
func writeFile(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), dirMode); err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(file), ".new.*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(content)
	if err := errors.Join(err, temp.Chmod(fileMode), temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return syncDir(filepath.Dir(file))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// addTombstone adds a block that says which sequence was used last, as the server itself
// does where its index tells it.
func (c *checker) addTombstone(s *folder, seq uint64) error {
	s.index++
	b, err := newBlock(s.name, s.index, nil)
	if err != nil {
		return err
	}
	stamp := s.stamp
	if stamp == 0 {
		stamp = c.now.UnixNano()
	}
	return writeFile(s.block(s.index), b.appendTombstone(nil, seq, stamp))
}

// ReadReport returns what checks have found that is still so.
func ReadReport(aside string) (findings []Finding, err error) {
	data, err := os.ReadFile(filepath.Join(aside, reportFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("report on damaged files: %w", err)
	}
	if err := json.Unmarshal(data, &findings); err != nil {
		// It is for people; what is missing is found again as a hole.
		return nil, nil
	}
	return findings, nil
}

func writeReport(aside string, findings []Finding) error {
	if _, err := os.Stat(filepath.Join(aside, reportFile)); len(findings) == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	data, err := json.MarshalIndent(findings, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(aside, reportFile), append(data, '\n')); err != nil {
		return fmt.Errorf("report on damaged files: %w", err)
	}
	return nil
}
