package control

import (
	"context"

	"eventflux/shared/checkpoint"
	"eventflux/shared/state"
)

// VerbRestore takes an app's tasks to another state, as a new generation:
// RestoreRequest → Restored, once it is decided.
const VerbRestore = "restore"

// What becomes of the tasks after a restore.
const (
	AfterResume = "resume" // they follow the log
	AfterHold   = "hold"   // they wait at the target
	AfterFork   = "fork"   // they follow the log from its end, with the operators' state of the target
)

// RestoreRequest says which state the tasks of an app are to begin with.
type RestoreRequest struct {
	App string `json:"app"`
	// Epoch is the checkpoint that tasks load; 0: none, they begin empty at the
	// beginning of their logs.
	Epoch state.Epoch `json:"epoch"`
	// Starts say for each partition where the target is: state is as of there, and
	// results at or before it are not emitted again. Empty: the barriers of Epoch.
	Starts []Start `json:"starts,omitempty"`
	// Components are to replace those of Epoch, by partition. Their runs are stored.
	Components map[uint32][]checkpoint.Component `json:"components,omitempty"`
	After      string                            `json:"after"`
}

// Start is a place in the log of a partition.
type Start struct {
	Partition uint32 `json:"partition"`
	Sequence  uint64 `json:"sequence"`
	// Event is the number of the last event in that frame, from 1; 0: all of the frame.
	Event uint64 `json:"event,omitempty"`
}

// Restored is what a restore led to: Epoch is the checkpoint that tasks now begin with.
type Restored struct {
	Generation checkpoint.Generation `json:"generation"`
	Epoch      state.Epoch           `json:"epoch"`
}

// Restore takes an app's tasks to another state.
func (c *Client) Restore(ctx context.Context, r RestoreRequest) (done Restored, err error) {
	err = c.Do(ctx, VerbRestore, r, &done)
	return done, err
}
