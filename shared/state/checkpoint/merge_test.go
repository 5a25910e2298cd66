package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

func mustRun(t testing.TB, s store.Store, kind Kind, epoch state.Epoch, changes ...state.Change) Run {
	t.Helper()
	r, err := WriteRun(ctx, s, WriterOptions{Kind: kind, Epoch: epoch}, changes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func put(key, value string) state.Change {
	return state.Change{Key: []byte(key), Value: []byte(value)}
}

func drop(key string) state.Change { return state.Change{Key: []byte(key), Deleted: true} }

// A folded chain is what its runs are, has the digest that the manifest says, and does
// not put blocks again that it holds.
func TestFoldedChainIsTheChain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		lists := [][]state.Change{drawChanges(t, false)}
		chain := []Run{mustWrite(t, s, Base, 1, lists[0])}
		for e := range rapid.IntRange(1, 4).Draw(t, "deltas") {
			delta := drawChanges(t, true)
			lists, chain = append(lists, delta), append(chain, mustWrite(t, s, Delta, state.Epoch(e+2), delta))
		}
		want := state.Merge(nil, lists...)
		held := map[string]bool{}
		for _, r := range chain {
			held[r.Name] = rapid.Bool().Draw(t, "held")
		}
		c := &Component{ID: "c", Digest: state.DigestOf(want), Runs: chain}
		folded, err := FoldChain(ctx, s, WriterOptions{Epoch: 9, Parallel: 2}, c, held)
		if err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 {
			if len(folded) != 0 {
				t.Fatalf("nothing became %v", folded)
			}
			return
		}
		got, err := LoadChain(ctx, s, folded, 2)
		if err != nil || !sameEntries(got, want) {
			t.Fatalf("%d entries, want %d: %v", len(got), len(want), err)
		}
		if whole := mustWrite(t, s, Base, 9, asChanges(want)); whole != folded[0] {
			t.Fatalf("folded it is %+v, written as a whole %+v", folded[0], whole)
		}
		c.Digest[0] ^= 1
		if _, err := FoldChain(ctx, s, WriterOptions{Epoch: 9}, c, held); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("a chain with another digest was folded: %v", err)
		}
	})
}

func mustWrite(t *rapid.T, s store.Store, kind Kind, epoch state.Epoch, changes []state.Change) Run {
	r, err := WriteRun(ctx, s, WriterOptions{Kind: kind, Epoch: epoch}, changes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Inside one line of history nothing contradicts: that is corruption.
func TestContradictionInOneLine(t *testing.T) {
	s := memory.New()
	base := mustRun(t, s, Base, 1, put("a", "1"), put("b", "1"))
	second := mustRun(t, s, Delta, 2, put("b", "2"))
	other := mustRun(t, s, Delta, 2, put("b", "3"))
	gone := mustRun(t, s, Delta, 2, drop("b"))
	same := mustRun(t, s, Delta, 2, put("b", "2"), put("c", "1"))
	for name, test := range map[string]struct {
		chain []Run
		sound bool
	}{
		"one after the other":      {[]Run{base, second}, true},
		"the same twice":           {[]Run{base, second, same}, true},
		"two values in one epoch":  {[]Run{base, second, other}, false},
		"put and deleted in one":   {[]Run{base, second, gone}, false},
		"epochs that go back":      {[]Run{mustRun(t, s, Base, 3, put("a", "1")), second}, false},
		"a base of the same epoch": {[]Run{mustRun(t, s, Base, 2, put("b", "1")), second}, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, strategy := range []Strategy{LastWriteWins, FirstWriteWins, TimestampPriority} {
				_, err := MergeLines(ctx, s, WriterOptions{Kind: Base, Epoch: 9}, []Line{{Runs: test.chain}}, strategy)
				if (err == nil) != test.sound || err != nil && !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s: %v", strategy, err)
				}
			}
			if _, err := MergeRuns(ctx, s, WriterOptions{Kind: Base, Epoch: 9}, test.chain); (err == nil) != test.sound {
				t.Error(err)
			}
		})
	}
}

