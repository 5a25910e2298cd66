package state_test

import (
	"errors"
	"maps"
	"testing"

	"github.com/Masterminds/semver/v3"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

// book is a source that anyone can check by reading: lines under their keys.
type book struct {
	lines   map[string]string
	changed map[string]bool
}

func newBook() *book { return &book{map[string]string{}, map[string]bool{}} }

func (b *book) put(key, line string) {
	b.lines[key], b.changed[key] = line, true
}

func (b *book) drop(key string) {
	delete(b.lines, key)
	b.changed[key] = true
}

func (b *book) Changed(visit func(key []byte)) {
	for key := range b.changed {
		visit([]byte(key))
	}
	clear(b.changed)
}

func (b *book) Keys(visit func(key []byte)) {
	for key := range b.lines {
		visit([]byte(key))
	}
}

func (b *book) Append(dst, key []byte) ([]byte, bool) {
	line, ok := b.lines[string(key)]
	return append(dst, line...), ok
}

func (b *book) Reset() {
	for key := range b.lines {
		b.drop(key)
	}
}

func (b *book) Put(key, value []byte) error {
	if _, there := b.lines[string(key)]; there {
		return errors.New("it is there already")
	}
	b.lines[string(key)] = string(value)
	return nil
}

func (b *book) Ready() error {
	clear(b.changed)
	return nil
}

func (b *book) Bytes() (n int64) {
	for key, line := range b.lines {
		n += int64(len(key) + len(line))
	}
	return n
}

func (b *book) entries() map[string]string { return maps.Clone(b.lines) }

func bookInfo(version string) state.Info {
	return state.Info{ID: "query1/book", Type: "book", Version: semver.MustParse(version), Access: state.Warm}
}

func TestBookKeepsTheLaws(t *testing.T) {
	statetest.Run(t,
		func() state.Source { return newBook() },
		func(t *rapid.T, s state.Source) {
			b := s.(*book)
			for range rapid.SampledFrom([]int{1, 1, 2, 10}).Draw(t, "lines") {
				key := rapid.SampledFrom([]string{"", "a", "ab", "abc", "b", "\x00", "\xff\xff", "long key of someone"}).Draw(t, "key")
				if rapid.IntRange(0, 2).Draw(t, "what") == 0 {
					b.drop(key)
				} else {
					b.put(key, rapid.StringN(0, 4, -1).Draw(t, "line"))
				}
			}
		})
}
