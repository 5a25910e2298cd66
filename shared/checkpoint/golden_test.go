package checkpoint

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"eventflux/shared/compress"
	"eventflux/shared/state"
	"eventflux/shared/store/memory"
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
	groupsName   = "6d08a12cc2a93797d0c292dc4b3bfd709168242452623871f3228cc7c76dadf1"
	chunksName   = "f140f1ad72eb50c947a5f7d6f6d4b7e95642f9f6b709fe94114b7423b577541e"
	removalsName = "d669e15918118a6bdde08c28d120a978441ed36c31739c0c7ddf4428e62cbb7e"
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
		{"run-1-none", compress.None, Base, groups(), groupsName},
		{"run-1-lz4", compress.LZ4, Base, groups(), groupsName},
		{"run-1-snappy", compress.Snappy, Base, groups(), groupsName},
		{"run-1-zstd", compress.Zstd, Base, groups(), groupsName},
		{"run-1-delta", compress.None, Delta, removals(), removalsName},
		{"run-1-blocks", compress.LZ4, Base, chunks(), chunksName},
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
