package main

import (
	"context"
	"strconv"
)

// runJoin measures joins and tables over decoded batches, in one goroutine.
func runJoin(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkJoin$", "-benchtime", "4000x")
	if err != nil {
		return nil, err
	}
	single, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkEngine$/^(filter|length100-sum)$")
	if err != nil {
		return nil, err
	}
	const perBatch = 256
	const byHand = "peer: maps, written by hand in Go"
	list := []benchRow{
		{bench: "BenchmarkJoin/streams", allocsOf: perBatch, row: row{what: "two windows of 10,000 rows joined by key", goal: 1e6}},
		{bench: "BenchmarkJoin/streams-by-hand", row: row{what: byHand}},
		{bench: "BenchmarkJoin/lookup/1000000", allocsOf: perBatch, row: row{what: "joined by key with a table of 1,000,000 rows", goal: 3e6}},
		{bench: "BenchmarkJoin/lookup-by-hand/1000000", row: row{what: byHand}},
		{bench: "BenchmarkJoin/upsert/1000000", allocsOf: perBatch, row: row{what: "`update or insert` by key, 1,000,000 rows", goal: 3e6}},
		{bench: "BenchmarkJoin/upsert-by-hand/1000000", row: row{what: byHand}},
		{bench: "BenchmarkJoin/update/1000000", allocsOf: perBatch, row: row{what: "`update` of one row of 1,000,000"}},
		{bench: "BenchmarkJoin/update-by-hand/1000000", row: row{what: byHand}},
	}
	for _, rows := range []int{1_000, 10_000, 100_000, 10_000_000} {
		size := strconv.Itoa(rows)
		list = append(list,
			benchRow{bench: "BenchmarkJoin/lookup/" + size, allocsOf: perBatch, row: row{what: "joined by key with a table of " + size + " rows"}},
			benchRow{bench: "BenchmarkJoin/lookup-by-hand/" + size, row: row{what: byHand}})
	}
	rows, err := all.fill(list)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		size, err := all.figure(list[i].bench, "B/row", wholeBytes)
		if err != nil {
			return nil, err
		}
		cpu, err := all.figure(list[i].bench, "events/cpu-s", rate)
		if err != nil {
			return nil, err
		}
		at := &rows[i]
		if at.extra != "" {
			at.extra += "; "
		}
		at.extra += size.String() + " B per row; " + cpu.String() + " per second of CPU"
	}
	streams, err := single.fill([]benchRow{
		{bench: "BenchmarkEngine/filter", allocsOf: 1, row: row{what: "for comparison: filter"}},
		{bench: "BenchmarkEngine/length100-sum", allocsOf: 1, row: row{what: "for comparison: `length(100)`, sum"}},
	})
	if err != nil {
		return nil, err
	}
	return []table{{
		title: "Joins and tables",
		about: "Decoded events with a random key, one goroutine. Tables have a long key and an int, and each key has a row; each event of a\n" +
			"join finds about one. In large tables, both the engine and the peer wait for memory. The figures per second of CPU also hold\n" +
			"on a machine that is busy with other work.",
		unit: "events/s", rows: append(rows, streams...),
	}}, nil
}
