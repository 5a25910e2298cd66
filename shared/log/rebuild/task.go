package rebuild

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Task is a task that the rest of the cluster does not know. It is for one goroutine at a
// time.
type Task struct {
	Core       *engine.Task
	partition  uint32
	components []engine.Component // sorted by id
	registry   *state.Registry
	decoder    frame.Decoder
	at         Position // of the newest that was applied
}

// New returns the task of one partition with an empty memory, at the beginning of its
// log. plan and settings are those of the version of the app that is in force there; later
// versions follow from the log.
func New(plan *siddhiql.Plan, partition uint32, settings engine.Settings) (*Task, error) {
	core, err := engine.NewTask(plan, partition, settings)
	if err != nil {
		return nil, err
	}
	t := &Task{Core: core, partition: partition}
	t.list()
	t.registry = engine.Registry(t.components)
	return t, nil
}

// list takes over the components that the task has now.
func (t *Task) list() {
	t.components = t.Core.Components()
	slices.SortFunc(t.components, func(a, b engine.Component) int { return strings.Compare(a.ID, b.ID) })
}

// Load puts the state of a checkpoint into the task. The task then is at the position after
// the checkpoint's barrier.
func (t *Task) Load(ctx context.Context, s store.Store, part *checkpoint.Partition, epoch state.Epoch, workers int) error {
	if err := checkpoint.Load(ctx, s, part, epoch, t.registry, workers); err != nil {
		return err
	}
	t.at = Position{Sequence: part.Log.Sequence}
	return nil
}

// Replace changes the task to another text, which stays in force from then on, as
// engine.Task.Replace does. Immediate results wait in Core.
func (t *Task) Replace(next *siddhiql.Plan, m *engine.Migration) error {
	if err := t.Core.Replace(next, m); err != nil {
		return err
	}
	t.list()
	return nil
}

// Position is how far the log was applied.
func (t *Task) Position() Position { return t.at }

// Plan returns the plan of the app's version in force.
func (t *Task) Plan() *siddhiql.Plan { return t.Core.Plan() }

// Infos say which components there are, sorted by id.
func (t *Task) Infos() []state.Info {
	infos := make([]state.Info, len(t.components))
	for i := range t.components {
		infos[i] = t.components[i].Info
	}
	return infos
}

// component finds one by its id.
func (t *Task) component(id string) (*engine.Component, error) {
	for i := range t.components {
		if t.components[i].ID == id {
			return &t.components[i], nil
		}
	}
	return nil, fmt.Errorf("the app has no component %q", id)
}

// Entries returns all entries of a component as they are now, sorted. They come from
// the component's own code, and not from what it said had changed: that is what a
// comparison with a checkpoint is to find out.
func (t *Task) Entries(id string) ([]state.Entry, error) {
	c, err := t.component(id)
	if err != nil {
		return nil, err
	}
	var entries []state.Entry
	c.Source.Keys(func(key []byte) {
		if value, ok := c.Source.Append(nil, key); ok {
			entries = append(entries, state.Entry{Key: bytes.Clone(key), Value: value})
		}
	})
	slices.SortFunc(entries, func(a, b state.Entry) int { return bytes.Compare(a.Key, b.Key) })
	return slices.CompactFunc(entries, func(a, b state.Entry) bool { return bytes.Equal(a.Key, b.Key) }), nil
}

// Append appends the value of an entry as it is now to dst; false if there is none.
func (t *Task) Append(id string, dst, key []byte) ([]byte, bool) {
	c, err := t.component(id)
	if err != nil {
		return dst, false
	}
	return c.Source.Append(dst, key)
}

// Digests returns the digest of each component, by id, computed again from its entries.
func (t *Task) Digests() map[string]state.Digest {
	digests := make(map[string]state.Digest, len(t.components))
	for i := range t.components {
		id := t.components[i].ID
		entries, err := t.Entries(id)
		if err != nil {
			panic(err) // it is one of them
		}
		digests[id] = state.DigestOf(entries)
	}
	return digests
}

// Items calls visit with what a component tells people of its state; false if it has
// nothing to tell but its entries.
func (t *Task) Items(id string, visit func(state.Item)) (bool, error) {
	c, err := t.component(id)
	if err != nil {
		return false, err
	}
	lister, ok := c.Source.(state.Lister)
	return ok && lister.Items(visit), nil
}

// Item returns the value that an item of a component has now; false if there is none.
func (t *Task) Item(id, key string, entry []byte) (json.RawMessage, bool) {
	c, err := t.component(id)
	if err != nil {
		return nil, false
	}
	lister, ok := c.Source.(state.Lister)
	if !ok {
		return nil, false
	}
	return lister.Item(key, entry)
}
