package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// autoKinds are the kinds of data that Auto is measured on, by their names in the benchmark.
var autoKinds = []struct{ bench, what string }{
	{"flights-json", "JSON text"},
	{"flights-columns", "columns of a fixed width"},
	{"flights-packed", "packed columns of frames"},
	{"text", "the same line again and again"},
	{"random", "noise"},
}

var autoSizes = []string{"1KiB", "4KiB", "64KiB", "256KiB", "1024KiB"}

// runAuto measures the cost of choosing a codec.
func runAuto(ctx context.Context, b *bench) ([]table, error) {
	var names []string
	for _, k := range autoKinds {
		names = append(names, k.bench)
	}
	pattern := fmt.Sprintf("^BenchmarkAutoOverhead$/^(hot|cold)$/^(%s)$/^(%s)$", strings.Join(names, "|"), strings.Join(autoSizes, "|"))
	all, err := b.gobench(ctx, "./shared/state/compress", pattern, "-benchtime", "30ms")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, access := range []string{"hot", "cold"} {
		for _, k := range autoKinds {
			r, err := all.autoRow(access+", "+k.what, "BenchmarkAutoOverhead/"+access+"/"+k.bench+"/")
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return []table{{
		title: "Finding a codec",
		about: "Blocks sealed with Auto, compared with the same blocks sealed with the codec that Auto chose. The figure\n" +
			"is the worst overhead of the choice, in percent of that codec's own time; 100 would mean twice the time.\n" +
			"A block that is stored uncompressed is compared with the codec that showed that compression does not\n" +
			"pay.",
		unit: "% of the codec's time", rows: rows,
	}}, nil
}

// autoRow returns the largest overhead for one kind of data, and the overhead for each size.
func (all benchmarks) autoRow(what, prefix string) (row, error) {
	r := row{what: what, goal: 100, lower: true}
	var notes []string
	for _, size := range autoSizes {
		if all[prefix+size] == nil {
			continue // the kind has less data
		}
		more, err := all.figure(prefix+size, "%more", percent)
		if err != nil {
			return r, err
		}
		codec, guided := all[prefix+size]["codec"], all[prefix+size]["guided"]
		if len(codec) == 0 || len(guided) == 0 {
			return r, fmt.Errorf("benchmark %s%s does not report a codec", prefix, size)
		}
		note := fmt.Sprintf("%s %s", size, compress.Codec(codec[0]))
		if codec[0] != guided[0] {
			took, err := all.figure(prefix+size, "ns-auto", nanoseconds)
			if err != nil {
				return r, err
			}
			note += fmt.Sprintf(" after %s ns (%s finds nothing)", nanoseconds(took.median), compress.Codec(guided[0]))
		}
		notes = append(notes, note+" "+percent(more.median))
		if len(notes) == 1 || more.median > r.value.median {
			r.value = more
		}
	}
	if len(notes) == 0 {
		return r, fmt.Errorf("no benchmark is called %s", prefix)
	}
	r.extra = strings.Join(notes, ", ")
	return r, nil
}

func percent(v float64) string { return fmt.Sprintf("%.0f %%", v) }
