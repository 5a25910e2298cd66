package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// drawChanges draws sorted changes; some are large, so that runs have several blocks.
func drawChanges(t *rapid.T, deletions bool) []state.Change {
	byKey := map[string]state.Change{}
	for range rapid.IntRange(1, 40).Draw(t, "entries") {
		key := rapid.SliceOfN(rapid.ByteRange('a', 'd'), 0, 4).Draw(t, "key")
		c := state.Change{Key: key, Deleted: deletions && rapid.Bool().Draw(t, "deleted")}
		if !c.Deleted {
			size := rapid.SampledFrom([]int{0, 1, 50, 20_000, 200_000}).Draw(t, "size")
			c.Value = bytes.Repeat([]byte{rapid.Byte().Draw(t, "fill")}, size)
		}
		byKey[string(key)] = c
	}
	var changes []state.Change
	for _, c := range byKey {
		changes = append(changes, c)
	}
	slices.SortFunc(changes, func(a, b state.Change) int { return bytes.Compare(a.Key, b.Key) })
	return changes
}

func entriesOf(changes []state.Change) []state.Entry { return state.Merge(nil, changes) }

func sameEntries(a, b []state.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y state.Entry) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value)
	})
}

// Reading gives what was written, with every codec and under the same name; and a folded
// chain equals its runs.
func TestRunsAreWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		base := drawChanges(t, false)
		lists := [][]state.Change{base}
		var chain []Run
		write := func(kind Kind, changes []state.Change) Run {
			opt := WriterOptions{Kind: kind, Epoch: state.Epoch(len(chain) + 1), Parallel: 2}
			opt.Choice.Codec = rapid.SampledFrom(compress.Codecs()).Draw(t, "codec")
			run, err := WriteRun(ctx, s, opt, changes)
			if err != nil {
				t.Fatal(err)
			}
			opt.Choice.Codec = rapid.SampledFrom(compress.Codecs()).Draw(t, "other codec")
			if again, err := WriteRun(ctx, memory.New(), opt, changes); err != nil || again.Name != run.Name {
				t.Fatalf("run %s, and again %s, %v", run.Name, again.Name, err)
			}
			return run
		}
		chain = append(chain, write(Base, base))
		for range rapid.IntRange(0, 3).Draw(t, "deltas") {
			delta := drawChanges(t, true)
			lists, chain = append(lists, delta), append(chain, write(Delta, delta))
		}
		want := state.Merge(nil, lists...)
		got, err := LoadChain(ctx, s, chain, 3)
		if err != nil || !sameEntries(got, want) {
			t.Fatalf("chain has %d entries, want %d: %v", len(got), len(want), err)
		}
		if len(want) == 0 {
			return
		}
		folded, err := MergeRuns(ctx, s, WriterOptions{Kind: Base, Epoch: 2}, chain)
		if err != nil {
			t.Fatal(err)
		}
		whole, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 2}, asChanges(want))
		if err != nil || whole.Name != folded.Name {
			t.Fatalf("folded chain is run %s, the state written as a whole %s, %v", folded.Name, whole.Name, err)
		}
	})
}

func asChanges(entries []state.Entry) []state.Change {
	changes := make([]state.Change, len(entries))
	for i, e := range entries {
		changes[i] = state.Change{Key: e.Key, Value: e.Value}
	}
	return changes
}

// window is a state of n chunks as windows have them, with random content.
func window(n int, random *rand.Rand) []state.Change {
	changes := make([]state.Change, n)
	for i := range changes {
		value := make([]byte, 4000)
		for k := range value {
			value[k] = byte(random.Uint32())
		}
		changes[i] = state.Change{Key: fmt.Appendf(nil, "%010d", i), Value: value}
	}
	return changes
}

// A window that has moved on shares the blocks of what stayed.
func TestEqualStretchesAreStoredOnce(t *testing.T) {
	s, random := memory.New(), rand.New(rand.NewPCG(1, 2))
	all := window(5250, random) // 20 MiB
	if _, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 1}, all[:5000]); err != nil {
		t.Fatal(err)
	}
	before := stored(t, s)
	if _, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 2}, all[250:]); err != nil {
		t.Fatal(err)
	}
	if added := stored(t, s) - before; added > before/10 {
		t.Errorf("5 %% of the entries are others, and %d bytes were stored beside %d", added, before)
	}
}

