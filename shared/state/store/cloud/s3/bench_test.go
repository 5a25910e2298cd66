package s3

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

const (
	benchValueBytes = 4000
	benchWorkers    = 16 // as in a processor
)

// benchState returns a state of about that many bytes, which do not compress.
func benchState(bytes int) []state.Change {
	random := rand.NewChaCha8([32]byte{1})
	var changes []state.Change
	for at := 0; at < bytes; at += benchValueBytes {
		value := make([]byte, benchValueBytes)
		_, _ = random.Read(value) // never fails
		changes = append(changes, state.Change{Key: fmt.Appendf(nil, "%010d", len(changes)), Value: value})
	}
	return changes
}

// renew makes it another state, whose blocks the store does not have.
func renew(changes []state.Change, n uint64) {
	for i := range changes {
		binary.LittleEndian.PutUint64(changes[i].Value, n)
	}
}

// BenchmarkRequests makes checkpoints of components with little state each, and counts what
// a provider charges for; and the requests of a restore from the last one.
func BenchmarkRequests(b *testing.B) {
	for _, components := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("components-%d", components), func(b *testing.B) {
			server := s3test.Start(b)
			s := openAt(b, server.URL("x"))
			var requests, bytes atomic.Int64
			server.Intercept(func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					bytes.Add(r.ContentLength)
					next.ServeHTTP(w, r)
				})
			})
			changes, n, warm := benchState(benchValueBytes), uint64(0), int64(0)
			for b.Loop() {
				n++
				renew(changes, n)
				benchCheckpoint(b, s, components, n, changes)
				if n == 1 { // the first one reads the head
					warm = 1
					requests.Store(0)
					bytes.Store(0)
				}
			}
			if n := int64(n) - warm; n > 0 {
				b.ReportMetric(float64(requests.Load())/float64(n), "requests/checkpoint")
				b.ReportMetric(float64(bytes.Load())/float64(n), "B/checkpoint")
			}
			requests.Store(0)
			benchRestore(b, s)
			b.ReportMetric(float64(requests.Load()), "requests/restore")
		})
	}
}

// benchCheckpoint makes a checkpoint as the tasks and the leader do.
func benchCheckpoint(b *testing.B, s *cloud.Store, components int, epoch uint64, changes []state.Change) {
	part := checkpoint.Partition{
		Log:        checkpoint.Lineage{Stream: "EFW_app_0", Sequence: epoch, ID: checkpoint.ID{1}},
		Components: make([]checkpoint.Component, components),
	}
	packer := checkpoint.NewPacker(s, benchWorkers)
	var group errgroup.Group
	group.SetLimit(benchWorkers)
	for i := range part.Components {
		own := []state.Change{{Key: fmt.Appendf(nil, "of %d", i), Value: changes[0].Value}}
		group.Go(func() error {
			run, err := checkpoint.WriteRun(within(b), packer, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: state.Epoch(epoch)}, own)
			part.Components[i] = checkpoint.Component{ID: fmt.Sprintf("component-%03d", i), Type: "window/length", Version: "1.0.0", Digest: state.Digest{1}, Runs: []checkpoint.Run{run}}
			return err
		})
	}
	must(b, group.Wait())
	must(b, packer.Flush(within(b), part.Components))
	m := checkpoint.Manifest{App: "app", Generation: 1, Epoch: state.Epoch(epoch), Term: 1, Partitions: []checkpoint.Partition{part}}
	data, err := m.Encode()
	must(b, err)
	must(b, s.Commit(within(b), store.Commit{App: "app", Term: 1, Epoch: epoch, Name: checkpoint.ManifestName("app", m.Epoch), Manifest: data}))
}

// benchRestore reads the newest checkpoint.
func benchRestore(b *testing.B, s *cloud.Store) {
	head, err := s.Head(within(b), "app")
	must(b, err)
	m, err := checkpoint.ReadManifest(within(b), s, head.Name, "")
	must(b, err)
	shared := checkpoint.SharedReads(s, m.Chains()...)
	for _, chain := range m.Chains() {
		_, err := checkpoint.LoadChain(within(b), shared, chain, benchWorkers)
		must(b, err)
	}
}

// BenchmarkBytes writes and loads a state of 16 MB in blocks, beside one request with as many
// bytes, with a server that answers at once or late.
func BenchmarkBytes(b *testing.B) {
	const bytes = 16_000_000
	server := s3test.Start(b)
	s := openAt(b, server.URL("x"))
	changes, n := benchState(bytes), uint64(0)
	opt := checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 1, Choice: compress.Choice{Codec: compress.None}, Parallel: benchWorkers}
	for _, latency := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		server.Intercept(func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(latency)
				next.ServeHTTP(w, r)
			})
		})
		var chain []checkpoint.Run
		b.Run(fmt.Sprintf("%dms/checkpoint", latency.Milliseconds()), func(b *testing.B) {
			b.SetBytes(bytes)
			for b.Loop() {
				n++
				renew(changes, n)
				run, err := checkpoint.WriteRun(within(b), s, opt, changes)
				must(b, err)
				chain = []checkpoint.Run{run}
			}
		})
		b.Run(fmt.Sprintf("%dms/restore", latency.Milliseconds()), func(b *testing.B) {
			b.SetBytes(bytes)
			for b.Loop() {
				entries, err := checkpoint.LoadChain(within(b), s, chain, benchWorkers)
				must(b, err)
				if len(entries) != len(changes) {
					b.Fatalf("%d entries, want %d", len(entries), len(changes))
				}
			}
		})
		data, name := make([]byte, bytes), ""
		b.Run(fmt.Sprintf("%dms/upload", latency.Milliseconds()), func(b *testing.B) {
			b.SetBytes(bytes)
			for b.Loop() {
				n++
				name = fmt.Sprintf("plain/%d", n)
				must(b, s.Put(within(b), name, data))
			}
		})
		b.Run(fmt.Sprintf("%dms/download", latency.Milliseconds()), func(b *testing.B) {
			b.SetBytes(bytes)
			for b.Loop() {
				_, err := s.Get(within(b), name)
				must(b, err)
			}
		})
	}
}
