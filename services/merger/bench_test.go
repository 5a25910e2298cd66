package merger

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// A window of 2,048 chunks with 512 rows each: a million rows. At each of 20 checkpoints, a
// fifth of them is new.
const (
	benchChunks = 2048
	benchRows   = 512
	benchDeltas = 20
)

// churned is the chain of such a window.
type churned struct {
	store     *memory.Store
	component checkpoint.Component
	raw       int64 // bytes of all runs, uncompressed
}

func newChurned(tb testing.TB, chunks uint64) *churned {
	tb.Helper()
	w := &churned{store: memory.New()}
	random := rand.New(rand.NewPCG(1, 2))
	rows := map[uint64][]byte{}
	put := func(n uint64) state.Change {
		rows[n] = chunk(random, n)
		return state.Change{Key: chunkKey(n), Value: rows[n]}
	}
	var base []state.Change
	for n := range chunks {
		base = append(base, put(n))
	}
	w.write(tb, checkpoint.Base, 1, base)
	for e := range uint64(benchDeltas) {
		var delta []state.Change
		first, churn := e*(chunks/5), chunks/5
		for n := first; n < first+churn; n++ {
			delta = append(delta, state.Change{Key: chunkKey(n), Deleted: true})
			delete(rows, n)
		}
		for n := chunks + first; n < chunks+first+churn; n++ {
			delta = append(delta, put(n))
		}
		w.write(tb, checkpoint.Delta, state.Epoch(e+2), delta)
	}
	var sum state.Sum
	for n, value := range rows {
		sum.Add(chunkKey(n), value)
	}
	w.component.ID, w.component.Digest = "q/window", sum.Digest()
	return w
}

func (w *churned) write(tb testing.TB, kind checkpoint.Kind, e state.Epoch, changes []state.Change) {
	tb.Helper()
	opt := checkpoint.WriterOptions{Kind: kind, Epoch: e, Choice: compress.Choice{Codec: compress.LZ4}}
	run, err := checkpoint.WriteRun(context.Background(), w.store, opt, changes)
	if err != nil {
		tb.Fatal(err)
	}
	w.component.Runs = append(w.component.Runs, run)
	w.raw += run.RawBytes
}

func chunkKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte("b"), n) }

// chunk makes the rows of a chunk: a time, a word of a hundred, a reading.
func chunk(random *rand.Rand, n uint64) []byte {
	var value []byte
	for i := range uint64(benchRows) {
		value = binary.LittleEndian.AppendUint64(value, 1_700_000_000_000+n*benchRows+i)
		value = append(value, byte(random.IntN(100)))
		value = binary.LittleEndian.AppendUint16(value, uint16(random.IntN(5000)))
	}
	return value
}

// BenchmarkMerge folds the chain of a churning window, checks the digest and stores what
// comes out. The limit is to copy as many bytes and hash them once.
func BenchmarkMerge(b *testing.B) {
	w := newChurned(b, benchChunks)
	b.Run("fold", func(b *testing.B) {
		b.SetBytes(w.raw)
		b.ReportAllocs()
		for range b.N {
			if _, err := checkpoint.FoldChain(context.Background(), &discard{Store: w.store}, options(w), &w.component, w.held()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("limit", func(b *testing.B) {
		from, to := make([]byte, 1<<20), make([]byte, 1<<20)
		b.SetBytes(w.raw)
		for range b.N {
			h := sha256.New()
			for left := w.raw; left > 0; left -= int64(len(from)) {
				n := min(left, int64(len(from)))
				copy(to[:n], from[:n])
				_, _ = h.Write(to[:n])
			}
			h.Sum(nil)
		}
	})
	b.Run("space", func(b *testing.B) {
		o := &outcome{before: map[string]int64{}, after: map[string]int64{}}
		for range b.N {
			s := &Service{cfg: Config{Store: w.store, Compression: options(w).Choice}}
			dry := &dryStore{Store: w.store, put: map[string][]byte{}}
			*o = outcome{before: map[string]int64{}, after: map[string]int64{}}
			if _, err := s.foldChain(context.Background(), dry, &w.component, w.component.Runs, o); err != nil {
				b.Fatal(err)
			}
			o.written = dry.written
		}
		b.ReportMetric(float64(sum(o.before)), "before-bytes")
		b.ReportMetric(float64(sum(o.before)-o.saved()), "after-bytes")
		b.ReportMetric(100*float64(o.saved())/float64(sum(o.before)), "saved-%")
		b.ReportMetric(0, "ns/op")
	})
}

func options(*churned) checkpoint.WriterOptions {
	return checkpoint.WriterOptions{Epoch: 21, Choice: compress.Choice{Codec: compress.LZ4}, Parallel: 2}
}

func (w *churned) held() map[string]bool {
	held := map[string]bool{}
	for _, r := range w.component.Runs {
		held[r.Name] = true
	}
	return held
}

// discard takes what is put, and keeps none of it.
type discard struct{ store.Store }

// Put implements store.Store.
func (*discard) Put(context.Context, string, []byte) error { return nil }

// What merging 20 deltas of a churning window saves: the goal is 60 to 80 %.
func TestMergingAChurningWindowSavesSpace(t *testing.T) {
	w := newChurned(t, benchChunks/8)
	s := &Service{cfg: Config{Store: w.store, Workers: 2}}
	o := &outcome{before: map[string]int64{}, after: map[string]int64{}}
	m := &meter{Store: w.store}
	was := w.component.Runs
	runs, err := s.foldChain(context.Background(), m, &w.component, was, o)
	if err != nil {
		t.Fatal(err)
	}
	o.written = int64(m.written.Load())
	before, after := stored(t, w.store), int64(0)
	// The promised saving is the difference after the old chain is gone.
	live := map[string]bool{}
	for i := range runs {
		names, err := checkpoint.Objects(context.Background(), w.store, &runs[i])
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			live[name] = true
		}
	}
	if err := w.store.List(context.Background(), "", func(o store.Object) error {
		if live[o.Name] {
			after += o.Bytes
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	old := before - o.written
	if got := old - after; got != o.saved() {
		t.Errorf("%d bytes are saved, and %d were counted", got, o.saved())
	}
	if saved := 100 * o.saved() / old; saved < 60 {
		t.Errorf("%d %% of %d bytes are saved, want 60 or more", saved, old)
	}
}

func stored(t *testing.T, s store.Store) (n int64) {
	t.Helper()
	if err := s.List(context.Background(), "", func(o store.Object) error { n += o.Bytes; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}
