package view

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	benchRows = 20_000
	benchKeys = 20_000
	fewKeys   = 100
)

// rows puts rows of some keys into the output stream.
func (r *rig) rows(keys int) {
	r.t.Helper()
	for i := range benchRows {
		r.resultAsync(total(fmt.Sprintf("k%d", i%keys), i))
		if i%batchRowsMax == batchRowsMax-1 { // the client refuses more than it may have in flight
			<-r.js.PublishAsyncComplete()
		}
	}
	<-r.js.PublishAsyncComplete()
}

// BenchmarkView fills a view from an output stream. Each row has a key of its own, or few keys
// share the rows, so that most rows are not written.
func BenchmarkView(b *testing.B) {
	for _, keys := range []int{benchKeys, fewKeys} {
		b.Run(fmt.Sprintf("keys-%d", keys), func(b *testing.B) {
			r := newRig(b, totals)
			r.rows(keys)
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			b.ResetTimer()
			for range b.N {
				b.StopTimer()
				must(b, r.js.DeleteKeyValue(r.within(), "TOTALS"))
				r.bucket("TOTALS")
				b.StartTimer()
				v, stop := r.start()
				for v.Info().State != Following {
					<-tick.C
				}
				b.StopTimer()
				stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkPuts puts as many values into a bucket with nats.go alone, and waits for all
// acknowledgements at the end of each thousand.
func BenchmarkPuts(b *testing.B) {
	r := newRig(b, totals)
	for range b.N {
		var sent []jetstream.PubAckFuture
		for i := range benchRows {
			f, err := r.js.PublishAsync(fmt.Sprintf("$KV.TOTALS.k%d", i), []byte(total(fmt.Sprintf("k%d", i), i)))
			must(b, err)
			if sent = append(sent, f); len(sent) == batchRowsMax || i == benchRows-1 {
				for _, f := range sent {
					if err := acked(r.within(), f); err != nil {
						b.Fatal(err)
					}
				}
				sent = sent[:0]
			}
		}
	}
	b.ReportMetric(float64(benchRows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

func acked(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
