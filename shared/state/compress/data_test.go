package compress_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// kind is data of one sort, long enough to cut blocks out of it.
type kind struct {
	name string
	data []byte
}

// cut returns one of several blocks of n bytes, or nil if the data is shorter.
func (k kind) cut(n, part, parts int) []byte {
	if n > len(k.data) {
		return nil
	}
	at := (len(k.data) - n) * part / max(1, parts-1)
	return k.data[at : at+n]
}

type flight struct {
	Time                int64
	Origin, Destination string
	Delay, Distance     int64
}

// kinds are the data that Auto and the benchmarks are judged by. The first five are
// real flights and earthquakes, or made of them.
var kinds = sync.OnceValue(func() []kind {
	text := readData("flights.ndjson")
	var flights []flight
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var f flight
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			panic(err)
		}
		flights = append(flights, f)
	}
	noise := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	return []kind{
		{"flights-json", text},
		{"flights-columns", columns(flights)},
		{"flights-packed", packed(flights)},
		{"earthquakes-json", readData("earthquakes.ndjson")},
		{"aggregates", aggregates(flights)},
		{"aggregates-varint", smallAggregates(flights)},
		{"text", []byte(strings.Repeat("the quick brown fox jumps over the lazy dog; ", 1<<20/45+1))},
		{"zeros", make([]byte, 1<<20)},
		{"random", noise},
		{"random-keys", repeatedKeys(random)},
	}
})

func readData(name string) []byte {
	text, err := os.ReadFile("../../../examples/data/" + name)
	if err != nil {
		panic(err)
	}
	return text
}

// columns lays 2,000 flights at a time out as columns of a fixed width.
func columns(flights []flight) []byte {
	var b []byte
	for part := range slices.Chunk(flights, 2000) {
		for _, f := range part {
			b = binary.LittleEndian.AppendUint64(b, uint64(f.Time))
		}
		for _, f := range part {
			b = append(b, f.Origin...)
		}
		for _, f := range part {
			b = append(b, f.Destination...)
		}
		for _, f := range part {
			b = binary.LittleEndian.AppendUint32(b, uint32(f.Delay))
		}
		for _, f := range part {
			b = binary.LittleEndian.AppendUint32(b, uint32(f.Distance))
		}
	}
	return b
}

// packed is the flights in WAL frames of 1,000: columns with dictionaries and packed
// numbers, which leave little to compress.
func packed(flights []flight) []byte {
	schema := &event.Schema{Name: "Flights", Attrs: []event.Attr{
		{Name: "origin", Type: event.String},
		{Name: "destination", Type: event.String},
		{Name: "delay", Type: event.Int},
		{Name: "distance", Type: event.Int},
	}}
	var all []byte
	var encoder frame.Encoder
	for part := range slices.Chunk(flights, 1000) {
		batch := event.NewBatch(schema)
		for _, f := range part {
			batch.Cols[0].AppendText(f.Origin)
			batch.Cols[1].AppendText(f.Destination)
			batch.Cols[2].AppendInt(f.Delay)
			batch.Cols[3].AppendInt(f.Distance)
			batch.TS = append(batch.TS, f.Time)
		}
		var err error
		all, err = encoder.Append(all, &frame.Frame{
			Header: frame.Header{App: "Flights", Kind: frame.Events, Writer: 1, Number: 1},
			Blocks: []frame.Block{{Batch: batch}},
			Runs:   []frame.Run{{Rows: batch.Len()}},
		}, compress.None)
		if err != nil {
			panic(err)
		}
	}
	return all
}

type aggregate struct{ count, sum, least, most int64 }

// grouped returns count, sum, least and most delay of each route, and the routes in
// order.
func grouped(flights []flight) ([]string, map[string]*aggregate) {
	groups := map[string]*aggregate{}
	for _, f := range flights {
		key := f.Origin + "-" + f.Destination
		a := groups[key]
		if a == nil {
			a = &aggregate{least: math.MaxInt32, most: math.MinInt32}
			groups[key] = a
		}
		a.count++
		a.sum += f.Delay
		a.least, a.most = min(a.least, f.Delay), max(a.most, f.Delay)
	}
	return slices.Sorted(maps.Keys(groups)), groups
}

// aggregates is entries as a holder of fixed-width numbers writes them.
func aggregates(flights []flight) []byte {
	var b []byte
	keys, groups := grouped(flights)
	for _, key := range keys {
		a := groups[key]
		b = append(append(b, byte(len(key))), key...)
		b = binary.LittleEndian.AppendUint64(b, uint64(a.count))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(a.sum)/float64(a.count)))
		b = binary.LittleEndian.AppendUint64(b, uint64(a.least))
		b = binary.LittleEndian.AppendUint64(b, uint64(a.most))
	}
	return b
}

// smallAggregates is the same in varints.
func smallAggregates(flights []flight) []byte {
	var b []byte
	keys, groups := grouped(flights)
	for _, key := range keys {
		a := groups[key]
		b = append(append(b, byte(len(key))), key...)
		for _, n := range []int64{a.count, a.sum, a.least, a.most} {
			b = binary.AppendVarint(b, n)
		}
	}
	return b
}

// repeatedKeys is 16 random bytes, of 300 different ones, again and again: each byte
// looks like noise, and all of it shrinks to a fifth.
func repeatedKeys(random *rand.Rand) []byte {
	keys := make([][16]byte, 300)
	for i := range keys {
		for k := range keys[i] {
			keys[i][k] = byte(random.Uint32())
		}
	}
	var b []byte
	for len(b) < 1<<20 {
		key := keys[random.IntN(len(keys))]
		b = append(b, key[:]...)
	}
	return b
}

func kindNamed(tb testing.TB, name string) kind {
	tb.Helper()
	i := slices.IndexFunc(kinds(), func(k kind) bool { return k.name == name })
	if i < 0 {
		tb.Fatalf("no data is called %s", name)
	}
	return kinds()[i]
}
