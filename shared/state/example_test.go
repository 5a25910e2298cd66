package state_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
)

// counts is the state of a component that counts words: an entry for each word.
type counts struct {
	of      map[string]byte
	changed map[string]bool
}

func (c *counts) add(word string) {
	c.of[word]++
	c.changed[word] = true
}

// Changed implements state.Source.
func (c *counts) Changed(visit func(key []byte)) {
	for word := range c.changed {
		visit([]byte(word))
	}
	clear(c.changed)
}

// Keys implements state.Source.
func (c *counts) Keys(visit func(key []byte)) {
	for word := range c.of {
		visit([]byte(word))
	}
}

// Append implements state.Source.
func (c *counts) Append(dst, key []byte) ([]byte, bool) {
	n, ok := c.of[string(key)]
	if !ok {
		return dst, false
	}
	return append(dst, n), true
}

// Reset implements state.Source.
func (c *counts) Reset() { c.of, c.changed = map[string]byte{}, map[string]bool{} }

// Put implements state.Source. Bytes come from a store, so it checks them.
func (c *counts) Put(key, value []byte) error {
	if len(value) != 1 || value[0] == 0 {
		return fmt.Errorf("word %q: its count is %x, expected one byte above 0", key, value)
	}
	c.of[string(key)] = value[0]
	return nil
}

// Ready implements state.Source.
func (c *counts) Ready() error { return nil }

// Bytes implements state.Source.
func (c *counts) Bytes() int64 { return int64(64 * len(c.of)) }

// A component makes a holder of a source: it captures what changed since the last committed
// epoch, and loads the state again.
func ExampleNewComponent() {
	info := state.Info{ID: "query1/words", Type: "example/words", Version: semver.MustParse("1.0.0"), Access: state.Hot}
	words := &counts{map[string]byte{}, map[string]bool{}}
	holder := state.NewComponent(info, words)

	words.add("flux")
	words.add("nats")
	holder.Cut(1)
	holder.Committed(1) // the checkpoint of epoch 1 is durable

	words.add("flux")
	holder.Cut(2)
	words.add("later") // belongs to the next epoch
	delta, err := holder.Delta(1)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range delta.Changes() {
		fmt.Printf("changed: %s=%d\n", c.Key, c.Value[0])
	}

	data, err := state.SerializeState(holder)
	if err != nil {
		fmt.Println(err)
		return
	}
	copied := &counts{map[string]byte{}, map[string]bool{}}
	if err := state.DeserializeState(state.NewComponent(info, copied), data); err != nil {
		fmt.Println(err)
		return
	}
	for _, word := range slices.Sorted(maps.Keys(copied.of)) {
		fmt.Printf("loaded: %s=%d\n", word, copied.of[word])
	}
	data[len(data)/2] ^= 1
	fmt.Println("damaged:", state.DeserializeState(state.NewComponent(info, copied), data) != nil)
	// Output:
	// changed: flux=2
	// loaded: flux=2
	// loaded: later=1
	// loaded: nats=1
	// damaged: true
}
