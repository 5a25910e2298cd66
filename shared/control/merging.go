package control

import (
	"context"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// What mergers ask of the checkpointer.
const (
	VerbLease = "lease" // LeaseRequest → Lease
	VerbLive  = "live"  // LiveRequest → Live
	VerbSwap  = "swap"  // SwapRequest → CheckpointRef
)

// LeaseRequest asks to be the merger that works. It is asked again before the lease
// ends.
type LeaseRequest struct {
	ID string `json:"id"` // of the merger, unique for each incarnation
}

// Lease says which merger works. That saves work and nothing else: two that work at
// once, as they may while leaders change, harm nothing.
type Lease struct {
	Holder  string    `json:"holder"`
	Expires time.Time `json:"expires"` // by the leader's clock
}

// LiveRequest asks for all that is referred to.
type LiveRequest struct {
	// Sweep says that what is not referred to will be deleted.
	Sweep bool `json:"sweep,omitempty"`
}

// Live is what the group refers to, as of Time.
type Live struct {
	Time time.Time `json:"time"` // by the leader's clock
	// Before is what a sweep keeps to: it deletes nothing that was used since. It is
	// zero unless a sweep was asked for.
	Before time.Time `json:"before,omitzero"`
	Apps   []LiveApp `json:"apps"`
}

// LiveApp is what is referred to of an app.
type LiveApp struct {
	App        string                `json:"app"`
	Generation checkpoint.Generation `json:"generation"`
	// Base is that of App: what the store has up to it is of a former cluster.
	Base state.Epoch `json:"base_epoch,omitempty"`
	// Checkpoints are those that are retained, newest first.
	Checkpoints []CheckpointRef `json:"checkpoints"`
	// Kept were retired or replaced, and tasks may still stand on them.
	Kept []CheckpointRef `json:"kept,omitempty"`
}

// SwapRequest puts a manifest with shorter chains in the place of a committed one. All
// else in it is the same.
type SwapRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
	// Digest is that of the manifest that is replaced, as its CheckpointRef has it.
	Digest string `json:"digest"`
	// Begun is Live.Time of before the merge put its first object.
	Begun    time.Time `json:"begun"`
	Manifest []byte    `json:"manifest"`
}

// ProjectedCheckpoint is an app's newest checkpoint as the cluster's bucket has it,
// under CheckpointKey.
type ProjectedCheckpoint struct {
	App string `json:"app"`
	CheckpointRef
	// Index is the Raft index of its commit, or of its last swap.
	Index uint64 `json:"index"`
}

// CheckpointKey is the key of an app's newest checkpoint in the cluster's bucket.
func CheckpointKey(app string) string { return "checkpoint." + app }

// Lease asks to be the merger that works.
func (c *Client) Lease(ctx context.Context, r LeaseRequest) (l Lease, err error) {
	err = c.Do(ctx, VerbLease, r, &l)
	return l, err
}

// Live returns what the group refers to.
func (c *Client) Live(ctx context.Context, r LiveRequest) (l Live, err error) {
	err = c.Do(ctx, VerbLive, r, &l)
	return l, err
}

// Swap puts a manifest in the place of another.
func (c *Client) Swap(ctx context.Context, r SwapRequest) (ref CheckpointRef, err error) {
	err = c.Do(ctx, VerbSwap, r, &ref)
	return ref, err
}

// MergerService is the merger's name in subjects: ef.merger.<verb>.
const MergerService = "merger"

// What is asked of a merger.
const (
	VerbChains       = "chains" // AppRequest → ChainReport
	VerbMergerStatus = "status" // nothing → MergerStatus
)

// ChainReport says what a merge of an app's newest checkpoint would do. It is measured,
// by merging without storing.
type ChainReport struct {
	App    string      `json:"app"`
	Epoch  state.Epoch `json:"epoch"`
	Chains []ChainInfo `json:"chains"`
}

// ChainInfo is one chain. Sizes are in bytes.
type ChainInfo struct {
	Partition  uint32 `json:"partition"`
	Component  string `json:"component"`
	Deltas     int    `json:"deltas"`
	BaseBytes  int64  `json:"base_bytes"`  // uncompressed
	DeltaBytes int64  `json:"delta_bytes"` // uncompressed
	Stored     int64  `json:"stored"`      // by all of the chain
	// Due is why the merger folds it; "" if it does not.
	Due string `json:"due,omitempty"`
	// MergedBytes is what would be left, uncompressed: what a restore reads. MergedStored
	// is that as it is stored, and Written what of that is not in the store already.
	MergedBytes  int64 `json:"merged_bytes"`
	MergedStored int64 `json:"merged_stored"`
	Written      int64 `json:"written"`
	// Saved is how much less the store would hold, once the older checkpoints that refer
	// to the same runs are retired. Less than nothing: more.
	Saved int64 `json:"saved"`
}

// MergerStatus is what a merger has done since it began.
type MergerStatus struct {
	ID      string `json:"id"`
	Working bool   `json:"working"` // it has the lease
	Swaps   uint64 `json:"swaps"`
	Chains  uint64 `json:"chains_folded"`
	// Overtaken are merges in whose place something else came: nothing is lost but work.
	Overtaken    uint64    `json:"overtaken"`
	BytesRead    uint64    `json:"bytes_read"`
	BytesWritten uint64    `json:"bytes_written"`
	BytesReused  uint64    `json:"bytes_reused"` // of merged chains, blocks that were there
	BytesSaved   int64     `json:"bytes_saved"`  // as ChainInfo.Saved, of all merges
	Sweeps       uint64    `json:"sweeps"`
	LastSweep    time.Time `json:"last_sweep,omitzero"`
	SweptObjects uint64    `json:"swept_objects"`
	SweptBytes   uint64    `json:"swept_bytes"`
	Errors       uint64    `json:"errors"`
	LastError    string    `json:"last_error,omitempty"`
}