// The strategy decides about keys that are in two lines, whatever the rest is.
func TestStrategies(t *testing.T) {
	s := memory.New()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	// Under "k" a has an old value and b a new one; b dropped "gone", and a has it
	// from before; line a is the later one by its time.
	a := Line{Time: noon, Runs: []Run{
		mustRun(t, s, Base, 1, put("gone", "a1"), put("k", "a1"), put("only a", "a1"), put("same", "x")),
		mustRun(t, s, Delta, 7, put("late", "a7")),
	}}
	b := Line{Time: noon.Add(-time.Hour), Runs: []Run{
		mustRun(t, s, Base, 2, put("gone", "b2"), put("late", "b2"), put("only b", "b2"), put("same", "x")),
		mustRun(t, s, Delta, 5, drop("gone"), put("k", "b5")),
	}}
	for strategy, want := range map[Strategy]string{
		LastWriteWins:     "k=b5 late=a7 only a=a1 only b=b2 same=x",
		FirstWriteWins:    "gone=a1 k=a1 late=b2 only a=a1 only b=b2 same=x",
		TimestampPriority: "gone=a1 k=a1 late=a7 only a=a1 only b=b2 same=x",
	} {
		for _, lines := range [][]Line{{a, b}, {b, a}} {
			run, err := MergeLines(ctx, s, WriterOptions{Kind: Base, Epoch: 9}, lines, strategy)
			if err != nil {
				t.Fatal(err)
			}
			if got := textOf(t, s, run); got != want {
				t.Errorf("%s: %s\nwant %s", strategy, got, want)
			}
		}
	}
	if _, err := MergeLines(ctx, s, WriterOptions{Kind: Base, Epoch: 9}, []Line{a, b}, 0); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("no strategy: %v", err)
	}
}

func textOf(t *testing.T, s store.Store, run Run) string {
	t.Helper()
	entries, err := LoadChain(ctx, s, []Run{run}, 1)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, e := range entries {
		words = append(words, string(e.Key)+"="+string(e.Value))
	}
	return strings.Join(words, " ")
}

// Strategies against a model that has everything in maps.
func TestStrategiesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		type change struct {
			state.Change
			epoch state.Epoch
			line  int
		}
		model := map[string][]change{}
		var lines []Line
		for n := range rapid.IntRange(1, 3).Draw(t, "lines") {
			l := Line{Time: time.Unix(rapid.Int64Range(0, 3).Draw(t, "time"), 0)}
			newest := map[string]change{}
			epoch := state.Epoch(0)
			for i := range rapid.IntRange(1, 3).Draw(t, "runs") {
				kind := Delta
				if i == 0 {
					kind = Base
				}
				epoch += state.Epoch(rapid.IntRange(1, 3).Draw(t, "epochs"))
				changes := drawChanges(t, i > 0)
				l.Runs = append(l.Runs, mustWrite(t, s, kind, epoch, changes))
				for _, c := range changes {
					newest[string(c.Key)] = change{c, epoch, n}
				}
			}
			for key, c := range newest {
				model[key] = append(model[key], c)
			}
			lines = append(lines, l)
		}
		for _, strategy := range []Strategy{LastWriteWins, FirstWriteWins, TimestampPriority} {
			var want []state.Entry
			for _, key := range slices.Sorted(maps.Keys(model)) {
				best := model[key][0] // of one line after the other, so that the later wins
				for _, c := range model[key] {
					wins := c.epoch >= best.epoch
					switch strategy {
					case FirstWriteWins:
						wins = c.epoch < best.epoch
					case TimestampPriority:
						wins = !lines[c.line].Time.Before(lines[best.line].Time)
					}
					if wins {
						best = c
					}
				}
				if !best.Deleted {
					want = append(want, state.Entry{Key: best.Key, Value: best.Value})
				}
			}
			run, err := MergeLines(ctx, s, WriterOptions{Kind: Base, Epoch: 9}, lines, strategy)
			if len(want) == 0 {
				if err == nil {
					t.Fatalf("%s: nothing became %+v", strategy, run)
				}
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := LoadChain(ctx, s, []Run{run}, 2)
			if err != nil || !sameEntries(got, want) {
				t.Fatalf("%s: %d entries, want %d: %v", strategy, len(got), len(want), err)
			}
		}
	})
}

