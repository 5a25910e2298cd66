package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime/debug"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// logStore keeps Raft's log and its few stable values in one bbolt database. Each call
// that writes is one transaction, which is synced before it returns.
type logStore struct{ db *bbolt.DB }

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)

	bucketLog    = []byte("log")
	bucketStable = []byte("stable")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// errKeyNotFound has the text by which Raft knows it.
	errKeyNotFound = errors.New("not found")
)

// An entry is version, type, term, time in ns, length of data, data, extensions, CRC32C.
const (
	entryVersion  = 1
	entryHead     = 1 + 1 + 8 + 8 + 4
	entryBytesMin = entryHead + 4
	lockWait      = time.Second
)

// restoreEntry is what to do about one that is damaged.
const restoreEntry = "restore the folder from another member of the group"

// restoreLog is what to do about a database that is damaged.
const restoreLog = "restore the whole data folder from a copy; in a group of three, remove the raft folder of this member, and the others send it their state; a single process without a copy starts again with the folders raft, nats and witness moved away and the store kept, and then eventflux recover APP --adopt goes on from the newest checkpoint of each app"

// openLog opens the database. A damaged one is an error that names the file: bbolt panics,
// or faults in a file that is shorter than its pages say.
func openLog(path string, noSync bool) (s *logStore, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			s, err = nil, fmt.Errorf("the Raft database %s is damaged: %v; %s", path, cause, restoreLog)
		}
	}()
	db, err := bbolt.Open(path, 0o640, &bbolt.Options{Timeout: lockWait, NoSync: noSync, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, berrors.ErrTimeout) {
		return nil, fmt.Errorf("%s is used by another process; stop it, or choose another folder with --data", path)
	}
	if errors.Is(err, berrors.ErrInvalid) || errors.Is(err, berrors.ErrChecksum) || errors.Is(err, berrors.ErrVersionMismatch) {
		return nil, fmt.Errorf("the Raft database %s is damaged: %w; %s", path, err, restoreLog)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := checkPages(db); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), db.Close())
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketLog)
		_, err2 := tx.CreateBucketIfNotExists(bucketStable)
		return errors.Join(err, err2)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return &logStore{db}, nil
}

// checkPages reads every page that is in use, so that a damaged one is met here and not
// in a goroutine of Raft.
func checkPages(db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			sum := uint32(0)
			return bucket.ForEach(func(key, value []byte) error {
				sum = crc32.Update(crc32.Update(sum, castagnoli, key), castagnoli, value)
				return nil
			})
		})
	})
}

func (s *logStore) close() error { return s.db.Close() }

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.edge((*bbolt.Cursor).First) }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.edge((*bbolt.Cursor).Last) }

func (s *logStore) edge(seek func(*bbolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		if key, _ := seek(tx.Bucket(bucketLog).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog implements raft.LogStore. A damaged entry is an error that names its index.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		data := tx.Bucket(bucketLog).Get(indexKey(index))
		if data == nil {
			return raft.ErrLogNotFound
		}
		if err := decodeEntry(data, log); err != nil {
			return fmt.Errorf("entry %d of the Raft log: %w", index, err)
		}
		log.Index = index
		return nil
	})
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketLog)
		for _, log := range logs {
			if err := bucket.Put(indexKey(log.Index), encodeEntry(log)); err != nil {
				return fmt.Errorf("entry %d of the Raft log: %w", log.Index, err)
			}
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for key, _ := c.Seek(indexKey(first)); key != nil && binary.BigEndian.Uint64(key) <= last; key, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set implements raft.StableStore.
func (s *logStore) Set(key, value []byte) error {
	return s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketStable).Put(key, value) })
}

// Get implements raft.StableStore.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		found := tx.Bucket(bucketStable).Get(key)
		if found == nil {
			return errKeyNotFound
		}
		value = append([]byte{}, found...)
		return nil
	})
	return value, err
}

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("stable value %q of Raft has %d bytes, expected 8", key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

func encodeEntry(log *raft.Log) []byte {
	dst := make([]byte, 0, entryBytesMin+len(log.Data)+len(log.Extensions))
	dst = append(dst, entryVersion, byte(log.Type))
	dst = binary.BigEndian.AppendUint64(dst, log.Term)
	at := int64(0)
	if !log.AppendedAt.IsZero() {
		at = log.AppendedAt.UnixNano()
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(at))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(log.Data)))
	dst = append(dst, log.Data...)
	dst = append(dst, log.Extensions...)
	return binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

func decodeEntry(data []byte, log *raft.Log) error {
	if len(data) < entryBytesMin {
		return fmt.Errorf("damaged: %d bytes, the shortest has %d; %s", len(data), entryBytesMin, restoreEntry)
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return fmt.Errorf("damaged: CRC32C is %08x, %08x was stored; %s", got, sum, restoreEntry)
	}
	if body[0] != entryVersion {
		return fmt.Errorf("format version %d, known is %d; run the version that wrote it or a newer one", body[0], entryVersion)
	}
	size := binary.BigEndian.Uint32(body[entryHead-4:])
	if uint64(size) > uint64(len(body)-entryHead) {
		return fmt.Errorf("damaged: %d bytes of data in an entry of %d; %s", size, len(data), restoreEntry)
	}
	*log = raft.Log{Type: raft.LogType(body[1]), Term: binary.BigEndian.Uint64(body[2:])}
	if at := int64(binary.BigEndian.Uint64(body[10:])); at != 0 {
		log.AppendedAt = time.Unix(0, at)
	}
	rest := body[entryHead:]
	log.Data = append([]byte(nil), rest[:size]...)
	if len(rest) > int(size) {
		log.Extensions = append([]byte(nil), rest[size:]...)
	}
	return nil
}
