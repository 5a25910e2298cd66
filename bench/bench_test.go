package main

import (
	"strings"
	"testing"
)

func TestParseBenchmarks(t *testing.T) {
	all, err := parseBenchmarks([]byte(`goos: linux
cpu: some
BenchmarkWAL/nats/single-2   	 100	  184.4 ns/op	   10.82 B/event	  400 events/s	  24 B/op	  3 allocs/op
BenchmarkWAL/nats/single-2   	 100	  184.4 ns/op	   10.82 B/event	  900 events/s	  24 B/op	  3 allocs/op
BenchmarkWAL/nats/single-2   	 100	  184.4 ns/op	   10.82 B/event	  500 events/s	  24 B/op	  3 allocs/op
BenchmarkOther                 7	 145161991 ns/op	 902.94 MB/s
PASS
`))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := all.fill([]benchRow{{bench: "BenchmarkWAL/nats/single", allocsOf: 2, row: row{what: "single"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rows[0].value.String(), "500 (400 – 900)"; got != want {
		t.Errorf("figure %s, want %s", got, want)
	}
	if got, want := rows[0].extra, "1.5 allocations per event"; got != want {
		t.Errorf("extra %q, want %q", got, want)
	}
	if _, err := all.figure("BenchmarkOther", "events/s", rate); err == nil {
		t.Error("a benchmark without events/s has a figure")
	}
}

func TestReport(t *testing.T) {
	r := newReport(machine{}, "go run ./bench")
	r.add(table{title: "T", about: "A.", unit: "events/s", rows: []row{
		{what: "ours", value: medianOf(rate, 3e6, 1e6, 2e6), goal: 2e6, bound: "not told"},
		{what: "slow", value: given(rate, 1500), goal: 2000, bound: "the disk."},
		{what: "late", value: given(duration, 0.002), goal: 0.001, lower: true},
		{what: "limit", value: given(rate, 5e9), extra: "e"},
	}})
	_, got, _ := strings.Cut(r.String(), "## T")
	want := `

A.

| | events/s | goal | |
|---|---|---|---|
| ours | 2.00 M (1.00 M – 3.00 M) | 2.00 M, reached |  |
| slow | 1.5 k | **2.0 k, missed** |  |
| late | 2.00 ms | **1.00 ms, missed** |  |
| limit | 5.00 G |  | e |

slow: the disk.
`
	if got != want {
		t.Errorf("report:\n%s\nwant:\n%s", got, want)
	}
}

func TestPercentile(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 50: 3, 99: 5, 100: 5} {
		if got := percentile(v, p); got != want {
			t.Errorf("percentile %v is %v, want %v", p, got, want)
		}
	}
}

func TestEventNumber(t *testing.T) {
	for text, want := range map[string]int{
		`{"time":17,"mean":1.5}`: 17, `{"time":-1,"mean":1}`: -1, `{"time":null,"mean":1}`: -1, `{"owner":"x"}`: -1,
	} {
		if got := eventNumber([]byte(text)); got != want {
			t.Errorf("number of %s is %d, want %d", text, got, want)
		}
	}
}

func TestSizeRow(t *testing.T) {
	all, err := parseBenchmarks([]byte(`BenchmarkSizes/x/auto-hot/compress-2   9   1 ns/op   80.4 MB/s   76924 bytes   3.000 codec   5.000 reason   0 B/op
BenchmarkSizes/x/auto-hot/decompress-2   9   1 ns/op   2779 MB/s   0 B/op
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := all.sizeRow(sizeSample{bench: "x", what: "X", goals: map[string]float64{"auto-hot": 76923}}, "auto-hot")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.extra, "chose snappy: the smallest within the budget, compress 80 MB/s, decompress 2779 MB/s"; got != want {
		t.Errorf("extra %q, want %q", got, want)
	}
	if r.value.String() != "76,924" || !r.missed() {
		t.Errorf("value %s, missed %v; want 76,924, missed", r.value, r.missed())
	}
	if _, err := all.sizeRow(sizeSample{bench: "x"}, "lz4"); err == nil {
		t.Error("a sample that was not measured has a row")
	}
}

func TestAutoRow(t *testing.T) {
	all, err := parseBenchmarks([]byte(`BenchmarkAutoOverhead/hot/x/1KiB-2   9   12.4 %more   80 %raw   3.000 codec   3.000 guided   0 ns/op
BenchmarkAutoOverhead/hot/x/64KiB-2   9   -1.4 %more   2779 %raw   1.000 codec   4.000 guided   5000 ns-auto   0 ns/op
`))
	if err != nil {
		t.Fatal(err)
	}
	r, err := all.autoRow("hot, x", "BenchmarkAutoOverhead/hot/x/")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.value.String()+"; "+r.extra, "12 %; 1KiB snappy 12 %, 64KiB none after 5,000 ns (zstd finds nothing) -1 %"; got != want || r.missed() {
		t.Errorf("row %q, want %q", got, want)
	}
	if _, err := all.autoRow("cold, x", "BenchmarkAutoOverhead/cold/x/"); err == nil {
		t.Error("data that were not measured have a row")
	}
}
