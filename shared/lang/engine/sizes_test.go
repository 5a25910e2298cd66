package engine_test

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// rowEncodedBytes is what an event of the session sample takes in a row encoding:
// 6,330 bytes for 100 of them.
const rowEncodedBytes = 63.3

const flightRows = 5000 // of the sample of flights

// holderAfter returns the component of an app that has seen the batches, each row
// sent alone at its own time. The app defines one stream.
func holderAfter(tb testing.TB, app, component string, batches ...*event.Batch) (state.Holder, *engine.Engine) {
	tb.Helper()
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		tb.Fatal(err)
	}
	for _, b := range batches {
		sendRows(e, plan.Streams[0], b)
	}
	h, ok := engine.Registry(e.Components()).ByID(component)
	if !ok {
		tb.Fatalf("no component %s in %s", component, app)
	}
	return h, e
}

func sendRows(e *engine.Engine, stream *siddhiql.Stream, b *event.Batch) {
	for i, ts := range b.TS {
		e.Send(stream, b, i, i+1, ts)
		if i%1000 == 999 {
			e.ResetOutputs()
		}
	}
	e.ResetOutputs()
}

// sessionSample is the serialized state of a session of n equal events.
func sessionSample(tb testing.TB, n int) []byte {
	const app = `define stream S (k string, data string, v int);
		@info(name = 'q') from S#session(5 sec, k) select k, data, v insert all events into Out;`
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	b := event.NewBatch(plan.Streams[0].Schema)
	for i := range n {
		b.Cols[0].AppendText("repetitive_session")
		b.Cols[1].AppendText("repeating_string_data")
		b.Cols[2].AppendInt(42)
		b.TS = append(b.TS, 1000+10*int64(i))
	}
	h, _ := holderAfter(tb, app, "q/window", b)
	return serialized(tb, h)
}

// flightSample is the serialized state of a window of real flights.
func flightSample(tb testing.TB) []byte {
	const app = flightsApp + `@info(name = 'q') from Flights#length(5000)
		select time, origin, destination, delay, distance insert all events into Out;`
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	h, _ := holderAfter(tb, app, "q/window", flights(tb, plan.Streams[0].Schema)[:flightRows/1000]...)
	return serialized(tb, h)
}

// flightLines is the peer: the same flights as lines of JSON, by zstd -3.
func flightLines(tb testing.TB) (raw, stored int) {
	data, err := os.ReadFile("../../../examples/data/flights.ndjson")
	if err != nil {
		tb.Fatal(err)
	}
	lines := bytes.Join(bytes.SplitAfterN(data, []byte("\n"), flightRows+1)[:flightRows], nil)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		tb.Fatal(err)
	}
	return len(lines), len(z.EncodeAll(lines, nil))
}

func serialized(tb testing.TB, h state.Holder) []byte {
	tb.Helper()
	data, err := state.SerializeState(h)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

func sealed(tb testing.TB, data []byte, how compress.Choice) []byte {
	tb.Helper()
	box, err := state.CompressState(data, how)
	if err != nil {
		tb.Fatal(err)
	}
	back, err := state.DecompressState(box)
	if err != nil || !bytes.Equal(back, data) {
		tb.Fatalf("%s gives back %d bytes of %d: %v", how.Codec, len(back), len(data), err)
	}
	return box
}

// TestSizes holds whole states, with every header, to their goals.
func TestSizes(t *testing.T) {
	_, json := flightLines(t)
	short, long, rows := sessionSample(t, 100), sessionSample(t, 1000), flightSample(t)
	for _, test := range []struct {
		name  string
		data  []byte
		codec compress.Codec
		most  float64
	}{
		{"session of 100", short, compress.None, 200},
		{"session of 100", short, compress.LZ4, 200},
		{"session of 100", short, compress.Snappy, 200},
		{"session of 100", short, compress.Zstd, 200},
		{"session of 1,000", long, compress.LZ4, 0.05 * 1000 * rowEncodedBytes},
		{"session of 1,000", long, compress.Snappy, 0.05 * 1000 * rowEncodedBytes},
		{"session of 1,000", long, compress.Zstd, 0.03 * 1000 * rowEncodedBytes},
		{"5,000 flights", rows, compress.Zstd, 0.5 * float64(json)},
	} {
		got := len(sealed(t, test.data, compress.Choice{Codec: test.codec}))
		t.Logf("%s, %s: %d bytes of %.0f", test.name, test.codec, got, test.most)
		if float64(got) > test.most {
			t.Errorf("%s, %s: %d bytes, most are %.0f", test.name, test.codec, got, test.most)
		}
	}
}

// TestAutoSizes compares Auto with the best of the codecs that it may use: all for
// cold data, the fast two for hot, and with a budget those that need half of it.
func TestAutoSizes(t *testing.T) {
	samples := map[string][]byte{
		"session of 100": sessionSample(t, 100), "session of 1,000": sessionSample(t, 1000), "flights": flightSample(t),
	}
	for name, data := range samples {
		for _, access := range []compress.Access{compress.Cold, compress.Hot} {
			for _, budget := range []time.Duration{0, 10 * time.Microsecond, 500 * time.Microsecond, 10 * time.Millisecond} {
				best := len(sealed(t, data, compress.Choice{Codec: compress.None}))
				for _, c := range []compress.Codec{compress.LZ4, compress.Snappy, compress.Zstd} {
					may := 2*c.Cost(len(data)) <= budget
					if budget == 0 {
						may = access == compress.Cold || c != compress.Zstd
					}
					if may {
						best = min(best, len(sealed(t, data, compress.Choice{Codec: c})))
					}
				}
				box, why := compress.SealExplain(nil, data, compress.Choice{Access: access, Budget: budget})
				t.Logf("%s, %s, budget %s: %d bytes, best %d; %s", name, access, budget, len(box), best, why)
				if len(box)*10 > best*11 {
					t.Errorf("%s, %s, budget %s: %d bytes, best %d; %s", name, access, budget, len(box), best, why)
				}
			}
		}
	}
}

// BenchmarkSizes compresses the samples, and decompresses them.
func BenchmarkSizes(b *testing.B) {
	_, json := flightLines(b)
	samples := []struct {
		name string
		data []byte
	}{{"session100", sessionSample(b, 100)}, {"session1000", sessionSample(b, 1000)}, {"flights", flightSample(b)}}
	for _, s := range samples {
		for _, how := range []compress.Choice{
			{Codec: compress.None},
			{Codec: compress.LZ4},
			{Codec: compress.Snappy},
			{Codec: compress.Zstd},
			{Access: compress.Cold},
			{Access: compress.Hot},
		} {
			name := s.name + "/" + how.Codec.String()
			if how.Codec == compress.Auto {
				name += "-" + how.Access.String()
			}
			box, why := compress.SealExplain(nil, s.data, how)
			b.Run(name+"/compress", func(b *testing.B) {
				b.SetBytes(int64(len(s.data)))
				for range b.N {
					box = compress.Seal(box[:0], s.data, how)
				}
				b.ReportMetric(float64(len(box)), "bytes")
				b.ReportMetric(float64(why.Codec), "codec")
				b.ReportMetric(float64(why.Reason), "reason")
			})
			b.Run(name+"/decompress", func(b *testing.B) {
				b.SetBytes(int64(len(s.data)))
				var back []byte
				for range b.N {
					var err error
					if back, err = compress.Open(back[:0], box, compress.RawBytesMax); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	b.Run("json", func(b *testing.B) {
		for range b.N {
			flightLines(b)
		}
		b.ReportMetric(float64(json), "bytes")
	})
}
