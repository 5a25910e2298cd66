package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// sizeSample is a state whose size is measured with each codec.
type sizeSample struct {
	bench, what string
	goals       map[string]float64 // bytes, by codec
	known       map[string]string  // of another implementation, by codec
	bound       string
}

// sizeSamples returns the samples; flightLines is the size of the flights as JSON.
func sizeSamples(flightLines float64) []sizeSample {
	return []sizeSample{
		{
			bench: "session100", what: "session, 100 events",
			goals: map[string]float64{"none": 200, "lz4": 200, "snappy": 200, "zstd": 200, "auto-cold": 200, "auto-hot": 200},
			known: map[string]string{"lz4": "629", "snappy": "599", "zstd": "274"},
		},
		{
			bench: "session1000", what: "session, 1,000 events",
			goals: map[string]float64{"lz4": 3165, "snappy": 3165, "zstd": 1899},
		},
		{
			bench: "flights", what: "`length(5000)`, real flights",
			goals: map[string]float64{"zstd": flightLines / 2},
		},
	}
}

// runSizes measures the stored size of full states, and the cost of their codecs.
func runSizes(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkSizes$", "-benchtime", "50ms")
	if err != nil {
		return nil, err
	}
	peer, err := all.figure("BenchmarkSizes/json", "bytes", wholeBytes)
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, s := range sizeSamples(peer.median) {
		for _, codec := range []string{"none", "lz4", "snappy", "zstd", "auto-cold", "auto-hot"} {
			r, err := all.sizeRow(s, codec)
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	rows = append(rows, row{what: "peer: the same flights as lines of JSON, zstd -3", value: peer})
	return []table{{
		title: "The size of state",
		about: "Serialized states with every header: container, digest and envelope. The session holds equal events 10\n" +
			"ms apart, which take 63.3 bytes each in a row encoding; for comparison, the table shows what a known\n" +
			"implementation stores for 100 of them. MB/s count the serialized bytes before compression, in one\n" +
			"goroutine.",
		unit: "bytes", rows: rows,
	}}, nil
}

func (all benchmarks) sizeRow(s sizeSample, codec string) (row, error) {
	name := "BenchmarkSizes/" + s.bench + "/" + codec
	r := row{what: s.what + ", " + strings.Replace(codec, "-", " for ", 1), goal: s.goals[codec], bound: s.bound, lower: true}
	var err error
	if r.value, err = all.figure(name+"/compress", "bytes", wholeBytes); err != nil {
		return r, err
	}
	var notes []string
	if strings.HasPrefix(codec, "auto") {
		c, r := all[name+"/compress"]["codec"][0], all[name+"/compress"]["reason"][0]
		notes = append(notes, fmt.Sprintf("chose %s: %s", compress.Codec(c), compress.Reason(r)))
	}
	for _, way := range []string{"compress", "decompress"} {
		speed, err := all.figure(name+"/"+way, "MB/s", rate)
		if err != nil {
			return r, err
		}
		notes = append(notes, fmt.Sprintf("%s %.0f MB/s", way, speed.median))
	}
	if known := s.known[codec]; known != "" {
		notes = append(notes, "known: "+known)
	}
	r.extra = strings.Join(notes, ", ")
	return r, nil
}

var stateHolders = []string{
	"length", "lengthBatch", "time", "timeBatch", "externalTime", "externalTimeBatch", "session", "sort",
	"sum", "count", "avg", "min", "max", "distinctCount",
}

// runState measures each state holder, next to a copy of the bytes that it produces.
func runState(ctx context.Context, b *bench) ([]table, error) {
	// The number of rounds is fixed, because most of a round of delta is not timed.
	all, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkState$", "-benchtime", "50x")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, holder := range stateHolders {
		name := "BenchmarkState/" + holder + "/"
		for _, way := range []string{"serialize", "deserialize", "delta", "memmove"} {
			r := row{what: "`" + holder + "`, " + way}
			if way == "memmove" {
				r.what = "limit: as many bytes, memmove"
			}
			if r.value, err = all.figure(name+way, "ns/event", nanoseconds); err != nil {
				return nil, err
			}
			if r.extra, err = all.stateNotes(name + way); err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return []table{{
		title: "State holders",
		about: "Each has seen 50,000 real flights, 10 ms apart; aggregators have 10,000 groups over `length(50000)`.\n" +
			"Full states are serialized and deserialized with digest and CRC, without compression. A delta holds what\n" +
			"1,000 more flights changed; its time, from the barrier to its bytes, is per such flight. One goroutine.",
		unit: "ns per event", rows: rows,
	}}, nil
}

func (all benchmarks) stateNotes(name string) (string, error) {
	var notes []string
	for _, f := range []struct {
		unit, text string
		must       bool
	}{{"bytes", "%s bytes", false}, {"MB/s", "%s MB/s", true}, {"allocs/op", "%s allocations", true}} {
		if len(all[name][f.unit]) == 0 && !f.must {
			continue
		}
		v, err := all.figure(name, f.unit, wholeBytes)
		if err != nil {
			return "", err
		}
		notes = append(notes, fmt.Sprintf(f.text, wholeBytes(v.median)))
	}
	return strings.Join(notes, ", "), nil
}

// wholeBytes shows a whole number, with commas.
func wholeBytes(v float64) string {
	s := strconv.FormatFloat(v, 'f', 0, 64)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func nanoseconds(v float64) string {
	if v < 10 {
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
	return wholeBytes(v)
}
