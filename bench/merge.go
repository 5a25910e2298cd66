package main

import (
	"context"
	"fmt"
	"strconv"
)

// runMerge measures the folding of a chain, beside a copy of its bytes with one hash.
func runMerge(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./services/merger", "^BenchmarkMerge$", "-benchtime", "5x")
	if err != nil {
		return nil, err
	}
	rows := []row{
		{what: "chain of a base and 20 deltas, folded"},
		{what: "limit: as many bytes copied, and hashed once by SHA-256"},
	}
	for i, name := range []string{"fold", "limit"} {
		if rows[i].value, err = all.figure("BenchmarkMerge/"+name, "MB/s", megabytes); err != nil {
			return nil, err
		}
	}
	space := row{what: "stored bytes that folding saves, %", goal: 60}
	if space.value, err = all.figure("BenchmarkMerge/space", "saved-%", tenths); err != nil {
		return nil, err
	}
	before, err := all.figure("BenchmarkMerge/space", "before-bytes", wholeBytes)
	if err != nil {
		return nil, err
	}
	after, err := all.figure("BenchmarkMerge/space", "after-bytes", wholeBytes)
	if err != nil {
		return nil, err
	}
	space.extra = fmt.Sprintf("%s bytes become %s", before, after)
	return []table{
		{
			title: "Merging",
			about: "A window of a million rows in 2,048 chunks; each of 20 deltas replaces a fifth of them. Folding reads,\n" +
				"checks and decompresses all blocks, compares the digest of the state, and compresses and hashes the new\n" +
				"blocks. MB/s count the uncompressed bytes of all runs; the store is in memory.",
			unit: "MB/s", rows: rows,
		},
		{title: "What merging saves", about: "The share of the stored bytes of the same chain.", unit: "%", rows: []row{space}},
	}, nil
}

func megabytes(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) }

func tenths(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
