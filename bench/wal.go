package main

import "context"

// runWAL measures appends that are synced to disk before they are acknowledged.
func runWAL(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/log/wal", "^BenchmarkWAL$/^(nats|file)$")
	if err != nil {
		return nil, err
	}
	rows, err := all.fill([]benchRow{
		{bench: "BenchmarkWAL/nats/single", row: row{what: "one event per append, a future for each", goal: 500e3}},
		{bench: "BenchmarkWAL/file/single", row: row{what: "limit: the same frames to a plain file"}},
		{bench: "BenchmarkWAL/nats/batch=1000", row: row{what: "1,000 events per append", goal: 2e6}},
		{bench: "BenchmarkWAL/file/batch=1000", row: row{what: "limit: the same frames to a plain file"}},
		{bench: "BenchmarkWAL/nats/lone", row: row{what: "one event at a time, each awaited"}},
		{bench: "BenchmarkWAL/file/lone", row: row{what: "limit: the same to a plain file"}},
	})
	if err != nil {
		return nil, err
	}
	f, err := loadFlights(b.root)
	if err != nil {
		return nil, err
	}
	each, err := b.measure(ctx, func(ctx context.Context, s *server) (float64, error) { return storeEach(ctx, s, f.lines) })
	if err != nil {
		return nil, err
	}
	rows = append(rows, row{what: "peer: a JetStream message per event, 4,096 in flight", value: each, extra: "JSON over TCP, synced one by one"})
	return []table{{
		title: "The log",
		about: "One goroutine appends real flights to the log of a partition, profile durable: an embedded server that\n" +
			"syncs before it acknowledges. The time ends when all are durable. The plain file gets the same frames by\n" +
			"the same group commit, one write and one fsync each.",
		unit: "events/s", rows: rows,
	}}, nil
}
