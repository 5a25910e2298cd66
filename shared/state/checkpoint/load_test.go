package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// slowStore takes its time for each object, and counts how many it is asked for at once.
type slowStore struct {
	store.Store
	now, most atomic.Int32
}

func (s *slowStore) Get(ctx context.Context, name string) ([]byte, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	select {
	case <-time.After(time.Second):
		return s.Store.Get(ctx, name)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// book is a source that keeps what it is given.
type book struct{ entries map[string]string }

func (b *book) Changed(func([]byte)) {}
func (b *book) Keys(visit func([]byte)) {
	for key := range b.entries {
		visit([]byte(key))
	}
}

func (b *book) Append(dst, key []byte) ([]byte, bool) {
	v, ok := b.entries[string(key)]
	return append(dst, v...), ok
}
func (b *book) Reset()                { b.entries = map[string]string{} }
func (b *book) Put(k, v []byte) error { b.entries[string(k)] = string(v); return nil }
func (b *book) Ready() error          { return nil }
func (b *book) Bytes() int64          { return 0 }

// Components are fetched at once, as are the blocks of a run, and never more than there
// are workers.
func TestLoadFetchesAtOnce(t *testing.T) {
	const components = 6
	s := memory.New()
	part := &Partition{}
	registry := &state.Registry{}
	for i := range components {
		var entries []state.Change
		for k := range 40 {
			entries = append(entries, state.Change{Key: fmt.Appendf(nil, "%02d", k), Value: make([]byte, 40_000)})
		}
		entries[0].Value[0] = byte(i) // else all of them are one
		run, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 1}, entries)
		if err != nil || run.Blocks < 3 {
			t.Fatal(run.Blocks, err)
		}
		info := state.Info{ID: fmt.Sprintf("c%d", i), Type: "book", Version: semver.MustParse("1.0.0"), Access: state.Cold}
		if i > 0 {
			info.DependsOn = []string{"c0"}
		}
		if err := registry.Add(state.NewComponent(info, &book{entries: map[string]string{}})); err != nil {
			t.Fatal(err)
		}
		part.Components = append(part.Components, Component{
			ID: info.ID, Type: info.Type, Version: "1.0.0", Digest: state.DigestOf(entriesOf(entries)), Runs: []Run{run},
		})
	}
	for _, workers := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowStore{Store: s}
				begun := time.Now()
				if err := Load(t.Context(), slow, part, 1, registry, workers); err != nil {
					t.Fatal(err)
				}
				if got := int(slow.most.Load()); got != workers {
					t.Errorf("%d objects at once, want %d", got, workers)
				}
				objects := components + components*part.Components[0].Runs[0].Blocks
				if took, all := time.Since(begun), time.Duration(objects)*time.Second; took > all/time.Duration(workers)+3*time.Second {
					t.Errorf("%d objects of a second each took %s with %d workers", objects, took, workers)
				}
			})
		})
	}
	// One that is damaged ends the others, and is named.
	part.Components[3].Runs[0].Entries++
	var wrong *CorruptError
	if err := Load(ctx, s, part, 1, registry, 2); !errors.As(err, &wrong) || wrong.Object != runName(part.Components[3].Runs[0].Name) {
		t.Errorf("%v", err)
	}
}

// Load compares the digest of the entries and not the hashes of blocks, and still names
// the block where it is one that is another now, whole though it is.
func TestLoadNamesWhatIsDamaged(t *testing.T) {
	s := memory.New()
	var changes []state.Change
	for k := range 40 {
		changes = append(changes, state.Change{Key: fmt.Appendf(nil, "%02d", k), Value: make([]byte, 40_000)})
	}
	run, err := WriteRun(ctx, s, WriterOptions{Kind: Base, Epoch: 1}, changes)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Objects(ctx, s, &run)
	if err != nil || len(objects) < 3 {
		t.Fatal(objects, err)
	}
	block := objects[len(objects)-1]
	whole, err := s.Get(ctx, block)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := compress.Open(nil, whole, blockRawMax)
	if err != nil {
		t.Fatal(err)
	}
	info := state.Info{ID: "c", Type: "book", Version: semver.MustParse("1.0.0"), Access: state.Cold}
	digest := state.DigestOf(entriesOf(changes))
	for name, c := range map[string]struct {
		block  []byte
		digest state.Digest
		object string
		text   string
	}{
		"whole":               {raw, digest, "", ""},
		"another value":       {append(bytes.Clone(raw[:len(raw)-1]), 1), digest, block, "its content has the hash"},
		"no changes":          {bytes.Repeat([]byte{0xff}, len(raw)), digest, block, "its content has the hash"},
		"a digest of another": {raw, state.DigestOf(nil), "c", "digest of the entries is"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.Alter(block, func([]byte) []byte { return compress.Seal(nil, c.block, compress.Choice{}) }); err != nil {
				t.Fatal(err)
			}
			registry := &state.Registry{}
			if err := registry.Add(state.NewComponent(info, &book{entries: map[string]string{}})); err != nil {
				t.Fatal(err)
			}
			part := &Partition{Components: []Component{{ID: "c", Type: "book", Version: "1.0.0", Digest: c.digest, Runs: []Run{run}}}}
			err := Load(ctx, s, part, 1, registry, 2)
			var wrong *CorruptError
			switch {
			case c.object == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &wrong) || wrong.Object != c.object || !strings.Contains(wrong.What, c.text):
				t.Errorf("got %v, want that %s is damaged: %s…", err, c.object, c.text)
			case errors.Is(err, ErrDigest) != (c.object == "c"):
				t.Errorf("%v says that every byte is as it was written: %t", err, errors.Is(err, ErrDigest))
			}
		})
	}
}
