package frame_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// flightsPath is relative to this package.
const flightsPath = "../../../examples/data/flights.ndjson"

var flightSchema = &event.Schema{Name: "Flights", Attrs: []event.Attr{
	{Name: "time", Type: event.Long},
	{Name: "origin", Type: event.String},
	{Name: "destination", Type: event.String},
	{Name: "delay", Type: event.Int},
	{Name: "distance", Type: event.Int},
}}

// flights returns the first n real flights, or all of them for n = 0.
func flights(t testing.TB, n int) *event.Batch {
	t.Helper()
	text, err := os.ReadFile(flightsPath)
	if err != nil {
		t.Fatal(err)
	}
	b := event.NewBatch(flightSchema)
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan() && (n == 0 || b.Len() < n); {
		var row struct {
			Time                int64
			Origin, Destination string
			Delay, Distance     int64
		}
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		b.Cols[0].AppendInt(row.Time)
		b.Cols[1].AppendText(row.Origin)
		b.Cols[2].AppendText(row.Destination)
		b.Cols[3].AppendInt(row.Delay)
		b.Cols[4].AppendInt(row.Distance)
		b.TS = append(b.TS, row.Time)
	}
	return b
}

// header returns the header of a writer's first frame.
func header(k frame.Kind) frame.Header {
	return frame.Header{App: "Trades", Partition: 3, Kind: k, Writer: 0x1122334455667788, Number: 1, Stamp: 978310020000}
}

// eventsOf returns a frame of one block, published as one message.
func eventsOf(b *event.Batch) *frame.Frame {
	return &frame.Frame{
		Header: header(frame.Events),
		Runs:   []frame.Run{{Rows: b.Len()}},
		Blocks: []frame.Block{{Batch: b}},
	}
}

// everything returns a frame that has each type, nulls, own arrival stamps, two
// streams, and runs of all sorts.
func everything() *frame.Frame {
	all := &event.Schema{Name: "All", Attrs: []event.Attr{
		{Name: "b", Type: event.Bool},
		{Name: "i", Type: event.Int},
		{Name: "l", Type: event.Long},
		{Name: "f", Type: event.Float},
		{Name: "d", Type: event.Double},
		{Name: "s", Type: event.String},
		{Name: "o", Type: event.Object},
		{Name: "cast", Type: event.Int, Held: event.Double},
		{Name: "none", Type: event.String},
	}}
	first := event.NewBatch(all)
	for i := range 5 {
		first.Cols[0].AppendBool(i%2 == 0)
		first.Cols[1].AppendInt([]int64{math.MinInt32, -1, 0, 1, math.MaxInt32}[i])
		if i == 2 {
			first.Cols[2].AppendNull()
		} else {
			first.Cols[2].AppendInt([]int64{math.MinInt64, 0, 0, 7, math.MaxInt64}[i])
		}
		first.Cols[3].AppendFloat(float64(float32(i) / 10))
		first.Cols[4].AppendFloat([]float64{math.Inf(-1), math.Copysign(0, -1), 1e300, math.NaN(), 0.1}[i])
		if i%2 == 0 {
			first.Cols[5].AppendNull()
		} else {
			first.Cols[5].AppendText([]string{"", "Zürich", "", "a, b"}[i])
		}
		first.Cols[6].AppendText(fmt.Sprintf(`{"n":%d}`, i))
		first.Cols[7].AppendFloat(float64(i) + 0.5)
		first.Cols[8].AppendNull()
		first.TS = append(first.TS, 1_000+int64(i)*250)
	}
	second := event.NewBatch(&event.Schema{Name: "Quotes", Attrs: []event.Attr{{Name: "symbol", Type: event.String}}})
	for _, symbol := range []string{"IBM", "IBM", "ORCL"} {
		second.Cols[0].AppendText(symbol)
		second.TS = append(second.TS, 5)
	}
	return &frame.Frame{
		Header: frame.Header{App: "Everything", Kind: frame.Events, Writer: 9, Number: 7, Prev: 0xCAFEBABE, Stamp: 2_002},
		Blocks: []frame.Block{{Batch: first, Arrived: []int64{2_000, 2_000, 2_001, 2_001, 2_002}}, {Batch: second}},
		Runs: []frame.Run{
			{Block: 0, Rows: 2},
			{Block: 1, Rows: 1, ID: "quote-1"},
			{Block: 1, Rows: 2, Chunk: true, ID: "quote-2", Header: "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"},
			{Block: 0, Rows: 3, Chunk: true},
		},
	}
}

func tick() *frame.Frame { return &frame.Frame{Header: header(frame.Tick)} }

func barrier() *frame.Frame {
	return &frame.Frame{Header: header(frame.Barrier), Cut: frame.Cut{Epoch: 12, Term: 3, ID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}}
}

// clock is a tick that moves the clock to another time than its stamp.
func clock() *frame.Frame {
	return &frame.Frame{Header: header(frame.Tick), HasClock: true, Clock: -1_500}
}

func deploy() *frame.Frame {
	return &frame.Frame{Header: header(frame.Deploy), Deploy: frame.Version{
		Number: 1, Level: 1, Build: "1.0.0", Settings: `{"dedup_window_ms":120000}`,
		Text: "@app:name('Trades')\ndefine stream S (v long);\nfrom S select v insert into Out;\n",
	}}
}

// upgrade is a deploy frame that changes an app.
func upgrade() *frame.Frame {
	f := deploy()
	f.Stamp += 60_000
	f.Deploy.Number, f.Deploy.Change = 2, `{"queries":["query1","Fast"],"drop":["query1/window"]}`
	return f
}

// describe writes all that a frame says, so that frames can be compared and a
// difference read. NaNs are equal if their bits are.
func describe(f *frame.Frame) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%+v\ncut %+v\n", f.Header, f.Cut)
	if f.HasClock {
		fmt.Fprintf(&b, "clock %d\n", f.Clock)
	}
	if f.Kind == frame.Deploy {
		v := f.Deploy
		fmt.Fprintf(&b, "deploy {Number:%d Level:%d Build:%s Settings:%s Text:%s}\n", v.Number, v.Level, v.Build, v.Settings, v.Text)
		if v.Change != "" {
			fmt.Fprintf(&b, "change %s\n", v.Change)
		}
	}
	for _, run := range f.Runs {
		fmt.Fprintf(&b, "run %+v\n", run)
	}
	for i := range f.Blocks {
		block := &f.Blocks[i]
		batch := block.Batch
		fmt.Fprintf(&b, "block %+v\n", *batch.Schema)
		stamps := block.Stamps()
		for row := range batch.TS {
			fmt.Fprintf(&b, "  ts %d arrived %d", batch.TS[row], stamps[row])
			for c := range batch.Cols {
				b.WriteString(" " + cell(&batch.Cols[c], row))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func cell(c *event.Column, row int) string {
	null := ""
	if c.IsNull(row) {
		null = "null/"
	}
	switch c.Type.Class() {
	case event.Reals:
		return fmt.Sprintf("%s%016x", null, math.Float64bits(c.Floats[row]))
	case event.Texts:
		return fmt.Sprintf("%s%q", null, c.Text(row))
	default:
		return fmt.Sprintf("%s%d", null, c.Ints[row])
	}
}

// encode encodes with a new encoder.
func encode(t testing.TB, f *frame.Frame, codec compress.Codec) []byte {
	t.Helper()
	var e frame.Encoder
	src, err := e.Append(nil, f, codec)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clip(src)
}
