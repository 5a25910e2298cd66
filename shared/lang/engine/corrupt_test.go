package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// Every bit of every stored state, and every cut of it, is noticed; the error says
// whose state it is and where.
func TestEveryAlterationOfAStateIsNoticed(t *testing.T) {
	task := newGoldenTask(t, goldenPlan(t))
	states := readGolden(t, task)
	for _, h := range loadGolden(t, task, states).List() {
		id, data := h.Info().ID, states[h.Info().ID]
		try := func(what string, wrong []byte) {
			var corrupt *state.CorruptError
			err := state.DeserializeState(h, wrong)
			if !errors.As(err, &corrupt) || corrupt.Component != id || corrupt.Offset < 0 || corrupt.Offset > len(wrong) {
				t.Fatalf("%s, %s: %v", id, what, err)
			}
			if text := err.Error(); !strings.Contains(text, id) || !strings.Contains(text, fmt.Sprint("at byte ", corrupt.Offset)) {
				t.Fatalf("%s, %s: the error says not whose and where: %s", id, what, text)
			}
		}
		for at := range data {
			try(fmt.Sprint("cut at ", at), data[:at])
			for bit := range 8 {
				wrong := bytes.Clone(data)
				wrong[at] ^= 1 << bit
				try(fmt.Sprintf("bit %d of byte %d flipped", bit, at), wrong)
			}
		}
		if !bytes.Equal(goldenBytes(t, h), data) {
			t.Fatalf("%s: it changed under states that were refused", id)
		}
	}
}

// damaged is a task into whose sources entries are put past the CRC.
type damaged struct {
	plan    *siddhiql.Plan
	frames  []*frame.Frame
	entries map[string][]state.Entry
}

func newDamaged(tb testing.TB) *damaged {
	tb.Helper()
	d := &damaged{plan: goldenPlan(tb), entries: map[string][]state.Entry{}}
	d.frames = goldenInput(tb, d.plan)[goldenCut:]
	task := newGoldenTask(tb, d.plan)
	registry := loadGolden(tb, task, readGolden(tb, task))
	for _, h := range registry.List() {
		d.entries[h.Info().ID] = h.Snapshot().Entries()
	}
	return d
}

// load puts the entries of all components, with those of one replaced. An error is
// as good as a state.
func (d *damaged) load(task *engine.Task, id string, entries []state.Entry) error {
	components := task.Components()
	for _, c := range components {
		c.Source.Reset()
		list := d.entries[c.ID]
		if c.ID == id {
			list = entries
		}
		for _, e := range list {
			if err := c.Source.Put(e.Key, e.Value); err != nil {
				return fmt.Errorf("%s: %w", c.ID, err)
			}
		}
		if err := c.Source.Ready(); err != nil {
			return fmt.Errorf("%s: %w", c.ID, err)
		}
	}
	return nil
}

// use applies frames to a task with whatever state it has. The task may refuse them or do
// anything, but must not panic or run forever, and must give its state out again.
func (d *damaged) use(tb testing.TB, task *engine.Task, frames int) {
	for i, f := range d.frames[:frames] {
		if _, err := task.Apply(uint64(goldenCut+i+1), f); err != nil {
			break // the writers' chain is broken
		}
		task.ResetOutputs()
	}
	for _, c := range task.Components() {
		c.Source.Keys(func(key []byte) { c.Source.Append(nil, key) })
		c.Source.Changed(func(key []byte) { c.Source.Append(nil, key) })
		if n := c.Source.Bytes(); n < 0 {
			tb.Errorf("%s: it takes %d bytes", c.ID, n)
		}
	}
}

