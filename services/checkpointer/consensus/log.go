package consensus

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/eventflux/eventflux/shared/ops/space"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// logStore keeps Raft's log and its few stable values in one bbolt database. Each writing
// call is one transaction, which is synced before the call returns.
//
// Raft panics if it cannot read an entry or store its term. So while Raft runs, a call that
// cannot succeed does not return: it sends the reason to failed and ends the calling
// goroutine of Raft with runtime.Goexit, so that deferred functions run.
type logStore struct {
	db    *bbolt.DB
	path  string
	log   *slog.Logger
	alone bool   // no other member can replace this one
	from  uint64 // at the start: the first entry of the part without gaps at the end; 0 for none

	running atomic.Bool   // Raft makes the calls
	stopped chan struct{} // closed when Raft has to stop
	failed  chan error    // receives the reason why the database can no longer be used
	full    atomic.Bool   // the disk refused the newest write
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)

	bucketLog    = []byte("log")
	bucketStable = []byte("stable")

	keyTerm = []byte("CurrentTerm") // as Raft calls it

	// errKeyNotFound has this text because Raft compares it.
	errKeyNotFound = errors.New("not found")
	errVersion     = errors.New("format version")
)

// An entry is version, type, term, time in ns, length of data, data, extensions, CRC32C.
const (
	entryVersion  = 1
	entryHead     = 1 + 1 + 8 + 8 + 4
	entryBytesMin = entryHead + 4
	lockWait      = time.Second

	roomWaitMin = 10 * time.Millisecond // between two writes to a full disk
	roomWaitMax = time.Second
)

// WayOut tells an operator what to do about a database that is damaged or lost.
const WayOut = "restore the whole data folder from a copy; in a group of three, remove the raft folder of this member, and the others send it their state; a single process without a copy starts again with the folders raft, nats and witness moved away and the store kept, and then eventflux recover APP --adopt goes on from the newest checkpoint of each app"

// openLog opens the database and reads all of it. For damage it returns an error that names
// the file; bbolt alone would panic, or fault in a file that is shorter than its pages say.
func openLog(path string, noSync, alone bool, log *slog.Logger) (*logStore, error) {
	s := &logStore{path: path, log: log, alone: alone, stopped: make(chan struct{}), failed: make(chan error, 1)}
	var file *os.File // for a panic of bbolt.Open, which returns no database to close
	err := contain(func() (err error) {
		if err := checkStructure(path); err != nil {
			return err
		}
		s.db, err = bbolt.Open(path, 0o640, &bbolt.Options{
			Timeout: lockWait, NoSync: noSync, FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (f *os.File, err error) {
				f, err = os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		if err != nil {
			return err
		}
		if err := s.db.View(s.checkContent); err != nil {
			return err
		}
		return s.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(bucketLog)
			_, err2 := tx.CreateBucketIfNotExists(bucketStable)
			return errors.Join(err, err2)
		})
	})
	if err == nil {
		return s, nil
	}
	var damage *damageError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		err = fmt.Errorf("%s is used by another process; stop it, or choose another folder with --data", path)
	case errors.As(err, &damage), errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		err = s.damaged(err)
	default:
		err = fmt.Errorf("open %s: %w", path, err)
	}
	if s.db != nil {
		err = errors.Join(err, contain(s.db.Close))
	}
	if file != nil {
		_ = file.Close() // releases the lock if bbolt panicked; otherwise bbolt has closed it
	}
	return nil, err
}

// damageError describes damage of the database.
type damageError struct{ what string }

func (e *damageError) Error() string { return e.what }

func damagef(format string, args ...any) error { return &damageError{fmt.Sprintf(format, args...)} }

// contain turns a panic of bbolt, or a fault in its file, into an error.
func contain(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = damagef("%v", cause)
		}
	}()
	return do()
}

func (s *logStore) damaged(err error) error {
	return fmt.Errorf("the Raft database %s is damaged: %w; %s", s.path, err, WayOut)
}

