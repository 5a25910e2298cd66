package window

import (
	"cmp"
	"slices"
	"sync"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// loadedBlocks are the blocks of rows that were put. Each is read into memory of its own,
// so that several goroutines can put blocks at the same time.
type loadedBlocks struct {
	sync.Mutex
	all []loadedBlock
}

type loadedBlock struct {
	number uint64
	rows   *event.Batch
	tags   []uint64 // a number beside each row, if the block has those
}

// put reads a block of at most rowsMax rows.
func (l *loadedBlocks) put(number uint64, schema *event.Schema, used []int, value []byte, rowsMax uint64, tagged bool) error {
	b := loadedBlock{number: number, rows: event.NewBatch(schema)}
	rest, err := readRows(b.rows, nil, value, used, rowsMax)
	if err != nil {
		return err
	}
	f := Fields{bytes: rest, reading: true}
	if tagged {
		b.tags = make([]uint64, b.rows.Len())
		for i := range b.tags {
			f.Uint(&b.tags[i])
		}
	}
	if err := f.end(); err != nil {
		return err
	}
	l.Lock()
	defer l.Unlock()
	l.all = append(l.all, b)
	return nil
}

// sort puts the blocks in order once all are there.
func (l *loadedBlocks) sort() {
	slices.SortFunc(l.all, func(a, b loadedBlock) int { return cmp.Compare(a.number, b.number) })
}

// find returns the block of that number among those in order, and how many rows it has.
func (l *loadedBlocks) find(number uint64) (loadedBlock, int) {
	i, ok := slices.BinarySearchFunc(l.all, number, func(b loadedBlock, number uint64) int { return cmp.Compare(b.number, number) })
	if !ok {
		return loadedBlock{}, 0
	}
	return l.all[i], l.all[i].rows.Len()
}
