package window

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// pool keeps copies of rows that leave in any order. A row is known by its place, which
// changes only in settle.
type pool struct {
	used  []int
	rows  *event.Batch
	spare *event.Batch
	piece *event.Batch // of rows that are being written
	gone  int          // rows that have left and still take a place
}

// goneMax is how many rows that have left a pool keeps, in addition to the number of its
// rows.
const goneMax = 64

func newPool(c Config) pool {
	return pool{used: c.Used, rows: event.NewBatch(c.Schema), spare: event.NewBatch(c.Schema)}
}

// put adds a copy of the row and returns its place.
func (p *pool) put(r Row) int32 {
	p.rows.AppendSome(r.B, int(r.I), p.used)
	n := len(p.rows.TS) - 1
	p.rows.TS[n] = r.TS
	return int32(n)
}

// leave removes a row. References to it stay valid until settle.
func (p *pool) leave() { p.gone++ }

func (p *pool) row(place int32, kind Kind) Row {
	return Row{B: p.rows, I: place, TS: p.rows.TS[place], Kind: kind}
}

// settle ends the life of references to rows that have left. If those are many, each must
// call visit for every place that is still in use, and visit updates it.
func (p *pool) settle(each func(visit func(place *int32))) {
	if p.gone <= len(p.rows.TS)-p.gone+goneMax {
		return
	}
	p.spare.Reset()
	each(func(place *int32) {
		p.spare.AppendSome(p.rows, int(*place), p.used)
		*place = int32(len(p.spare.TS) - 1)
	})
	p.rows, p.spare, p.gone = p.spare, p.rows, 0
	if shrink.Far(len(p.rows.TS), cap(p.spare.TS)) {
		p.spare = event.NewBatch(p.rows.Schema)
	}
}

// append writes the rows at the places, in that order.
func (p *pool) append(dst []byte, env *Env, places []int32) []byte {
	p.spare.Reset()
	for _, place := range places {
		p.spare.AppendSome(p.rows, int(place), p.used)
	}
	if p.piece == nil {
		p.piece = event.NewBatch(p.rows.Schema)
	}
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	return c.appendRows(dst, p.spare, p.piece, p.used)
}

// read adds the rows that append wrote, at most rowsMax, and returns their places, and the
// bytes after them.
func (p *pool) read(src []byte, env *Env, rowsMax uint64) (places []int32, rest []byte, err error) {
	first := p.rows.Len()
	rest, err = readRows(p.rows, p.spare, src, p.used, rowsMax)
	places = make([]int32, p.rows.Len()-first)
	for i := range places {
		places[i] = int32(first + i)
	}
	return places, rest, err
}

func (p *pool) reset() {
	p.rows.Reset()
	p.gone = 0
}