// checkContent reads everything that Raft will read, the stable values and every entry, so
// that damage is found here and not in a goroutine of Raft.
func (s *logStore) checkContent(tx *bbolt.Tx) error {
	if err := checkBuckets(tx); err != nil {
		return err
	}
	term, err := s.checkEntries(tx.Bucket(bucketLog))
	if err != nil {
		return err
	}
	return checkStable(tx.Bucket(bucketStable), term)
}

// checkBuckets refuses a database that has only one of the two buckets, or an unknown one:
// then a name is damaged, and openLog would create the missing bucket, empty.
func checkBuckets(tx *bbolt.Tx) error {
	known := 0
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if !bytes.Equal(name, bucketLog) && !bytes.Equal(name, bucketStable) {
			return damagef("it has an unknown bucket %q", name)
		}
		known++
		return nil
	})
	if err == nil && known == 1 {
		err = damagef("one of the buckets %q and %q is missing", bucketLog, bucketStable)
	}
	return err
}

// checkEntries decodes all entries and returns the term of the last. It accepts a gap before
// from: Node.checkLog checks whether a snapshot covers it.
func (s *logStore) checkEntries(bucket *bbolt.Bucket) (term uint64, err error) {
	if bucket == nil {
		return 0, nil
	}
	last := uint64(0)
	err = bucket.ForEach(func(key, value []byte) error {
		if len(key) != 8 {
			return damagef("an entry has the key %x", key)
		}
		index := binary.BigEndian.Uint64(key)
		if last == 0 || index != last+1 {
			s.from = index
		}
		var e raft.Log
		if err := decodeEntry(value, &e); err != nil {
			return entryError(index, err)
		}
		if e.Term < term {
			return damagef("entry %d is of term %d, and the one before of term %d", index, e.Term, term)
		}
		last, term = index, e.Term
		return nil
	})
	return term, err
}

// entryError makes err a damageError, unless a newer version wrote the entry.
func entryError(index uint64, err error) error {
	if errors.Is(err, errVersion) {
		return fmt.Errorf("entry %d: %w", index, err)
	}
	return damagef("entry %d: %v", index, err)
}

// checkStable checks the stable values. The current term must not be older than the newest
// entry's term.
func checkStable(bucket *bbolt.Bucket, newest uint64) error {
	if bucket == nil {
		return nil
	}
	err := bucket.ForEach(func(key, _ []byte) error {
		_, err := stableValue(bucket, bytes.TrimPrefix(key, sumPrefix))
		return err
	})
	if err != nil {
		return err
	}
	if value := bucket.Get(keyTerm); value == nil && newest > 0 {
		return damagef("it has entries of term %d, and no current term", newest)
	} else if value != nil && (len(value) != 8 || binary.BigEndian.Uint64(value) < newest) {
		return damagef("the current term is %x, and there are entries of term %d", value, newest)
	}
	return nil
}

// stableValue returns a stable value of Raft, or nil. It verifies the checksum, which values
// from old versions do not have.
func stableValue(bucket *bbolt.Bucket, key []byte) ([]byte, error) {
	value, sum := bucket.Get(key), bucket.Get(sumKey(key))
	if sum != nil && !bytes.Equal(sum, sumOf(key, value)) {
		return nil, damagef("the value %q has a wrong checksum", key)
	}
	return value, nil
}

var sumPrefix = []byte("crc32c ")

func sumKey(key []byte) []byte { return append(bytes.Clone(sumPrefix), key...) }

func sumOf(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, wire.UpdateCRC(wire.CRC(key), value))
}

// stop ends the calls that wait for disk space. Raft must be stopping already.
func (s *logStore) stop() { close(s.stopped) }

func (s *logStore) close() error { return contain(s.db.Close) }

func (s *logStore) view(do func(*bbolt.Tx) error) error {
	return s.end(contain(func() error { return s.db.View(do) }))
}

