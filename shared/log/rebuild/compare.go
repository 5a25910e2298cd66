package rebuild

import (
	"bytes"
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Difference is where a task and a checkpoint disagree.
type Difference struct {
	Component string `json:"component"`
	// Key is the key of the first entry that differs; nil if the difference is not about one
	// entry.
	Key []byte `json:"key,omitempty"`
	// Item is what people call the entry, where its component can say.
	Item string `json:"item,omitempty"`
	What string `json:"what"`
}

// Compare holds a checkpoint against the task, which was replayed to its barrier: what
// the replay made is what the checkpoint has to be. It returns nothing if it is. An
// error means that it could not be found out.
func (t *Task) Compare(ctx context.Context, s store.Store, part *checkpoint.Partition, workers int) ([]Difference, error) {
	var found []Difference
	if clock := t.Core.Clock(); clock != part.Clock {
		found = append(found, Difference{What: fmt.Sprintf("the clock is at %d, the manifest says %d", clock, part.Clock)})
	}
	stored := map[string]*checkpoint.Component{}
	for i := range part.Components {
		stored[part.Components[i].ID] = &part.Components[i]
	}
	for i := range t.components {
		id := t.components[i].ID
		want, err := t.Entries(id)
		if err != nil {
			return nil, err
		}
		c := stored[id]
		delete(stored, id)
		d, err := t.compareOne(ctx, s, id, want, c, workers)
		if err != nil {
			return nil, err
		}
		found = append(found, d...)
	}
	for id := range stored {
		found = append(found, Difference{Component: id, What: "the app has no such component"})
	}
	return found, nil
}

func (t *Task) compareOne(ctx context.Context, s store.Store, id string, want []state.Entry, c *checkpoint.Component, workers int) ([]Difference, error) {
	digest := state.DigestOf(want)
	if c == nil {
		if len(want) == 0 {
			return nil, nil // it came with a newer version of the program
		}
		return []Difference{{Component: id, What: fmt.Sprintf("the replay gives it %d entries, the checkpoint does not have it", len(want))}}, nil
	}
	if c.Digest == digest {
		return nil, nil
	}
	have, err := checkpoint.LoadChain(ctx, s, c.Runs, workers)
	if err != nil {
		return nil, err
	}
	if state.DigestOf(have) == digest {
		return []Difference{{Component: id, What: fmt.Sprintf("its runs are what the replay gives, but the manifest says another digest: %s, and not %s", c.Digest, digest)}}, nil
	}
	d := FirstDifference(want, have)
	d.Component = id
	d.Item = t.itemOf(id, d.Key)
	return []Difference{d}, nil
}

// itemOf names the item that an entry is of.
func (t *Task) itemOf(id string, entry []byte) (name string) {
	if entry == nil {
		return ""
	}
	_, _ = t.Items(id, func(i state.Item) { // the component is there
		if name == "" && bytes.Equal(i.Entry, entry) {
			name = i.Key
		}
	})
	return name
}

// FirstDifference finds the first key where entries differ from the expected ones. Both are
// sorted.
func FirstDifference(want, have []state.Entry) Difference {
	for len(want) > 0 && len(have) > 0 {
		order := bytes.Compare(want[0].Key, have[0].Key)
		switch {
		case order < 0:
			return Difference{Key: want[0].Key, What: fmt.Sprintf("it is missing; the replay gives it %d bytes", len(want[0].Value))}
		case order > 0:
			return Difference{Key: have[0].Key, What: fmt.Sprintf("it is there with %d bytes; the replay has no such entry", len(have[0].Value))}
		case !bytes.Equal(want[0].Value, have[0].Value):
			return Difference{Key: want[0].Key, What: fmt.Sprintf("its value is %x, the replay gives %x", clip(have[0].Value), clip(want[0].Value))}
		}
		want, have = want[1:], have[1:]
	}
	switch {
	case len(want) > 0:
		return Difference{Key: want[0].Key, What: fmt.Sprintf("it is missing; the replay gives it %d bytes", len(want[0].Value))}
	case len(have) > 0:
		return Difference{Key: have[0].Key, What: fmt.Sprintf("it is there with %d bytes; the replay has no such entry", len(have[0].Value))}
	}
	return Difference{What: "its entries are those of the replay"}
}

const shownBytesMax = 64

func clip(b []byte) []byte { return b[:min(len(b), shownBytesMax)] }
