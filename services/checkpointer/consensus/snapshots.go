package consensus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

const (
	metaFile = "meta.json"
	// metaSumFile has the checksum of the meta file beside it: CRC32C in hexadecimal. Raft itself
	// has a checksum of the state alone, so a flipped bit in the meta file could change the
	// members of the group, and then no member would be elected.
	metaSumFile = "meta.crc32c"
)

// snapshotStore is Raft's store of snapshots in files, with a checksum of each meta file. A snapshot
// whose meta file is damaged is not there: an older one is used, with the log after it.
type snapshotStore struct {
	*raft.FileSnapshotStore
	dir string // of the snapshots
	log *slog.Logger
}

// openSnapshots opens the snapshots in dir, which it creates if it is missing.
func openSnapshots(dir string, logger hclog.Logger, log *slog.Logger) (*snapshotStore, error) {
	inner, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, logger)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return &snapshotStore{inner, filepath.Join(dir, "snapshots"), log}, nil
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.FileSnapshotStore.List()
	var sound []*raft.SnapshotMeta
	for _, one := range all {
		switch err := s.check(one); {
		case errors.Is(err, errMeta):
			s.log.Warn("a snapshot of Raft is damaged and not used", "file", filepath.Join(s.dir, one.ID, metaFile), "reason", err)
		case err != nil:
			return nil, err
		default:
			sound = append(sound, one)
		}
	}
	return sound, err
}

var errMeta = errors.New("its checksum is wrong, or it is not of its folder")

// check compares what Raft has read of a snapshot with the meta file of its folder, and that with its
// checksum. A snapshot of an earlier version, or one that was complete just before its process ended,
// has no checksum.
func (s *snapshotStore) check(one *raft.SnapshotMeta) error {
	meta, err := os.ReadFile(filepath.Join(s.dir, one.ID, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return errMeta // the flipped bit is in the id
	}
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	var of raft.SnapshotMeta
	if json.Unmarshal(meta, &of) != nil || of.Index != one.Index || of.Term != one.Term {
		return errMeta // the flipped bit made it the id of another snapshot
	}
	sum, err := os.ReadFile(filepath.Join(s.dir, one.ID, metaSumFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	if !bytes.Equal(sum, metaSum(meta)) {
		return errMeta
	}
	return nil
}

func metaSum(meta []byte) []byte {
	return fmt.Appendf(nil, "%08x", crc32.Checksum(meta, crc32.MakeTable(crc32.Castagnoli)))
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, configuration, configurationIndex, trans)
	if err != nil {
		return nil, err
	}
	return &snapshotSink{sink, s}, nil
}

// snapshotSink writes a snapshot.
type snapshotSink struct {
	raft.SnapshotSink
	store *snapshotStore
}

// Close implements raft.SnapshotSink: the snapshot is durable on return, with its checksum.
func (k *snapshotSink) Close() error {
	if err := k.SnapshotSink.Close(); err != nil {
		return err
	}
	dir := filepath.Join(k.store.dir, k.ID())
	meta, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	if err := writeWhole(filepath.Join(dir, metaSumFile), metaSum(meta)); err != nil {
		return fmt.Errorf("snapshots: %w", err)
	}
	return nil
}

// writeWhole writes a file, which is there as a whole or not at all.
func writeWhole(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the more useful one
	}
	return err
}
