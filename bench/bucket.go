package main

import (
	"context"
	"fmt"
	"strconv"
)

// runBucket measures checkpoints in a bucket of S3, beside plain requests to the same server.
func runBucket(ctx context.Context, b *bench) ([]table, error) {
	const pkg = "./shared/state/store/cloud/s3"
	counted, err := b.gobench(ctx, pkg, "^BenchmarkRequests$", "-benchtime", "20x")
	if err != nil {
		return nil, err
	}
	requests := table{
		title: "Requests of a checkpoint in a bucket",
		about: "Components of 4 kB of changed state each; what tasks and the leader send until the checkpoint is committed.",
		unit:  "requests",
	}
	for _, n := range []int{1, 10, 100} {
		name := fmt.Sprintf("BenchmarkRequests/components-%d", n)
		r := row{what: fmt.Sprintf("components: %d", n)}
		if r.value, err = counted.figure(name, "requests/checkpoint", rate); err != nil {
			return nil, err
		}
		sent, err := counted.figure(name, "B/checkpoint", kilobytes)
		if err != nil {
			return nil, err
		}
		restored, err := counted.figure(name, "requests/restore", rate)
		if err != nil {
			return nil, err
		}
		r.extra = sent.String() + " sent; " + restored.String() + " requests restore it"
		requests.rows = append(requests.rows, r)
	}
	moved, err := b.gobench(ctx, pkg, "^BenchmarkBytes$", "-benchtime", "3x")
	if err != nil {
		return nil, err
	}
	bytes := table{
		title: "Bytes of a checkpoint in a bucket",
		about: "A state of 16 MB that does not compress, in blocks, 16 at once; the S3 server is in the same process, and\n" +
			"waits before each request. Beside them is one request with as many bytes.",
		unit: "MB/s",
	}
	for _, latency := range []int{0, 5, 50} {
		for _, way := range []struct{ bench, what string }{
			{"checkpoint", "write a run"},
			{"upload", "beside it: one put"},
			{"restore", "load the run"},
			{"download", "beside it: one get"},
		} {
			r := row{what: fmt.Sprintf("%s, %d ms", way.what, latency)}
			if r.value, err = moved.figure(fmt.Sprintf("BenchmarkBytes/%dms/%s", latency, way.bench), "MB/s", wholeBytes); err != nil {
				return nil, err
			}
			bytes.rows = append(bytes.rows, r)
		}
	}
	hour, err := requestsOfAnHour(ctx, b)
	return []table{requests, bytes, hour}, err
}

// requestsOfAnHour counts what checkpoints, merges, retention and sweeps send in an hour.
func requestsOfAnHour(ctx context.Context, b *bench) (table, error) {
	hour := table{
		title: "Requests of an hour with a bucket",
		about: "An app with two components. Its 360 checkpoints, one for each 10 s, are made one after the other, and so are\n" +
			"the merges after them and a sweep after each sixth one. Those of 10 minutes are retained: 60. Retention itself\n" +
			"sends nothing; sweeps delete what it retires.",
		unit: "requests",
	}
	counted, err := b.gobench(ctx, "./test/merging", "^BenchmarkHour$", "-benchtime", "1x")
	if err != nil {
		return hour, err
	}
	for _, r := range []struct{ what, unit string }{
		{"360 checkpoints, with their commits", "checkpoints/h"},
		{"merges", "merges/h"},
		{"60 sweeps", "sweeps/h"},
	} {
		value, err := counted.figure("BenchmarkHour", r.unit, wholeBytes)
		if err != nil {
			return hour, err
		}
		hour.rows = append(hour.rows, row{what: r.what, value: value})
	}
	for _, part := range []struct{ unit, what string }{{"lists/h", " of them list, "}, {"deletes/h", " delete"}} {
		n, err := counted.figure("BenchmarkHour", part.unit, wholeBytes)
		if err != nil {
			return hour, err
		}
		hour.rows[len(hour.rows)-1].extra += n.String() + part.what
	}
	return hour, nil
}

func kilobytes(v float64) string { return strconv.FormatFloat(v/1000, 'f', 1, 64) + " kB" }
