package replay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// mergeEvery is the number of deltas that are kept on a base before they are merged into it.
const mergeEvery = 3

// snapshotStore keeps the newest snapshot of one app in memory, as bytes, so that a restarted app gets
// nothing but bytes from its predecessor.
type snapshotStore struct {
	opt     Options
	holders *state.Registry
	epoch   state.Epoch // of the newest snapshot; 0: there is none
	fresh   bool        // the app started without the snapshot, so its changes do not follow it
	stored  map[string]*chain

	plan, persisted *siddhiql.Plan // of the app, and of the newest snapshot
}

// chain is the stored data of one component: a container of its whole state, or a base and its
// deltas.
type chain struct {
	of      state.Holder // the holder that continues the chain; another one starts a new base
	version *semver.Version
	whole   []byte
	base    []byte
	deltas  [][]byte
}

// watch sets the holders whose state the store saves.
func (v *snapshotStore) watch(plan *siddhiql.Plan, holders *state.Registry) {
	v.plan, v.holders, v.fresh = plan, holders, true
}

// change switches the store to the next version of the app.
func (v *snapshotStore) change(plan *siddhiql.Plan, holders *state.Registry) {
	v.plan, v.holders = plan, holders
}

// persist takes a snapshot.
func (v *snapshotStore) persist() error {
	v.epoch++
	stored := map[string]*chain{}
	for _, h := range v.holders.List() {
		h.Cut(v.epoch)
		c, err := v.encode(h, v.stored[h.Info().ID])
		if err != nil {
			return fmt.Errorf("component %s: %w", h.Info().ID, err)
		}
		c.of = h
		stored[h.Info().ID] = c
		h.Committed(v.epoch)
	}
	v.fresh, v.stored, v.persisted = false, stored, v.plan
	return nil
}

func (v *snapshotStore) encode(h state.Holder, before *chain) (*chain, error) {
	c := &chain{version: h.Info().Version}
	if !v.opt.Incremental {
		whole, err := state.SerializeState(h)
		if err != nil {
			return nil, err
		}
		c.whole, err = state.CompressState(whole, v.opt.Codec)
		return c, err
	}
	if before == nil || v.fresh || before.of != h {
		c.base = v.seal(asChanges(h.Snapshot().Entries()))
		return c, nil
	}
	delta, err := h.Delta(v.epoch - 1)
	if err != nil {
		return nil, err
	}
	c.base, c.deltas = before.base, append(before.deltas, v.seal(delta.Changes()))
	if len(c.deltas) < mergeEvery {
		return c, nil
	}
	entries, err := c.entries()
	c.base, c.deltas = v.seal(asChanges(entries)), nil
	return c, err
}

// restore loads the newest snapshot.
func (v *snapshotStore) restore() error {
	if v.epoch == 0 {
		return errors.New("nothing was persisted before")
	}
	ordered, err := v.holders.Ordered()
	if err != nil {
		return err
	}
	for _, h := range ordered {
		c := v.stored[h.Info().ID]
		if err := v.load(h, c); err != nil {
			return fmt.Errorf("component %s: %w", h.Info().ID, err)
		}
		c.of = h
	}
	v.fresh = false
	return nil
}

func (v *snapshotStore) load(h state.Holder, c *chain) error {
	if c.whole == nil {
		entries, err := c.entries()
		if err != nil {
			return err
		}
		return h.Load(v.epoch, c.version, 1, state.Hash(entries))
	}
	whole, err := state.DecompressState(c.whole)
	if err != nil {
		return err
	}
	return state.DeserializeState(h, whole)
}

// entries merges the deltas of a chain into its base.
func (c *chain) entries() ([]state.Entry, error) {
	base, err := open(c.base)
	if err != nil {
		return nil, fmt.Errorf("base: %w", err)
	}
	deltas := make([][]state.Change, len(c.deltas))
	for i, d := range c.deltas {
		if deltas[i], err = open(d); err != nil {
			return nil, fmt.Errorf("delta %d: %w", i+1, err)
		}
	}
	return state.Merge(nil, append([][]state.Change{base}, deltas...)...), nil
}

func asChanges(entries []state.Entry) []state.Change {
	changes := make([]state.Change, len(entries))
	for i, e := range entries {
		changes[i] = state.Change{Key: e.Key, Value: e.Value}
	}
	return changes
}

// seal encodes and compresses changes.
func (v *snapshotStore) seal(changes []state.Change) []byte {
	var raw []byte
	for _, c := range changes {
		raw = binary.AppendUvarint(raw, uint64(len(c.Key)))
		raw = append(raw, c.Key...)
		if c.Deleted {
			raw = append(raw, 0)
			continue
		}
		raw = binary.AppendUvarint(raw, uint64(len(c.Value))+1)
		raw = append(raw, c.Value...)
	}
	return compress.Seal(nil, raw, v.opt.Codec)
}

// open decodes what seal encoded.
func open(sealed []byte) ([]state.Change, error) {
	raw, err := compress.Open(nil, sealed, compress.RawBytesMax)
	if err != nil {
		return nil, err
	}
	var changes []state.Change
	r := wire.New(raw)
	for r.Len() > 0 {
		c := state.Change{Key: r.Sized()}
		size := r.Uvarint() // and 1 more; 0 if the entry was deleted
		if c.Deleted = size == 0; !c.Deleted {
			c.Value = r.Bytes(int(min(size-1, math.MaxInt)))
		}
		changes = append(changes, c)
	}
	return changes, r.End()
}