// update runs a writing transaction. If the disk is full and wait is set, it waits for
// space: otherwise Raft would panic, or start one election after another.
func (s *logStore) update(wait bool, do func(*bbolt.Tx) error) error {
	for pause := roomWaitMin; ; pause = min(2*pause, roomWaitMax) {
		err := contain(func() error { return s.db.Update(do) })
		full := space.IsFull(err)
		if s.full.Swap(full) != full {
			if full {
				s.log.Error("the disk of the Raft log is full: nothing is deployed and no checkpoint is made until there is room", "file", s.path, "err", err)
			} else {
				s.log.Info("the disk of the Raft log has room again", "file", s.path)
			}
		}
		if !full || !wait {
			return s.end(err)
		}
		select {
		case <-time.After(pause):
		case <-s.stopped:
			runtime.Goexit()
		}
	}
}

// end returns err. If it is damage and Raft runs, end does not return: see logStore.
func (s *logStore) end(err error) error {
	var damage *damageError
	if !errors.As(err, &damage) {
		return err
	}
	err = s.damaged(err)
	if !s.running.Load() {
		return err
	}
	select {
	case s.failed <- err:
	default:
	}
	runtime.Goexit()
	return nil
}

func indexKey(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

// IsMonotonic implements raft.MonotonicLogStore: the log must have no gap after this member
// installs a snapshot of the leader.
func (s *logStore) IsMonotonic() bool { return true }

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.edge((*bbolt.Cursor).First) }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.edge((*bbolt.Cursor).Last) }

func (s *logStore) edge(seek func(*bbolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		if key, _ := seek(tx.Bucket(bucketLog).Cursor()); key != nil {
			index = binary.BigEndian.Uint64(key)
		}
		return nil
	})
	return index, err
}

// GetLog implements raft.LogStore. The error for a damaged entry names its index.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	return s.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketLog)
		data := bucket.Get(indexKey(index))
		if data == nil {
			first, _ := bucket.Cursor().First()
			last, _ := bucket.Cursor().Last()
			if first != nil && index >= s.from && bytes.Compare(first, indexKey(index)) < 0 && bytes.Compare(indexKey(index), last) < 0 {
				return damagef("entry %d is missing", index)
			}
			return raft.ErrLogNotFound
		}
		if err := decodeEntry(data, log); err != nil {
			return entryError(index, err)
		}
		log.Index = index
		return nil
	})
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. If the disk is full, a single member waits; a member
// of a group returns an error, so that another member leads.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	return s.update(s.alone, func(tx *bbolt.Tx) error {
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
	return s.update(false, func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		for key, _ := c.Seek(indexKey(first)); key != nil && binary.BigEndian.Uint64(key) <= last; key, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set implements raft.StableStore. It waits while the disk is full.
func (s *logStore) Set(key, value []byte) error {
	return s.update(true, func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(bucketStable)
		return errors.Join(bucket.Put(key, value), bucket.Put(sumKey(key), sumOf(key, value)))
	})
}

// Get implements raft.StableStore.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		found, err := stableValue(tx.Bucket(bucketStable), key)
		if err != nil {
			return err
		}
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
	return binary.BigEndian.AppendUint32(dst, wire.CRC(dst))
}

func decodeEntry(data []byte, log *raft.Log) error {
	if len(data) < entryBytesMin {
		return fmt.Errorf("%d bytes, the shortest has %d", len(data), entryBytesMin)
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if got := wire.CRC(body); got != sum {
		return fmt.Errorf("CRC32C is %08x, %08x was stored", got, sum)
	}
	if body[0] != entryVersion {
		return fmt.Errorf("%w %d, known is %d; run the version that wrote it or a newer one", errVersion, body[0], entryVersion)
	}
	size := binary.BigEndian.Uint32(body[entryHead-4:])
	if uint64(size) > uint64(len(body)-entryHead) {
		return fmt.Errorf("%d bytes of data in an entry of %d", size, len(data))
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