// A chain that takes over a merged one says the same as before, whichever epochs its
// task knew of when it cut.
func TestAdoptedChainSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := memory.New()
		now := map[string]string{}
		touched := map[state.Epoch]map[string]bool{} // keys that changed in the epoch
		at := map[state.Epoch][]state.Entry{}
		entries := func() (all []state.Entry) {
			for _, k := range slices.Sorted(maps.Keys(now)) {
				all = append(all, state.Entry{Key: []byte(k), Value: []byte(now[k])})
			}
			return all
		}
		var chain []Run
		known := state.Epoch(0) // the newest committed epoch that the task has heard of
		last := state.Epoch(rapid.IntRange(2, 8).Draw(t, "epochs"))
		for e := state.Epoch(1); e <= last; e++ {
			touched[e] = map[string]bool{}
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				k := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key")
				touched[e][k] = true
				if now[k] = fmt.Sprint("of ", e); rapid.IntRange(0, 2).Draw(t, "drop") == 0 {
					delete(now, k)
				}
			}
			at[e] = entries()
			delta := map[string]state.Change{}
			for past := known + 1; past <= e; past++ {
				for k := range touched[past] {
					delta[k] = drop(k)
					if v, there := now[k]; there {
						delta[k] = put(k, v)
					}
				}
			}
			cut := chain
			var changes []state.Change
			for _, k := range slices.Sorted(maps.Keys(delta)) {
				if !delta[k].Deleted || len(chain) > 0 {
					changes = append(changes, delta[k])
				}
			}
			if len(changes) > 0 {
				kind := Delta
				if len(chain) == 0 {
					kind = Base
				}
				cut = append(chain[:len(chain):len(chain)], mustWrite(t, s, kind, e, changes))
			}
			if rapid.IntRange(0, 2).Draw(t, "heard") > 0 || e == last {
				chain, known = cut, e
			}
		}
		e := state.Epoch(rapid.IntRange(1, int(last)).Draw(t, "merged"))
		merged := []Run{}
		if len(at[e]) > 0 {
			merged = []Run{mustWrite(t, s, Base, e, asChanges(at[e]))}
		}
		adopted := Adopt(chain, merged, e)
		got, err := LoadChain(ctx, s, adopted, 1)
		if err != nil || !sameEntries(got, at[last]) {
			t.Fatalf("merged at %d of %d: %d runs became %d, with %d entries, want %d: %v", e, last, len(chain), len(adopted), len(got), len(at[last]), err)
		}
	})
}

func TestAdopt(t *testing.T) {
	run := func(name string, e state.Epoch) Run { return Run{Name: name, Epoch: e} }
	chain := []Run{run("b", 2), run("d3", 3), run("d6", 6)}
	for _, test := range []struct {
		what          string
		chain, merged []Run
		upTo          state.Epoch
		want          string
	}{
		{"older runs go", chain, []Run{run("m", 5)}, 5, "m d6"},
		{"all of them", chain, []Run{run("m", 6)}, 6, "m"},
		{"a newer base stays", chain, []Run{run("m", 1)}, 1, "b d3 d6"},
		{"nothing under a delta", chain, nil, 5, "b d3 d6"},
		{"nothing is left", chain, nil, 7, ""},
		{"no chain", nil, []Run{run("m", 1)}, 1, ""},
	} {
		var names []string
		for _, r := range Adopt(test.chain, test.merged, test.upTo) {
			names = append(names, r.Name)
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("%s: %s, want %s", test.what, got, test.want)
		}
	}
}

