package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// requests counts the operations of a store.
type requests struct {
	store.Store
	puts, gets atomic.Int64
}

func (r *requests) Put(ctx context.Context, name string, data []byte) error {
	r.puts.Add(1)
	return r.Store.Put(ctx, name, data)
}

func (r *requests) Get(ctx context.Context, name string) ([]byte, error) {
	r.gets.Add(1)
	return r.Store.Get(ctx, name)
}

// packed stores changes of components as the bases of a checkpoint, with a Packer.
func packed(t rapid.TB, s store.Store, all ...[]state.Change) []Component {
	t.Helper()
	p := NewPacker(s, 2)
	list := make([]Component, len(all))
	var group errgroup.Group
	for i, changes := range all {
		list[i] = Component{ID: fmt.Sprintf("c%03d", i), Type: "t", Version: "1.0.0", Digest: state.DigestOf(entriesOf(changes))}
		group.Go(func() error {
			run, err := WriteRun(ctx, p, WriterOptions{Kind: Base, Epoch: 1, Choice: compress.Choice{Codec: compress.None}}, changes)
			list[i].Runs = []Run{run}
			return err
		})
	}
	if err := errors.Join(group.Wait(), p.Flush(ctx, list)); err != nil {
		t.Fatal(err)
	}
	return list
}

// small returns the changes of n components with a few bytes each.
func small(n int) (all [][]state.Change) {
	for i := range n {
		all = append(all, []state.Change{put("k", fmt.Sprint("value ", i)), put("l", "the same")})
	}
	return all
}

// A manifest is not committed unless the objects of its epoch are in the store, each with its
// length. Objects of earlier epochs are not read.
func TestObjectsOfAnEpochAreThere(t *testing.T) {
	large := []state.Change{put("k", strings.Repeat("v", packedBytesMax))}
	s := &requests{Store: memory.New()}
	m := &Manifest{Epoch: 1, Partitions: []Partition{{Components: packed(t, s, append(small(100), large)...)}}}
	if err := CheckWritten(t.Context(), s, m); err != nil || s.gets.Load() != 2 {
		t.Errorf("%v after %d gets, want one for each object", err, s.gets.Load())
	}
	for object := range m.RunObjects() {
		for what, keep := range map[string]func(data []byte) []byte{
			"missing": func([]byte) []byte { return nil },
			"short":   func(data []byte) []byte { return data[:len(data)-1] },
		} {
			if what == "short" && !strings.HasPrefix(object, "packs/") {
				continue // how long a run is depends on its codec
			}
			other := memory.New()
			for name := range m.RunObjects() {
				data, err := s.Store.Get(t.Context(), name)
				if name == object {
					data = keep(data)
				}
				if data != nil {
					err = errors.Join(err, other.Put(t.Context(), name, data))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := CheckWritten(t.Context(), other, m); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), object) {
				t.Errorf("%s %s: %v", what, object, err)
			}
		}
	}
	m.Epoch = 2
	if err := CheckWritten(t.Context(), memory.New(), m); err != nil {
		t.Errorf("of an earlier epoch: %v", err)
	}
}

// A checkpoint of many small components takes one put, and one get to restore it; those that are
// large have objects of their own.
func TestSmallRunsShareAnObject(t *testing.T) {
	s := &requests{Store: memory.New()}
	large := []state.Change{put("k", strings.Repeat("v", packedBytesMax))}
	list := packed(t, s, append(small(100), large)...)
	if n := s.puts.Load(); n != 2 {
		t.Errorf("%d puts, want a pack and a run", n)
	}
	m := &Manifest{Partitions: []Partition{{Components: list}}}
	if r, err := Verify(ctx, s, m, 3); err != nil || len(r.Problems) > 0 || r.Runs != 101 {
		t.Errorf("%+v, %v", r, err)
	}
	if n := s.gets.Load(); n != 2 {
		t.Errorf("%d gets, want one for each object", n)
	}
	if objects := m.RunObjects(); len(objects) != 2 {
		t.Errorf("the manifest refers to %v", objects)
	}
}

// A run that is alone is no pack, and is read by those who know no packs.
func TestLoneRunIsItsOwnObject(t *testing.T) {
	list := packed(t, memory.New(), small(1)...)
	if r := list[0].Runs[0]; r.Pack != "" || r.PackBytes != 0 || r.Offset != 0 {
		t.Errorf("%+v", r)
	}
}

// Whatever is packed, in whatever sizes, is read as it was written: alone, with others, by a merge, and
// after it was moved to other packs. Packs stay below their limit.
func TestPackedRunsAreWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		sizes := rapid.SliceOfN(rapid.SampledFrom([]int{1, 100, 100, 60_000, 250_000, 300_000}), 1, 24).Draw(t, "sizes")
		var all [][]state.Change
		for i, size := range sizes {
			all = append(all, []state.Change{put("k", strings.Repeat(string(rune('a'+i)), size))})
		}
		list := packed(t, s, all...)
		wantPacked(t, s, list, all)
		var some []Component
		gone := map[string]bool{}
		for i := range list {
			if rapid.Bool().Draw(t, "kept") {
				some = append(some, list[i])
			}
			gone[list[i].Runs[0].Object()] = list[i].Runs[0].Pack != ""
		}
		p := NewPacker(SharedReads(s, list[0].Runs), 1)
		var kept [][]state.Change
		for i := range some {
			var at int
			if _, err := fmt.Sscanf(some[i].ID, "c%d", &at); err != nil {
				t.Fatal(err)
			}
			kept = append(kept, all[at])
			var err error
			if some[i].Runs, err = Unpack(ctx, p, some[i].Runs, gone); err != nil {
				t.Fatal(err)
			}
			if err := p.FlushFull(ctx, some); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Flush(ctx, some); err != nil {
			t.Fatal(err)
		}
		wantPacked(t, s, some, kept)
	})
}

