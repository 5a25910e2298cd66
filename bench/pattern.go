package main

import (
	"context"
	"strings"
)

// runPattern measures patterns over decoded batches, in one goroutine.
func runPattern(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkPattern$", "-benchtime", "4000x")
	if err != nil {
		return nil, err
	}
	const byHand = "peer: a map and a queue, written by hand in Go"
	rows, err := all.fill([]benchRow{
		{bench: "BenchmarkPattern/open/1000", allocsOf: 256, row: row{what: "completed or started, 1,000 open", goal: 1e6}},
		{bench: "BenchmarkPattern/open-by-hand/1000", row: row{what: byHand}},
		{bench: "BenchmarkPattern/open/1000000", allocsOf: 256, row: row{what: "completed or started, 1,000,000 open", goal: 1e6}},
		{bench: "BenchmarkPattern/open-by-hand/1000000", row: row{what: byHand}},
		{bench: "BenchmarkPattern/silence/1000", allocsOf: 256, row: row{what: "missing heartbeat put off, 1,000 keys"}},
		{bench: "BenchmarkPattern/silence-by-hand/1000", row: row{what: byHand}},
		{bench: "BenchmarkPattern/silence/1000000", allocsOf: 256, row: row{what: "missing heartbeat put off, 1,000,000 keys"}},
		{bench: "BenchmarkPattern/silence-by-hand/1000000", row: row{what: byHand}},
	})
	if err != nil {
		return nil, err
	}
	for i, name := range []string{
		"open/1000", "open-by-hand/1000", "open/1000000", "open-by-hand/1000000",
		"silence/1000", "silence-by-hand/1000", "silence/1000000", "silence-by-hand/1000000",
	} {
		perCPU, err := all.figure("BenchmarkPattern/"+name, "events/cpu-s", rate)
		if err != nil {
			return nil, err
		}
		size, err := all.figure("BenchmarkPattern/"+name, "B/key", wholeBytes)
		if err != nil {
			return nil, err
		}
		at := &rows[i]
		at.extra = strings.TrimPrefix(at.extra+"; "+perCPU.String()+" per second of CPU; "+size.String()+" B per open match", "; ")
	}
	return []table{{
		title: "Patterns",
		about: "Batches of 256 decoded events, one goroutine. `every a=S[not b] -> b=S[b and k == a.k] within 1 min`: half of the\n" +
			"events complete one of the open matches, chosen at random, and half start one. `every a=S -> not S[k == a.k] for 1 min`:\n" +
			"each event is of a key chosen at random, ends its match and starts the next. With 1,000,000 matches, both the engine and\n" +
			"the peer wait for memory. On a machine with other work, the figures per second of CPU tell more.",
		unit: "events/s", rows: rows,
	}}, nil
}
