package main

import "context"

// runView measures how fast a KV bucket gets the rows of a view, beside plain puts.
func runView(ctx context.Context, b *bench) ([]table, error) {
	found, err := b.gobench(ctx, "./services/processor/view", "^Benchmark", "-benchtime", "3x")
	if err != nil {
		return nil, err
	}
	t := table{
		title: "Views",
		about: "A bucket is filled from an output stream of 20,000 rows (`@sink(kv='…')`): read back, compared and set.",
		unit:  "rows/s",
	}
	for _, one := range []struct{ bench, what string }{
		{"BenchmarkView/keys-20000", "each row has a key of its own"},
		{"BenchmarkView/keys-100", "100 keys: only the newest rows of those that wait are written"},
		{"BenchmarkPuts", "beside it: `PublishAsync` of nats.go to the bucket"},
	} {
		r := row{what: one.what}
		if r.value, err = found.figure(one.bench, "rows/s", rate); err != nil {
			return nil, err
		}
		t.rows = append(t.rows, r)
	}
	return []table{t}, nil
}
