package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// groups is the state of an aggregator, and some entries that are unusual.
func groups() []state.Change {
	changes := []state.Change{
		{Key: nil, Value: []byte("of the empty key")},
		{Key: []byte{0}, Value: nil},
	}
	for i := range 150 {
		changes = append(changes, state.Change{Key: fmt.Appendf(nil, "group %03d", i), Value: fmt.Appendf(nil, "count %d, sum %d", i, i*i*i)})
	}
	return append(changes, state.Change{Key: []byte{0xff, 0xff}, Value: bytes.Repeat([]byte("long "), 60)})
}

// chunks is the state of a window, of several blocks.
func chunks() []state.Change {
	var changes []state.Change
	for i := range 80 {
		changes = append(changes, state.Change{Key: fmt.Appendf(nil, "%010d", i), Value: bytes.Repeat(fmt.Appendf(nil, "%d", i), 4000)})
	}
	return changes
}

func removals() []state.Change {
	return []state.Change{
		{Key: []byte{0}, Deleted: true},
		{Key: []byte("group 007"), Value: []byte("count 8, sum 400")},
		{Key: []byte("group 008"), Deleted: true},
		{Key: []byte("group 9"), Value: nil},
	}
}

const (
	groupsName   = "5ba0a6ea532748dc409f96850f184c94d112d9a241f014895856f3c807a3fb91"
	chunksName   = "7e2929cb769e7868b56e0abe8f538f965fae16cc6cca9da428fb448ca8bde2e6"
	removalsName = "f28342395a4ddcd43e53a55ad451fb8bcbdd027b0d25abfa64de190c90287a00"

	groupsNameV1   = "6d08a12cc2a93797d0c292dc4b3bfd709168242452623871f3228cc7c76dadf1"
	chunksNameV1   = "f140f1ad72eb50c947a5f7d6f6d4b7e95642f9f6b709fe94114b7423b577541e"
	removalsNameV1 = "d669e15918118a6bdde08c28d120a978441ed36c31739c0c7ddf4428e62cbb7e"
)

// What any release wrote has to be read by all that follow, under the same name. Only
// what is not compressed is also written to the same bytes: the others may change with
// the library of a codec.
func TestGoldenRuns(t *testing.T) {
	for _, test := range []struct {
		file    string
		codec   compress.Codec
		kind    Kind
		changes []state.Change
		name    string
	}{
		{"run-2-none", compress.None, Base, groups(), groupsName},
		{"run-2-lz4", compress.LZ4, Base, groups(), groupsName},
		{"run-2-snappy", compress.Snappy, Base, groups(), groupsName},
		{"run-2-zstd", compress.Zstd, Base, groups(), groupsName},
		{"run-2-delta", compress.None, Delta, removals(), removalsName},
		{"run-2-blocks", compress.LZ4, Base, chunks(), chunksName},
	} {
		t.Run(test.file, func(t *testing.T) {
			written := memory.New()
			opt := WriterOptions{Kind: test.kind, Epoch: 1, Choice: compress.Choice{Codec: test.codec}}
			run, err := WriteRun(ctx, written, opt, test.changes)
			if err != nil || run.Name != test.name {
				t.Fatalf("it is run %s, want %s; %v", run.Name, test.name, err)
			}
			objects, err := Objects(ctx, written, &run)
			if err != nil {
				t.Fatal(err)
			}
			golden := memory.New()
			for i, object := range objects {
				data, err := written.Get(ctx, object)
				if err != nil {
					t.Fatal(err)
				}
				name := test.file + ".run"
				if i > 0 {
					name = fmt.Sprintf("%s.block-%d", test.file, i-1)
				}
				kept := goldenObject(t, name, data)
				if test.codec == compress.None && !bytes.Equal(kept, data) {
					t.Errorf("%s is written as\n%x\nnot as\n%x", object, data, kept)
				}
				if err := golden.Put(ctx, object, kept); err != nil {
					t.Fatal(err)
				}
			}
			blocks, err := readRun(golden, &run)
			if err != nil || !sameChanges(blocks, test.changes) {
				t.Errorf("%d changes are read, want %d; %v", len(blocks), len(test.changes), err)
			}
		})
	}
}

