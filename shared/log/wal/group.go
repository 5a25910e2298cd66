package wal

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
)

// group is the content of one frame before it has a number: rows of any streams
// in log order, or a tick, or a barrier. Groups are used again, with the memory of
// the blocks that they had last.
type group struct {
	frame  frame.Frame // Blocks, Runs, Kind, Stamp, Cut while it is filled
	spare  []frame.Block
	bytes  int
	done   []Committed
	future *outcome

	encoded []byte // the frame's bytes, once it has a number
	seq     uint64 // its place in the log, once acknowledged
}

// block returns the index of the block of stream s, and adds it if missing.
func (g *group) block(s *event.Schema) (int, error) {
	blocks := g.frame.Blocks
	for i := len(blocks) - 1; i >= 0; i-- {
		if blocks[i].Batch.Schema == s {
			return i, nil
		}
	}
	for i := range g.spare {
		if g.spare[i].Batch.Schema == s {
			g.frame.Blocks = append(blocks, g.spare[i])
			g.spare = append(g.spare[:i], g.spare[i+1:]...)
			return len(blocks), nil
		}
	}
	if err := checkSchema(s); err != nil {
		return 0, err
	}
	g.frame.Blocks = append(blocks, frame.Block{Batch: event.NewBatch(s)})
	return len(blocks), nil
}

// add copies the rows of m, which was checked, to the block at index.
func (g *group) add(m *Message, index int, stamp int64) {
	b := &g.frame.Blocks[index]
	b.Batch.AppendRows(m.Batch, m.From, m.To)
	for range m.To - m.From {
		b.Arrived = append(b.Arrived, stamp)
	}
	g.frame.Kind, g.frame.Stamp = frame.Events, stamp
	run := frame.Run{Block: index, Rows: m.To - m.From, Chunk: m.Chunk, ID: m.ID, Header: m.Header}
	if n := len(g.frame.Runs); n > 0 && joins(&g.frame.Runs[n-1], &run) {
		g.frame.Runs[n-1].Rows += run.Rows
		return
	}
	g.frame.Runs = append(g.frame.Runs, run)
}

// joins reports whether both runs say nothing but how many rows there are.
func joins(a, b *frame.Run) bool {
	return a.Block == b.Block && !a.Chunk && !b.Chunk &&
		a.ID == "" && b.ID == "" && a.Header == "" && b.Header == ""
}

// notify tells everyone the outcome.
func (g *group) notify(seq uint64, err error) {
	for _, c := range g.done {
		c.Committed(seq, err)
	}
	if g.future != nil {
		g.future.seq, g.future.err = seq, err
		close(g.future.done)
	}
}

// reset empties the group. It keeps the blocks that it had, and drops those that
// it did not need this time.
func (g *group) reset() {
	clear(g.done)
	clear(g.frame.Runs) // let go of the texts
	for i := range g.frame.Blocks {
		g.frame.Blocks[i].Batch.Reset()
		g.frame.Blocks[i].Arrived = g.frame.Blocks[i].Arrived[:0]
	}
	clear(g.spare)
	g.spare, g.frame.Blocks = g.frame.Blocks, g.spare[:0]
	g.frame.Runs, g.done = g.frame.Runs[:0], g.done[:0]
	g.frame.Header, g.frame.Cut = frame.Header{}, frame.Cut{}
	g.bytes, g.seq, g.future, g.encoded = 0, 0, nil, g.encoded[:0]
}
