package consensus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Entry is an entry of the Raft log as stored on disk.
type Entry struct {
	Index, Term uint64
	Time        time.Time // when the leader appended it; zero for an old entry
	Type        string    // such as LogCommand
	Data        []byte    // of a command: what the FSM applies
	Err         error     // why the entry cannot be read; then only Index is valid
}

// Entries calls visit with each entry of the database at path, in order. It only reads, and
// fails if a process uses the database.
func Entries(path string, visit func(Entry)) error {
	return contain(func() error {
		db, err := bbolt.Open(path, 0o640, &bbolt.Options{Timeout: lockWait, ReadOnly: true})
		if errors.Is(err, berrors.ErrTimeout) {
			return fmt.Errorf("%s is used by another process; stop it first", path)
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		defer db.Close()
		return db.View(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket(bucketLog)
			if bucket == nil {
				return nil
			}
			return bucket.ForEach(func(key, value []byte) error {
				var e Entry
				if len(key) == 8 {
					e.Index = binary.BigEndian.Uint64(key)
				}
				var log raft.Log
				if e.Err = decodeEntry(value, &log); e.Err == nil {
					e.Term, e.Time, e.Type, e.Data = log.Term, log.AppendedAt, log.Type.String(), log.Data
				}
				visit(e)
				return nil
			})
		})
	})
}