func TestCheckSwap(t *testing.T) {
	fold := func(m *Manifest) {
		m.Partitions[0].Components[0].Runs = []Run{{Name: strings.Repeat("ef", 32), Kind: Base, Epoch: 42, Entries: 1, RawBytes: 1, Bytes: 1, Blocks: 1}}
	}
	for what, edit := range map[string]func(*Manifest){
		"epoch":      func(m *Manifest) { m.Epoch++ },
		"term":       func(m *Manifest) { m.Term++ },
		"lineage":    func(m *Manifest) { m.Partitions[0].Log.Sequence++ },
		"positions":  func(m *Manifest) { m.Partitions[0].Output.Positions["Out"] = "1.1" },
		"digest":     func(m *Manifest) { m.Partitions[0].Components[0].Digest[3]++ },
		"component":  func(m *Manifest) { c := &m.Partitions[0].Components; *c = (*c)[:1] },
		"partition":  func(m *Manifest) { m.Partitions = append(m.Partitions, m.Partitions[0]) },
		"time":       func(m *Manifest) { m.Time = m.Time.Add(1) },
		"schema":     func(m *Manifest) { m.Partitions[0].Components[0].Version = "1.0.1" },
		"generation": func(m *Manifest) { m.Generation++ },
	} {
		after := sampleManifest()
		fold(after)
		edit(after)
		if err := CheckSwap(sampleManifest(), after); err == nil {
			t.Errorf("another %s was taken", what)
		}
	}
	before, after := sampleManifest(), sampleManifest()
	fold(after)
	before.Digest, after.Digest = "of before", "of after"
	if err := CheckSwap(before, after); err != nil {
		t.Errorf("other chains alone: %v", err)
	}
}

// stuckStore holds every block back until it is released, and counts the reads until then.
type stuckStore struct {
	store.Store
	may  chan struct{}
	gets atomic.Int64
}

func (s *stuckStore) Put(ctx context.Context, name string, data []byte) error {
	<-s.may
	return s.Store.Put(ctx, name, data)
}

func (s *stuckStore) Get(ctx context.Context, name string) ([]byte, error) {
	s.gets.Add(1)
	return s.Store.Get(ctx, name)
}

// However large the state is, a merge holds a few blocks of each run.
func TestMergeHoldsAFewBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		value := bytes.Repeat([]byte{1}, 8000)
		var base, delta []state.Change
		for i := range 3000 { // 24 MB, some 90 blocks
			key := fmt.Sprintf("%06d", i)
			base = append(base, put(key, string(value)+key))
			if i%2 == 0 {
				delta = append(delta, put(key, string(value)+"d"+key))
			}
		}
		chain := []Run{mustRun(t, s, Base, 1, base...), mustRun(t, s, Delta, 2, delta...)}
		stuck := &stuckStore{Store: s, may: make(chan struct{})}
		ended := make(chan error, 1)
		var merged Run
		go func() {
			var err error
			merged, err = MergeRuns(ctx, stuck, WriterOptions{Kind: Base, Epoch: 3}, chain)
			ended <- err
		}()
		synctest.Wait()
		// Two indexes; of each run the current block, those ahead and one that waits for
		// room; and what went into the blocks that are held, stored and filled.
		if n, most := stuck.gets.Load(), int64(2+2*4+6); n > most {
			t.Errorf("%d objects were read while no block could be stored, want %d at the most", n, most)
		}
		close(stuck.may)
		if err := <-ended; err != nil || merged.Blocks < 50 {
			t.Errorf("%d blocks, %v", merged.Blocks, err)
		}
	})
}

// The chain of a state that was emptied folds into no run, which a caller can tell from a failure.
func TestMergeOfNothing(t *testing.T) {
	s := memory.New()
	var chain []Run
	for epoch, change := range []state.Change{{Key: []byte("k"), Value: []byte("v")}, {Key: []byte("k"), Deleted: true}} {
		kind := Base
		if epoch > 0 {
			kind = Delta
		}
		run, err := WriteRun(t.Context(), s, WriterOptions{Kind: kind, Epoch: state.Epoch(epoch + 1)}, []state.Change{change})
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, run)
	}
	if _, err := MergeRuns(t.Context(), s, WriterOptions{Kind: Base, Epoch: 2}, chain); !errors.Is(err, ErrNoEntries) {
		t.Errorf("%v, want %v", err, ErrNoEntries)
	}
}
