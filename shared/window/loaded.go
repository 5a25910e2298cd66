package window

import (
	"sync"

	"eventflux/shared/event"
)

// loadedBlocks are blocks of rows that were put, by number. Each is read into memory of
// its own, so that several goroutines can put some at the same time.
type loadedBlocks struct {
	sync.Mutex
	rows map[uint64]*event.Batch
	tags map[uint64][]uint64 // a number beside each row, if the block has those
}

func newLoadedBlocks() *loadedBlocks {
	return &loadedBlocks{rows: map[uint64]*event.Batch{}, tags: map[uint64][]uint64{}}
}

// put reads a block of at most rowsMax rows.
func (l *loadedBlocks) put(number uint64, schema *event.Schema, used []int, value []byte, rowsMax uint64, tagged bool) error {
	rows := event.NewBatch(schema)
	rest, err := readRows(rows, nil, value, used, rowsMax)
	if err != nil {
		return err
	}
	f := Fields{bytes: rest, reading: true}
	var tags []uint64
	if tagged {
		tags = make([]uint64, rows.Len())
		for i := range tags {
			f.Uint(&tags[i])
		}
	}
	if err := f.end(); err != nil {
		return err
	}
	l.Lock()
	defer l.Unlock()
	l.rows[number], l.tags[number] = rows, tags
	return nil
}
