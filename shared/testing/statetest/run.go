// Package statetest tests the laws that every source of state must keep, because
// checkpoints, merging and recovery rely on them.
package statetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
)

// Run checks the sources that newSource makes, which are empty and independent of
// each other. mutate changes a source at random, as its users would; it is called
// often, so a call should change little, and now and then a lot.
func Run(t *testing.T, newSource func() state.Source, mutate func(*rapid.T, state.Source)) {
	t.Run("history", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { runHistory(t, newSource, mutate) })
	})
	t.Run("corruption", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { runCorruption(t, newSource, mutate) })
	})
	t.Run("garbage", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { runGarbage(t, newSource, mutate) })
	})
}

func newComponent(source state.Source) *state.Component {
	return state.NewComponent(state.Info{
		ID: "query1/tested", Type: "statetest", Version: semver.New(1, 2, 3, "", ""), Access: state.Hot,
	}, source)
}

// history is a component, and the store that its checkpoints go to.
type history struct {
	newSource func() state.Source
	source    state.Source
	component *state.Component

	epoch, committed state.Epoch
	base             []state.Entry
	deltas           [][]state.Change
}

// runHistory lets a component live through changes, committed and aborted epochs and
// restarts, and compares it with what is in the source all the time.
func runHistory(t *rapid.T, newSource func() state.Source, mutate func(*rapid.T, state.Source)) {
	source := newSource()
	h := &history{newSource: newSource, source: source, component: newComponent(source)}
	t.Repeat(map[string]func(*rapid.T){
		"change":    func(t *rapid.T) { mutate(t, h.source) },
		"digest":    func(t *rapid.T) { h.component.Digest() },
		"preEncode": func(*rapid.T) { h.component.PreEncode() },
		"abort": func(t *rapid.T) {
			h.epoch++
			h.component.Cut(h.epoch)
		},
		"commit":   h.commit,
		"freeze":   h.freeze(mutate),
		"full":     h.commitFull,
		"restart":  h.restart,
		"transfer": h.transfer,
		"":         h.check,
	})
}

// check compares what the component says with what its source has.
func (h *history) check(t *rapid.T) {
	entries := entriesOf(t, h.source)
	if got := h.component.Snapshot().Entries(); !sameEntries(got, entries) {
		t.Fatalf("snapshot %q, and the source has %q: did Changed miss a key?", got, entries)
	}
	if got, want := h.component.Digest(), state.DigestOf(entries); got != want {
		t.Fatalf("digest %s, the entries have %s", got, want)
	}
	if n := h.source.Bytes(); n < 0 {
		t.Fatalf("the source says that it takes %d bytes", n)
	}
}

// commit stores what changed since the committed epoch: base and deltas, one by one
// or merged, are all that is there.
func (h *history) commit(t *rapid.T) {
	h.epoch++
	h.component.Cut(h.epoch)
	h.store(t, h.delta(t), entriesOf(t, h.source))
	if delta, err := h.component.Delta(h.committed); err != nil || len(delta.Changes()) > 0 {
		t.Fatalf("right after a commit: %d changes, %v", len(delta.Changes()), err)
	}
}

// freeze is a commit while the source goes on: what is stored is what was there at the
// barrier, whatever changes before it is taken.
func (h *history) freeze(mutate func(*rapid.T, state.Source)) func(*rapid.T) {
	return func(t *rapid.T) {
		for range rapid.IntRange(0, 6).Draw(t, "before") { // check has asked for what came earlier
			mutate(t, h.source)
		}
		entries := entriesOf(t, h.source)
		h.epoch++
		h.component.Freeze(h.epoch)
		delta := h.delta(t)
		for range rapid.IntRange(0, 12).Draw(t, "meanwhile") {
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0, 1:
				if f, ok := h.source.(state.Freezer); ok {
					f.Thaw(1) // Thaw of the component takes more
				}
			case 2:
				h.component.PreEncode()
			default:
				mutate(t, h.source)
			}
		}
		if rapid.Bool().Draw(t, "aborted") { // and the next barrier comes, or somebody asks
			return
		}
		for h.component.Thaw() {
		}
		h.store(t, delta, entries)
	}
}