// After the CRC check: bytes of entries changed, and entries cut, in many places.
func TestAlteredEntriesAreSurvived(t *testing.T) {
	d := newDamaged(t)
	for _, c := range newGoldenTask(t, d.plan).Components() {
		t.Run(c.ID, func(t *testing.T) {
			refused, taken := 0, 0
			task := newGoldenTask(t, d.plan)
			try := func(n int, value []byte) {
				entries := append([]state.Entry(nil), d.entries[c.ID]...)
				entries[n].Value = value
				if err := d.load(task, c.ID, entries); err != nil {
					refused++
					return
				}
				taken++
				d.use(t, task, 6)
				task = newGoldenTask(t, d.plan)
			}
			for n, e := range d.entries[c.ID] {
				if n >= 4 && n%7 > 0 {
					continue // many of them are alike
				}
				step := 1 + len(e.Value)/12
				for at := 0; at < len(e.Value); at += step {
					try(n, e.Value[:at])
					for _, b := range []byte{0, 0x7f, 0xff, e.Value[at] + 1} {
						wrong := bytes.Clone(e.Value)
						wrong[at] = b
						try(n, wrong)
					}
				}
			}
			if refused == 0 {
				t.Errorf("nothing was refused, %d alterations were taken", taken)
			}
			t.Logf("%d refused, %d taken", refused, taken)
		})
	}
}

// A few bytes that announce a lot cost no more than a few bytes.
func TestAnnouncedSizesCostNoMemory(t *testing.T) {
	d := newDamaged(t)
	task := newGoldenTask(t, d.plan)
	if err := d.load(task, "", nil); err != nil {
		t.Fatal(err)
	}
	huge := bytes.Repeat([]byte{0xff}, 8)
	huge = append(huge, 0x7f)
	for _, c := range task.Components() {
		c.Source.Reset()
		if c.Type == "partition/keys" {
			for _, e := range d.entries[c.ID] {
				if err := c.Source.Put(e.Key, e.Value); err != nil {
					t.Fatal(err)
				}
			}
			continue
		}
		for _, e := range d.entries[c.ID][:min(3, len(d.entries[c.ID]))] {
			for at := range min(40, len(e.Value)) {
				wrong := append(append(bytes.Clone(e.Value[:at]), huge...), e.Value[at:]...)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				err := c.Source.Put(e.Key, wrong)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
					t.Errorf("%s: entry %q with a huge number at byte %d takes %d bytes: %v", c.ID, e.Key, at, n, err)
				}
				c.Source.Reset()
			}
		}
	}
}

// A stored state of another major or a newer minor version is refused, and the
// error says whose it is and both versions.
func TestStatesOfOtherVersionsAreRefused(t *testing.T) {
	d := newDamaged(t)
	task := newGoldenTask(t, d.plan)
	registry := engine.Registry(task.Components())
	for _, h := range registry.List() {
		info := h.Info()
		newerMinor, newerPatch := info.Version.IncMinor(), info.Version.IncPatch()
		for _, stored := range []*semver.Version{semver.New(info.Version.Major()+1, 0, 0, "", ""), semver.New(0, 9, 0, "", ""), &newerMinor} {
			err := h.Load(1, stored, 1, state.Hash(d.entries[info.ID]))
			var refused *state.VersionError
			if !errors.As(err, &refused) || refused.Component != info.ID {
				t.Fatalf("%s stored as %s: %v", info.ID, stored, err)
			}
			for _, want := range []string{info.ID, stored.String(), info.Version.String()} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %s", err, want)
				}
			}
		}
		if err := h.CompatibleWith(&newerPatch); err != nil {
			t.Errorf("%s stored as %s: %v", info.ID, &newerPatch, err)
		}
	}
}

// FuzzPut puts an entry of any bytes into a component, instead of the entry of the same key
// if there is one, and then applies frames to the task.
func FuzzPut(f *testing.F) {
	d := newDamaged(f)
	components := newGoldenTask(f, d.plan).Components()
	for n, c := range components {
		for _, e := range d.entries[c.ID][:min(3, len(d.entries[c.ID]))] {
			f.Add(uint8(n), e.Key, e.Value)
		}
	}
	f.Fuzz(func(t *testing.T, n uint8, key, value []byte) {
		id := components[int(n)%len(components)].ID
		var entries []state.Entry
		for _, e := range d.entries[id] {
			if !bytes.Equal(e.Key, key) {
				entries = append(entries, e)
			}
		}
		task := newGoldenTask(t, d.plan)
		if d.load(task, id, append(entries, state.Entry{Key: key, Value: value})) == nil {
			d.use(t, task, 12)
		}
	})
}
