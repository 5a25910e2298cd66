package main

import (
	"context"
	"fmt"
	"strings"
)

// runCheckpoint measures runs of state, next to the minimal work for their bytes.
func runCheckpoint(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/state/checkpoint", "^BenchmarkRun$", "-benchtime", "200ms")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []struct{ bench, what string }{
		{"write", "write a run"},
		{"load", "load a chain of a base and three deltas"},
		{"merge", "fold the chain"},
	} {
		for _, codec := range []string{"none", "lz4", "snappy", "zstd", "auto-hot", "auto-cold"} {
			r := row{what: way.what + ", " + strings.Replace(codec, "-", " for ", 1)}
			name := "BenchmarkRun/" + codec + "/" + way.bench
			if r.value, err = all.figure(name, "MB/s", wholeBytes); err != nil {
				return nil, err
			}
			if way.bench == "write" {
				size, err := all.figure(name, "%size", percent)
				if err != nil {
					return nil, err
				}
				r.extra = fmt.Sprintf("stored in %s", size)
			}
			rows = append(rows, r)
		}
	}
	for _, limit := range []struct{ bench, what string }{
		{"hash", "limit: as many bytes, copied and hashed by SHA-256"},
		{"copy", "limit: as many bytes, memmove"},
	} {
		r := row{what: limit.what}
		if r.value, err = all.figure("BenchmarkRun/limit/"+limit.bench, "MB/s", wholeBytes); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return []table{{
		title: "Runs of a checkpoint",
		about: "Text of real flights and earthquakes as the chunks of a window, 1.9 MB, in an in-memory store; a delta\n" +
			"changes every tenth chunk. MB/s count the bytes before compression, one block at a time.",
		unit: "MB/s", rows: rows,
	}}, nil
}