func stored(t *testing.T, s *memory.Store) (n int64) {
	t.Helper()
	if err := s.List(ctx, "", func(o object) error { n += o.Bytes; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// Any bit that flips and any byte that is missing of any object is an error that names
// the object.
func TestEveryDamageIsNoticed(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for name, changes := range map[string][]state.Change{
		"inline": {{Key: []byte("a"), Value: []byte("value")}, {Key: []byte("ab"), Value: []byte("other")}},
		"blocks": window(200, random),
	} {
		t.Run(name, func(t *testing.T) {
			s := memory.New()
			opt := WriterOptions{Kind: Base, Epoch: 1}
			opt.Choice.Codec = compress.LZ4
			run, err := WriteRun(ctx, s, opt, changes)
			if err != nil {
				t.Fatal(err)
			}
			names, err := Objects(ctx, s, &run)
			if err != nil {
				t.Fatal(err)
			}
			for _, object := range names {
				whole, err := s.Get(ctx, object)
				if err != nil {
					t.Fatal(err)
				}
				for _, bad := range damages(whole, random) {
					if err := s.Alter(object, func([]byte) []byte { return bad }); err != nil {
						t.Fatal(err)
					}
					_, err := LoadChain(ctx, s, []Run{run}, 2)
					var wrong *CorruptError
					if !errors.As(err, &wrong) || wrong.Object != object {
						t.Fatalf("%s damaged, %d bytes of %d: %v", object, len(bad), len(whole), err)
					}
				}
				if _, err := WriteRun(ctx, s, opt, changes); err != nil {
					t.Fatal(err)
				}
				if got, err := LoadChain(ctx, s, []Run{run}, 2); err != nil || !sameEntries(got, entriesOf(changes)) {
					t.Fatalf("%s was not mended: %v", object, err)
				}
				if err := s.Delete(ctx, object, time.Time{}); err != nil {
					t.Fatal(err)
				}
				if _, err := LoadChain(ctx, s, []Run{run}, 2); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s is missing: %v", object, err)
				}
				if err := s.Put(ctx, object, whole); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// damages returns the bytes with a bit flipped, and cut: each of a few, some of many.
func damages(whole []byte, random *rand.Rand) [][]byte {
	var all [][]byte
	places := 100
	if testing.Short() {
		places = 25
	}
	step := max(len(whole)/places, 1)
	for at := 0; at < len(whole); at += step {
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1 << random.IntN(8)
		all = append(all, whole[:at:at], flipped)
	}
	return slices.DeleteFunc(all, func(b []byte) bool { return len(b) == 0 })
}

func FuzzDecodeRun(f *testing.F) {
	x := runIndex{version: runVersion, kind: Base, blocks: []blockRef{{entries: 1, raw: 5, stored: 3}}, inline: []byte("abc")}
	f.Add(x.encode())
	x.inline = nil
	f.Add(x.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if x, err := decodeRun("runs/x", data); err == nil && !bytes.Equal(x.encode(), data) {
			t.Errorf("%x was read, and is written as %x", data, x.encode())
		}
	})
}

func FuzzReadBlock(f *testing.F) {
	var b blockBuilder
	b.add(&state.Change{Key: []byte("a"), Value: []byte("x")})
	b.add(&state.Change{Key: []byte("ab"), Deleted: true})
	f.Add(b.raw, 2)
	f.Fuzz(func(t *testing.T, raw []byte, n int) {
		changes, err := readBlock("blocks/x", raw, n)
		if err != nil {
			return
		}
		var again blockBuilder
		for i := range changes {
			again.add(&changes[i])
		}
		if !bytes.Equal(again.raw, raw) && len(raw) > 0 {
			t.Errorf("%x was read, and is written as %x", raw, again.raw)
		}
	})
}
