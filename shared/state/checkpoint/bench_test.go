package checkpoint

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

const benchChunkBytes = 4000 // of a window

// benchState is the text of real flights and earthquakes as the chunks of a window.
func benchState(b *testing.B) (changes []state.Change, raw []byte) {
	b.Helper()
	for _, name := range []string{"flights", "earthquakes"} {
		text, err := os.ReadFile("../../../examples/data/" + name + ".ndjson")
		if err != nil {
			b.Fatal(err)
		}
		raw = append(raw, text...)
	}
	for at := 0; at+benchChunkBytes <= len(raw); at += benchChunkBytes {
		changes = append(changes, state.Change{Key: fmt.Appendf(nil, "%010d", len(changes)), Value: raw[at : at+benchChunkBytes]})
	}
	return changes, raw[:len(changes)*benchChunkBytes]
}

// benchChain writes a base and three deltas. Each delta changes every tenth chunk.
func benchChain(b *testing.B, s *memory.Store, opt WriterOptions, base []state.Change) (chain []Run, bytes int64) {
	b.Helper()
	for i := range 4 {
		opt.Kind, opt.Epoch = Delta, state.Epoch(i+1)
		var changes []state.Change
		if i == 0 {
			opt.Kind, changes = Base, base
		}
		for k := i; i > 0 && k < len(base); k += 10 {
			changes = append(changes, state.Change{Key: base[k].Key, Value: base[(k+i)%len(base)].Value})
		}
		run, err := WriteRun(ctx, s, opt, changes)
		if err != nil {
			b.Fatal(err)
		}
		chain, bytes = append(chain, run), bytes+run.RawBytes
	}
	return chain, bytes
}

// overlay takes what is put, so that what is below stays as it is.
type overlay struct {
	store.Store
	above *memory.Store
}

func (o *overlay) Put(ctx context.Context, name string, data []byte) error {
	return o.above.Put(ctx, name, data)
}

// BenchmarkRun writes, loads and folds runs in memory, one block at a time. Each byte
// has to be copied into a block and hashed, whatever else is done with it: the limits.
func BenchmarkRun(b *testing.B) {
	changes, raw := benchState(b)
	for _, c := range []struct {
		name   string
		choice compress.Choice
	}{
		{"none", compress.Choice{Codec: compress.None}},
		{"lz4", compress.Choice{Codec: compress.LZ4}},
		{"snappy", compress.Choice{Codec: compress.Snappy}},
		{"zstd", compress.Choice{Codec: compress.Zstd}},
		{"auto-hot", compress.Choice{Access: compress.Hot}},
		{"auto-cold", compress.Choice{}},
	} {
		opt := WriterOptions{Kind: Base, Epoch: 9, Choice: c.choice}
		b.Run(c.name+"/write", func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			var run Run
			for b.Loop() {
				var err error
				if run, err = WriteRun(ctx, memory.New(), opt, changes); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100*float64(run.Bytes)/float64(run.RawBytes), "%size")
		})
		s := memory.New()
		chain, chainBytes := benchChain(b, s, opt, changes)
		b.Run(c.name+"/load", func(b *testing.B) {
			b.SetBytes(chainBytes)
			b.ReportAllocs()
			for b.Loop() {
				if entries, err := LoadChain(ctx, s, chain, 1); err != nil || len(entries) != len(changes) {
					b.Fatal(len(entries), err)
				}
			}
		})
		b.Run(c.name+"/merge", func(b *testing.B) {
			b.SetBytes(chainBytes)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := MergeRuns(ctx, &overlay{s, memory.New()}, opt, chain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("limit/copy", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		dst := make([]byte, len(raw))
		for b.Loop() {
			copy(dst, raw)
		}
	})
	b.Run("limit/hash", func(b *testing.B) {
		b.SetBytes(int64(len(raw)))
		dst := make([]byte, len(raw))
		for b.Loop() {
			copy(dst, raw)
			sha256.Sum256(dst)
		}
	})
}
