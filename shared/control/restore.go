package control

import (
	"cmp"
	"context"

	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// The verbs of restores.
const (
	VerbRestore = "restore" // RestoreRequest → Restored
	VerbRelease = "release" // AppRequest → App
	VerbResume  = "resume"  // AppRequest → App
	VerbAdopt   = "adopt"   // AdoptRequest → Restored
)

// AdoptRequest gives an app the state of a checkpoint that is in the store, and that the
// group does not know: one of a cluster that was lost, with its logs. What says what the
// log has seen stays as it is in the newest checkpoint, of which there must be one.
type AdoptRequest struct {
	App string `json:"app"`
	ID  string `json:"id,omitempty"` // as that of a RestoreRequest
	// Epoch is the checkpoint; 0: the newest that is sound.
	Epoch state.Epoch `json:"epoch,omitempty"`
}

// RestoreRequest begins a new generation of an app from a checkpoint: its tasks load
// what it says, and their results carry the generation. Each one that succeeds begins
// another generation; one that is repeated with its ID begins none.
type RestoreRequest struct {
	App string `json:"app"`
	// ID tells a request that is repeated, because its answer was lost, from another one.
	// Client.Restore makes one; "" is always another one.
	ID string `json:"id,omitempty"`
	// Epoch is the checkpoint that tasks load.
	Epoch state.Epoch `json:"epoch"`
	// Starts has, for partitions that are to go on at a later place than the
	// checkpoint's barrier, that place: the log up to it is applied without results.
	Starts []Start `json:"starts,omitempty"`
	// Skipped names records that readers of the logs behind the checkpoint pass over, by
	// partition, besides those that the checkpoint names already.
	Skipped map[uint32][]checkpoint.Skipped `json:"skipped,omitempty"`
	// Components replace those of the checkpoint, by partition. Their runs are in the
	// store.
	Components map[uint32][]checkpoint.Component `json:"components,omitempty"`
	// After is what becomes of the app then; "" is Resume.
	After string `json:"after,omitempty"`
}

// What becomes of an app that was restored.
const (
	Resume = "resume" // tasks follow the log
	Hold   = "hold"   // tasks stop at their starts, until VerbRelease
)

// Start is the place in a partition's log at which it goes on.
type Start struct {
	Partition uint32 `json:"partition"`
	checkpoint.Start
}

// Restored is the answer to VerbRestore: tasks will reload.
type Restored struct {
	Generation checkpoint.Generation `json:"generation"`
	Epoch      state.Epoch           `json:"epoch"` // of the checkpoint that the restore made
	// Adopted is the checkpoint of the former cluster that was taken; 0: none.
	Adopted state.Epoch `json:"adopted,omitempty"`
}

// Restore begins a new generation of an app, and no more than one, however often it has to
// ask.
func (c *Client) Restore(ctx context.Context, r RestoreRequest) (a Restored, err error) {
	r.ID = cmp.Or(r.ID, nuid.Next())
	err = c.Do(ctx, VerbRestore, r, &a)
	return a, err
}

// Resume has the partitions of an app run again that are in quarantine.
func (c *Client) Resume(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbResume, r, &a)
	return a, err
}

// Release lets an app that is held go on.
func (c *Client) Release(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbRelease, r, &a)
	return a, err
}

// Adopt gives an app the state of a checkpoint of a cluster that was lost.
func (c *Client) Adopt(ctx context.Context, r AdoptRequest) (a Restored, err error) {
	r.ID = cmp.Or(r.ID, nuid.Next())
	err = c.Do(ctx, VerbAdopt, r, &a)
	return a, err
}