func (h *history) delta(t *rapid.T) *state.Capture {
	delta, err := h.component.Delta(h.committed)
	if err != nil {
		t.Fatalf("delta since %d: %v", h.committed, err)
	}
	return delta
}

// store commits what was captured when the entries were all that was there.
func (h *history) store(t *rapid.T, delta *state.Capture, entries []state.Entry) {
	h.deltas = append(h.deltas, delta.Changes())
	if got := state.Merge(h.base, h.deltas...); !sameEntries(got, entries) {
		t.Fatalf("base and deltas %q, all entries %q", got, entries)
	}
	if got := state.Merge(h.base, state.MergeChanges(h.deltas...)); !sameEntries(got, entries) {
		t.Fatalf("base and merged deltas %q, all entries %q", got, entries)
	}
	if got, want := delta.Digest(), state.DigestOf(entries); got != want {
		t.Fatalf("digest %s at the cut, the entries have %s", got, want)
	}
	h.component.Committed(h.epoch)
	h.committed = h.epoch
}

func (h *history) commitFull(*rapid.T) {
	h.epoch++
	h.component.Cut(h.epoch)
	h.base, h.deltas = h.component.Snapshot().Entries(), nil
	h.component.Committed(h.epoch)
	h.committed = h.epoch
}

// restart continues from the store, which gives entries in any order. Before the first
// commit it has none, and a new source starts.
func (h *history) restart(t *rapid.T) {
	if h.committed == 0 {
		h.source = h.newSource()
		h.component, h.epoch = newComponent(h.source), 0
		return
	}
	entries := rapid.Permutation(state.Merge(h.base, h.deltas...)).Draw(t, "order")
	h.source = h.newSource()
	h.component = newComponent(h.source)
	if err := h.component.Load(h.committed, h.component.Info().Version, loaders, piecesOf(entries)...); err != nil {
		t.Fatalf("load %q: %v", entries, err)
	}
	// The component goes by what was stored, so the source has to have just that.
	now := entriesOf(t, h.source)
	if got, want := state.DigestOf(now), state.DigestOf(entries); got != want || h.component.Digest() != want {
		t.Fatalf("digest %s, and %s of the component, after loading entries of %s: %q became %q", got, h.component.Digest(), want, entries, now)
	}
}

// loaders is how many goroutines put at once what a source takes so.
const loaders = 3

// piecesOf hashes entries in small pieces, so that each loader has some.
func piecesOf(entries []state.Entry) (pieces []*state.Hashed) {
	for piece := range slices.Chunk(entries, 2) {
		pieces = append(pieces, state.Hash(piece))
	}
	return pieces
}

// transfer takes all through bytes, over what another source has.
func (h *history) transfer(t *rapid.T) {
	data := serialize(t, h.component)
	target := h.newSource()
	component := newComponent(target)
	if err := state.DeserializeState(component, data); err != nil {
		t.Fatal(err)
	}
	if err := state.DeserializeState(component, data); err != nil {
		t.Fatalf("load once more, over what is there: %v", err)
	}
	if component.Digest() != h.component.Digest() {
		t.Fatalf("digest %s, and %s after loading", h.component.Digest(), component.Digest())
	}
	if again := serialize(t, component); !bytes.Equal(again, data) {
		t.Fatalf("%x, and after loading %x", data, again)
	}
}

func serialize(t *rapid.T, h state.Holder) []byte {
	data, err := state.SerializeState(h)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := state.SerializeState(h); !bytes.Equal(again, data) {
		t.Fatalf("the same state as %x and as %x", data, again)
	}
	return data
}

