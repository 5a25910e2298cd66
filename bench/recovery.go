package main

import (
	"context"
	"fmt"
)

// recoveryGoal is in MB/s of state, uncompressed.
const recoveryGoal = 200

// runRecovery measures loading a checkpoint, next to only reading and decompressing the same
// objects.
func runRecovery(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/log/rebuild", "^BenchmarkRecovery$", "-benchtime", "5x")
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, way := range []struct {
		bench, what string
		workers     []int
		goal        float64
	}{
		{"load", "load a checkpoint", []int{1, 2, 4}, recoveryGoal},
		{"remote", "the same, 5 ms away", []int{1, 4, 16}, 0},
		{"decode", "limit: its runs, read, decompressed, decoded and merged", []int{1, 2, 4}, 0},
		{"decompress", "limit: its objects, read and decompressed", []int{1, 2, 4}, 0},
	} {
		for _, workers := range way.workers {
			r := row{
				what: fmt.Sprintf("%s, %d workers", way.what, workers), goal: way.goal,
				bound: "each entry is hashed to prove that it is unchanged, and inserted into a window or a group. Components load in parallel. All cores read and hash their entries and insert blocks of windows; one core inserts groups.",
			}
			if r.value, err = all.figure(fmt.Sprintf("BenchmarkRecovery/%s/workers=%d", way.bench, workers), "MB/s", wholeBytes); err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return []table{{
		title: "Recovery",
		about: "A checkpoint of three windows of 100,000 to 200,000 real flights, and of three aggregates of 50,000\n" +
			"groups over a fourth window, in a file store. MB/s count its uncompressed entries; a flight takes about\n" +
			"10 bytes.",
		unit: "MB/s", rows: rows,
	}}, nil
}