// Runs of version 1, whose indexes have keys, are read under their old names.
func TestGoldenRunsOfVersion1(t *testing.T) {
	for _, test := range []struct {
		file    string
		name    string
		changes []state.Change
	}{
		{"run-1-none", groupsNameV1, groups()},
		{"run-1-lz4", groupsNameV1, groups()},
		{"run-1-snappy", groupsNameV1, groups()},
		{"run-1-zstd", groupsNameV1, groups()},
		{"run-1-delta", removalsNameV1, removals()},
		{"run-1-blocks", chunksNameV1, chunks()},
	} {
		t.Run(test.file, func(t *testing.T) {
			data := goldenObject(t, test.file+".run", nil)
			x, err := decodeRun(runName(test.name), data)
			if err != nil {
				t.Fatal(err)
			}
			golden := memory.New()
			put := func(name string, data []byte) {
				if err := golden.Put(ctx, name, data); err != nil {
					t.Fatal(err)
				}
			}
			put(runName(test.name), data)
			run := Run{Name: test.name, Kind: x.kind, Epoch: 1, Blocks: len(x.blocks)}
			for i := range x.blocks {
				run.Entries, run.RawBytes = run.Entries+int64(x.blocks[i].entries), run.RawBytes+int64(x.blocks[i].raw)
				if x.inline == nil {
					put(blockName(x.blocks[i].hash), goldenObject(t, fmt.Sprintf("%s.block-%d", test.file, i), nil))
				}
			}
			changes, err := readRun(golden, &run)
			if err != nil || !sameChanges(changes, test.changes) {
				t.Errorf("%d changes are read, want %d; %v", len(changes), len(test.changes), err)
			}
		})
	}
}

// The index of a run does not grow with the sizes of keys.
func TestIndexIsIndependentOfKeys(t *testing.T) {
	var changes []state.Change
	for i := range 20 {
		changes = append(changes, state.Change{Key: fmt.Appendf(bytes.Repeat([]byte("k"), 1<<20), "%04d", i), Value: []byte("v")})
	}
	s := memory.New()
	run, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 1, Choice: compress.Choice{Codec: compress.LZ4}}, changes)
	if err != nil {
		t.Fatal(err)
	}
	data, err := s.Get(ctx, runName(run.Name))
	if err != nil || len(data) > 20*64 {
		t.Errorf("the index of %d blocks has %d bytes; %v", run.Blocks, len(data), err)
	}
	got, err := LoadChain(ctx, s, []Run{run}, 2)
	if err != nil || len(got) != len(changes) {
		t.Errorf("%d entries, %v", len(got), err)
	}
}

// Blocks that are each sound and are in the wrong order are damage.
func TestBlocksFollowOneAnother(t *testing.T) {
	s := memory.New()
	run, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 1, Choice: compress.Choice{Codec: compress.LZ4}}, chunks())
	if err != nil {
		t.Fatal(err)
	}
	x, err := openRun(ctx, s, &run)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(x.blocks)
	run.Name = x.name()
	if err := s.Put(ctx, runName(run.Name), x.encode()); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadChain(ctx, s, []Run{run}, 2); !errors.Is(err, ErrCorrupt) {
		t.Errorf("load: %v", err)
	}
	if _, err := MergeRuns(ctx, s, WriterOptions{Kind: Base, Epoch: 2}, []Run{run}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("merge: %v", err)
	}
}

// goldenObject returns the bytes that were once written. A file is written once, with
// -rewrite-golden, and then kept.
func goldenObject(t *testing.T, name string, data []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && *rewriteGolden {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return golden
}

func readRun(s *memory.Store, run *Run) ([]state.Change, error) {
	x, err := openRun(ctx, s, run)
	if err != nil {
		return nil, err
	}
	var all []state.Change
	for i := range x.blocks {
		changes, err := x.changes(ctx, s, run, i)
		if err != nil {
			return nil, err
		}
		all = append(all, changes...)
	}
	return all, nil
}

func sameChanges(a, b []state.Change) bool {
	return slices.EqualFunc(a, b, func(x, y state.Change) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value) && x.Deleted == y.Deleted
	})
}