// wantPacked checks that a store has the components.
func wantPacked(t *rapid.T, s store.Store, list []Component, all [][]state.Change) {
	t.Helper()
	m := &Manifest{App: "A", Generation: 1, Epoch: 1, Term: 1, Partitions: []Partition{{Log: Lineage{Stream: "EFW_A_0", Sequence: 1, ID: ID{1}}, Components: list}}}
	data, err := m.Encode()
	if err == nil {
		m, err = DecodeManifest("m", data)
	}
	if err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(ctx, s, m, 2); err != nil || len(r.Problems) > 0 {
		t.Fatalf("%+v, %v", r.Problems, err)
	}
	for i := range list {
		r := &list[i].Runs[0]
		if got, err := LoadChain(ctx, s, list[i].Runs, 1); err != nil || !sameEntries(got, entriesOf(all[i])) {
			t.Fatalf("component %d has %d entries, %v", i, len(got), err)
		}
		if (r.Bytes <= packedBytesMax) != (r.Pack != "") && r.Pack != "" || r.PackBytes > packBytesMax {
			t.Fatalf("%+v", r)
		}
		folded, err := MergeRuns(ctx, s, WriterOptions{Kind: Base, Epoch: 1}, list[i].Runs)
		if err != nil || folded.Name != r.Name {
			t.Fatalf("it is folded to %+v, %v", folded, err)
		}
	}
}

// Any damage of a pack is an error that names it, for each run that it hits; a pack that is written again
// is mended.
func TestEveryDamageOfAPackIsNoticed(t *testing.T) {
	s, random := memory.New(), rand.New(rand.NewPCG(5, 6))
	list := packed(t, s, small(5)...)
	object := list[0].Runs[0].Object()
	whole, err := s.Get(ctx, object)
	if err != nil {
		t.Fatal(err)
	}
	m := &Manifest{Partitions: []Partition{{Components: list}}}
	for _, bad := range append(damages(whole[packHeadBytes:], random), nil) {
		if bad != nil {
			bad = append(bytes.Clone(whole[:packHeadBytes]), bad...)
		}
		if err := s.Alter(object, func([]byte) []byte { return bad }); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(ctx, s, m, 2)
		if err != nil || len(r.Problems) == 0 || r.Problems[0].Object != object {
			t.Fatalf("%d bytes of %d: %+v, %v", len(bad), len(whole), r.Problems, err)
		}
		if packed(t, s, small(5)...)[0].Runs[0].Object() != object {
			t.Fatal("the pack has another name")
		}
		if r, err := Verify(ctx, s, m, 2); err != nil || len(r.Problems) > 0 {
			t.Fatalf("it was not mended: %+v, %v", r, err)
		}
	}
}

// If packs cannot be put, that is an error, and what was held is forgotten.
func TestFlushFails(t *testing.T) {
	s := memory.New()
	p := NewPacker(s, 1)
	var list []Component
	for i, changes := range small(3) {
		run, err := WriteRun(ctx, p, WriterOptions{Kind: Base, Epoch: 1}, changes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, Component{ID: fmt.Sprint(i), Runs: []Run{run}})
	}
	broken := errors.New("the disk is gone")
	s.Fail(func(op, _ string) error { return map[bool]error{true: broken}[op == "put"] })
	if err := p.Flush(ctx, list); !errors.Is(err, broken) || list[0].Runs[0].Pack != "" {
		t.Errorf("%v; %+v", err, list[0].Runs[0])
	}
	s.Fail(nil)
	if err := p.Flush(ctx, list); err != nil {
		t.Fatal(err)
	}
	if n := stored(t, s); n != 0 {
		t.Errorf("%d bytes were stored", n)
	}
}

// Runs of all codecs in a pack are read by all that follow.
func TestGoldenPack(t *testing.T) {
	s := memory.New()
	list := packed(t, s, groups(), []state.Change{put("a", "1")}, []state.Change{put("b", "2")})
	object := list[0].Runs[0].Object()
	data, err := s.Get(ctx, object)
	if err != nil {
		t.Fatal(err)
	}
	kept := goldenObject(t, "pack-1.pack", data)
	if !bytes.Equal(kept, data) || object != "packs/"+SHA256(kept) {
		t.Errorf("the pack %s is written as\n%x\nnot as\n%x", object, data, kept)
	}
	for i, want := range [][]state.Change{groups(), {put("a", "1")}, {put("b", "2")}} {
		if got, err := readRun(s, &list[i].Runs[0]); err != nil || !sameChanges(got, want) {
			t.Errorf("run %d: %d changes, %v", i, len(got), err)
		}
	}
}