// runCorruption changes one bit or cuts the end off: the error names the component.
func runCorruption(t *rapid.T, newSource func() state.Source, mutate func(*rapid.T, state.Source)) {
	data, component := randomState(t, newSource, mutate), newComponent(newSource())
	at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
	flipped := bytes.Clone(data)
	flipped[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	for _, wrong := range [][]byte{data[:at], flipped} {
		err := state.DeserializeState(component, wrong)
		var corrupt *state.CorruptError
		if !errors.As(err, &corrupt) || corrupt.Component != component.Info().ID ||
			corrupt.Offset < 0 || corrupt.Offset > len(wrong) || !strings.Contains(err.Error(), component.Info().ID) {
			t.Fatalf("%x at %d: %v", wrong, at, err)
		}
	}
	// The same with a CRC that is right, as a bug would write it. The version of the schema
	// may be altered into another that loads.
	resealed := binary.LittleEndian.AppendUint32(flipped[:len(flipped)-4],
		crc32.Checksum(flipped[:len(flipped)-4], crc32.MakeTable(crc32.Castagnoli)))
	err := state.DeserializeState(component, resealed)
	if err == nil && !bytes.Equal(serialize(t, component), data) {
		t.Fatalf("%x was loaded as if it were %x", resealed, data)
	}
	if err != nil && component.Digest() != newComponent(newSource()).Digest() {
		t.Fatalf("entries are left behind after %v", err)
	}
}

// runGarbage loads entries that no source wrote. They are refused, or are a state.
func runGarbage(t *rapid.T, newSource func() state.Source, mutate func(*rapid.T, state.Source)) {
	donor := newSource()
	for range rapid.IntRange(0, 20).Draw(t, "changes") {
		mutate(t, donor)
	}
	entries := entriesOf(t, donor)
	for range rapid.IntRange(1, 3).Draw(t, "garbage") {
		e := state.Entry{Key: drawBytes(t, entries, true), Value: drawBytes(t, entries, false)}
		entries = append(entries, e)
	}
	component := newComponent(newSource())
	err := component.Load(1, component.Info().Version, loaders, piecesOf(entries)...)
	if err != nil {
		if !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("%q: %v", entries, err)
		}
		if component.Digest() != newComponent(newSource()).Digest() {
			t.Fatalf("entries are left behind after %v", err)
		}
		return
	}
	serialize(t, component)
}

// drawBytes draws a key or a value that was changed in some byte, or any bytes.
func drawBytes(t *rapid.T, entries []state.Entry, key bool) []byte {
	if len(entries) == 0 || rapid.IntRange(0, 3).Draw(t, "any") == 0 {
		return rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "bytes")
	}
	e := rapid.SampledFrom(entries).Draw(t, "entry")
	changed := bytes.Clone(e.Value)
	if key {
		changed = bytes.Clone(e.Key)
	}
	if len(changed) > 0 && rapid.Bool().Draw(t, "change") {
		changed[rapid.IntRange(0, len(changed)-1).Draw(t, "at")] = rapid.Byte().Draw(t, "byte")
	}
	return changed
}

func randomState(t *rapid.T, newSource func() state.Source, mutate func(*rapid.T, state.Source)) []byte {
	source := newSource()
	for range rapid.IntRange(0, 40).Draw(t, "changes") {
		mutate(t, source)
	}
	return serialize(t, newComponent(source))
}

// entriesOf asks the source for all that it has, sorted.
func entriesOf(t *rapid.T, source state.Source) []state.Entry {
	var entries []state.Entry
	source.Keys(func(key []byte) { entries = append(entries, state.Entry{Key: bytes.Clone(key)}) })
	for i := range entries {
		value, ok := source.Append([]byte("head"), entries[i].Key)
		if !ok || !bytes.HasPrefix(value, []byte("head")) {
			t.Fatalf("Keys lists %q, and Append says %t and appends %q to head", entries[i].Key, ok, value)
		}
		entries[i].Value = value[len("head"):]
	}
	slices.SortFunc(entries, func(a, b state.Entry) int { return bytes.Compare(a.Key, b.Key) })
	for i := 1; i < len(entries); i++ {
		if bytes.Equal(entries[i-1].Key, entries[i].Key) {
			t.Fatalf("Keys lists %q twice", entries[i].Key)
		}
	}
	return entries
}

func sameEntries(a, b []state.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y state.Entry) bool {
		return bytes.Equal(x.Key, y.Key) && bytes.Equal(x.Value, y.Value)
	})
}
