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

// AdoptRequest gives an app the state of a checkpoint that is in the store but unknown to the
// group: one of a cluster that was lost with its logs. Components that record what the log has
// seen keep their state from the newest checkpoint, so there must be one.
type AdoptRequest struct {
	App string `json:"app"`
	ID  string `json:"id,omitempty"` // as in a RestoreRequest
	// Epoch is the checkpoint; 0 means the newest sound one.
	Epoch state.Epoch `json:"epoch,omitempty"`
}

// RestoreRequest starts a new generation of an app from a checkpoint: its tasks load the
// checkpoint, and their results carry the generation. Each request that succeeds starts
// another generation; a repetition with the same ID starts none.
type RestoreRequest struct {
	App string `json:"app"`
	// ID distinguishes a new request from one that is repeated because its answer was lost.
	// Client.Restore makes an ID; each request with "" is a new one.
	ID string `json:"id,omitempty"`
	// Epoch is the checkpoint that tasks load.
	Epoch state.Epoch `json:"epoch"`
	// Starts has the position for each partition that must continue after the checkpoint's
	// barrier: the log up to it is applied without results.
	Starts []Start `json:"starts,omitempty"`
	// Skipped names, by partition, records after the checkpoint that readers of the logs skip,
	// in addition to the records that the checkpoint names.
	Skipped map[uint32][]checkpoint.Skipped `json:"skipped,omitempty"`
	// Components replace those of the checkpoint, by partition. Their runs are in the
	// store.
	Components map[uint32][]checkpoint.Component `json:"components,omitempty"`
	// After says what the app does next; "" is Resume.
	After string `json:"after,omitempty"`
	// Keep is the version that stays in force although the log has later ones, up to Newest. The
	// app gets one more version with its text. 0: later versions come into force again.
	Keep   uint32 `json:"keep_version,omitempty"`
	Newest uint32 `json:"newest_version,omitempty"`
}

// The values of RestoreRequest.After.
const (
	Resume = "resume" // tasks follow the log
	Hold   = "hold"   // tasks stop at their starts, until VerbRelease
)

// Start is the position in a partition's log where the partition continues.
type Start struct {
	Partition uint32 `json:"partition"`
	checkpoint.Start
}

// Restored is the answer to VerbRestore. The tasks reload afterwards: until a task has, it
// processes what is published and puts out results in the previous generation, and the new
// generation has results of the same events.
type Restored struct {
	Generation checkpoint.Generation `json:"generation"`
	Epoch      state.Epoch           `json:"epoch"` // of the checkpoint that the restore made
	// Adopted is the adopted checkpoint of the former cluster; 0 means none.
	Adopted state.Epoch `json:"adopted,omitempty"`
	// Version is the app's new version, if the restore keeps an older one.
	Version uint32 `json:"version,omitempty"`
}

// Restore starts exactly one new generation of an app, however often it has to repeat the
// request.
func (c *Client) Restore(ctx context.Context, r RestoreRequest) (a Restored, err error) {
	r.ID = cmp.Or(r.ID, nuid.Next())
	err = c.Do(ctx, VerbRestore, r, &a)
	return a, err
}

// Resume makes the quarantined partitions of an app run again.
func (c *Client) Resume(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbResume, r, &a)
	return a, err
}

// Release lets a held app continue.
func (c *Client) Release(ctx context.Context, r AppRequest) (a App, err error) {
	err = c.Do(ctx, VerbRelease, r, &a)
	return a, err
}

// Adopt gives an app the state of a checkpoint of a lost cluster.
func (c *Client) Adopt(ctx context.Context, r AdoptRequest) (a Restored, err error) {
	r.ID = cmp.Or(r.ID, nuid.Next())
	err = c.Do(ctx, VerbAdopt, r, &a)
	return a, err
}
