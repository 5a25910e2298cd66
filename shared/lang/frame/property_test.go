package frame_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// Whatever a frame holds comes back, through coders that have seen other frames,
// and is encoded to the same bytes again.
func TestAnyFrameComesBack(t *testing.T) {
	var encoder frame.Encoder
	var decoder frame.Decoder
	rapid.Check(t, func(t *rapid.T) {
		f := drawFrame(t)
		codec := rapid.SampledFrom(compress.Codecs()).Draw(t, "codec")
		src, err := encoder.Append(nil, f, codec)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decoder.Decode(src)
		if err != nil {
			t.Fatal(err)
		}
		if wrote, read := describe(f), describe(got); wrote != read {
			t.Fatalf("wrote\n%s\nread\n%s", wrote, read)
		}
		again, err := new(frame.Encoder).Append(nil, got, codec)
		if err != nil || !bytes.Equal(again, src) {
			t.Fatalf("other bytes when encoded again: %v", err)
		}
	})
}

func drawFrame(t *rapid.T) *frame.Frame {
	f := &frame.Frame{Header: frame.Header{
		App:       rapid.StringMatching(`[A-Z][a-z]{0,12}`).Draw(t, "app"),
		Partition: rapid.Uint32().Draw(t, "partition"),
		Kind:      rapid.SampledFrom([]frame.Kind{frame.Events, frame.Events, frame.Events, frame.Tick, frame.Barrier, frame.Deploy}).Draw(t, "kind"),
		Writer:    rapid.Uint64Min(1).Draw(t, "writer"),
		Number:    rapid.Uint64Min(1).Draw(t, "number"),
		Stamp:     rapid.Int64().Draw(t, "stamp"),
	}}
	if f.Number > 1 {
		f.Prev = rapid.Uint32().Draw(t, "prev")
	}
	switch f.Kind {
	case frame.Events:
		for i := range rapid.IntRange(1, 3).Draw(t, "blocks") {
			f.Blocks = append(f.Blocks, drawBlock(t, i))
		}
		f.Runs = drawRuns(t, f.Blocks)
	case frame.Tick:
		if f.HasClock = rapid.Bool().Draw(t, "own clock"); f.HasClock {
			f.Clock = rapid.Int64().Draw(t, "clock")
		}
	case frame.Deploy:
		f.Deploy = frame.Version{
			Number: rapid.Uint32Min(1).Draw(t, "version"), Level: rapid.Uint32Min(1).Draw(t, "level"),
			Build:    rapid.StringN(1, 20, frame.NameBytesMax).Draw(t, "build"),
			Settings: rapid.StringN(1, 50, -1).Draw(t, "settings"), Text: rapid.StringN(1, 300, -1).Draw(t, "text"),
		}
	case frame.Barrier:
		f.Cut = frame.Cut{Epoch: rapid.Uint64Min(1).Draw(t, "epoch"), Term: rapid.Uint64Min(1).Draw(t, "term")}
		f.Cut.ID[rapid.IntRange(0, 15).Draw(t, "id at")] = 1
	}
	return f
}

func drawBlock(t *rapid.T, number int) frame.Block {
	schema := &event.Schema{Name: fmt.Sprintf("S%d", number), Attrs: []event.Attr{}}
	for i := range rapid.IntRange(0, 6).Draw(t, "attributes") {
		a := event.Attr{Name: fmt.Sprintf("a%d", i), Type: rapid.SampledFrom(event.Types()).Draw(t, "type")}
		if rapid.IntRange(0, 9).Draw(t, "cast") == 0 {
			a.Held = rapid.SampledFrom(event.Types()).Draw(t, "held")
		}
		schema.Attrs = append(schema.Attrs, a)
	}
	batch := event.NewBatch(schema)
	rows := rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, 300)).Draw(t, "rows")
	batch.TS = drawInts(t, rows)
	for i := range schema.Attrs {
		drawColumn(t, schema.Attrs[i].Holds(), &batch.Cols[i], rows)
	}
	b := frame.Block{Batch: batch}
	if rapid.Bool().Draw(t, "own arrival") {
		b.Arrived = drawInts(t, rows)
	}
	return b
}

// drawInts draws numbers as columns have them: constant, counted, close together,
// slowly rising, anything.
func drawInts(t *rapid.T, rows int) []int64 {
	vals := make([]int64, rows)
	first, step := rapid.Int64().Draw(t, "first"), rapid.Int64().Draw(t, "step")
	shape := rapid.IntRange(0, 4).Draw(t, "shape of numbers")
	bits := rapid.SampledFrom([]int{3, 8, 9, 16, 17, 32, 33}).Draw(t, "bits")
	for i := range vals {
		switch shape {
		case 0:
			vals[i] = first
		case 1:
			vals[i] = first + int64(i)*step // may wrap around
		case 2:
			vals[i] = first + rapid.Int64Range(0, 1<<bits-1).Draw(t, "offset")
		case 3:
			first += rapid.Int64Range(0, 1<<bits-1).Draw(t, "delta")
			vals[i] = first
		default:
			vals[i] = rapid.Int64().Draw(t, "value")
		}
	}
	return vals
}

func drawColumn(t *rapid.T, kind event.Type, c *event.Column, rows int) {
	ints := drawInts(t, rows)
	nullsOfTen := rapid.SampledFrom([]int{0, 0, 1, 5, 10}).Draw(t, "nulls of ten")
	fewTexts := rapid.Bool().Draw(t, "few texts")
	for _, v := range ints {
		if rapid.IntRange(1, 10).Draw(t, "null") <= nullsOfTen {
			c.AppendNull()
			continue
		}
		switch kind {
		case event.Bool:
			c.AppendBool(v&1 != 0)
		case event.Int:
			c.AppendInt(int64(int32(v)))
		case event.Long:
			c.AppendInt(v)
		case event.Float:
			c.AppendFloat(float64(rapid.Float32().Draw(t, "float")))
		case event.Double:
			c.AppendFloat(math.Float64frombits(uint64(v)))
		default:
			if fewTexts {
				c.AppendText(fmt.Sprintf("text %d", v&3))
			} else {
				c.AppendText(rapid.StringN(0, 8, 20).Draw(t, "text"))
			}
		}
	}
}

// drawRuns deals the rows of all blocks out to runs, in any order of blocks.
func drawRuns(t *rapid.T, blocks []frame.Block) []frame.Run {
	left := make([]int, len(blocks))
	var open []int
	for i := range blocks {
		left[i] = blocks[i].Batch.Len()
		open = append(open, i)
	}
	var runs []frame.Run
	for len(open) > 0 {
		at := rapid.IntRange(0, len(open)-1).Draw(t, "open block")
		run := frame.Run{Block: open[at], Chunk: rapid.Bool().Draw(t, "chunk")}
		run.Rows = rapid.IntRange(1, left[run.Block]).Draw(t, "rows of run")
		if rapid.Bool().Draw(t, "has id") {
			run.ID = rapid.StringN(1, 8, 20).Draw(t, "id")
		}
		if rapid.Bool().Draw(t, "has header") {
			run.Header = rapid.StringN(1, 8, 20).Draw(t, "header")
		}
		if left[run.Block] -= run.Rows; left[run.Block] == 0 {
			open = append(open[:at], open[at+1:]...)
		}
		runs = append(runs, run)
	}
	return runs
}
