package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A data folder records its format version, so that an older binary does not misread data that
// a newer one wrote.
const (
	folderFile    = "eventflux.json"
	folderVersion = 1
)

type folderFormat struct {
	Format int `json:"format"`
}

// checkFolder refuses a data folder of a newer version.
func checkFolder(dir string) error {
	file := filepath.Join(dir, folderFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	var found folderFormat
	if err := json.Unmarshal(data, &found); err != nil || found.Format < 1 {
		return fmt.Errorf("data folder %s: %s is damaged: expected {\"format\":%d}; restore the file, or choose another folder with --data", dir, folderFile, folderVersion)
	}
	if found.Format > folderVersion {
		return fmt.Errorf("data folder %s has format %d, and this version knows formats up to %d; run the newer version of eventflux that wrote it, or choose another folder with --data", dir, found.Format, folderVersion)
	}
	return nil
}

// writeFormat writes the format into a new data folder, which the caller has locked. The file is
// durable on return.
func writeFormat(dir string) error {
	file := filepath.Join(dir, folderFile)
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	data, err := json.Marshal(folderFormat{Format: folderVersion})
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, folderFile+".*")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(data, '\n'))
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("data folder %s: sync: %w", dir, err)
	}
	return nil
}
