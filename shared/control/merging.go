package control

import (
	"context"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// The requests of mergers to the checkpointer.
const (
	VerbLease = "lease" // LeaseRequest → Lease
	VerbLive  = "live"  // LiveRequest → Live
	VerbSwap  = "swap"  // SwapRequest → CheckpointRef
)

// LeaseRequest asks to be the working merger. The merger repeats it before the lease ends.
type LeaseRequest struct {
	ID string `json:"id"` // of the merger, unique for each incarnation
}

// Lease says which merger works. It only saves work: two mergers may work at once while
// leaders change, and that does no harm.
type Lease struct {
	Holder  string    `json:"holder"`
	Expires time.Time `json:"expires"` // by the leader's clock
}

// LiveRequest asks for everything that the group refers to.
type LiveRequest struct {
	// Sweep says that objects without a reference will be deleted.
	Sweep bool `json:"sweep,omitempty"`
}

// Live is what the group refers to, as of Time.
type Live struct {
	Time time.Time `json:"time"` // by the leader's clock
	// Before limits a sweep, which deletes nothing that was used since then. It is zero unless
	// the request is for a sweep.
	Before time.Time `json:"before,omitzero"`
	Apps   []LiveApp `json:"apps"`
}

// LiveApp is what the group refers to for an app.
type LiveApp struct {
	App        string                `json:"app"`
	Generation checkpoint.Generation `json:"generation"`
	// Base is App.Base: checkpoints in the store up to it are from a former cluster.
	Base state.Epoch `json:"base_epoch,omitempty"`
	// Checkpoints are the retained ones, newest first.
	Checkpoints []CheckpointRef `json:"checkpoints"`
	// Kept were retired or replaced, but tasks may still build on them.
	Kept []CheckpointRef `json:"kept,omitempty"`
}

// SwapRequest replaces a committed manifest with one that has shorter chains and is otherwise
// the same.
type SwapRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
	// Digest is the digest of the replaced manifest, as in its CheckpointRef.
	Digest string `json:"digest"`
	// Begun is a Live.Time that was read before the merge put its first object.
	Begun    time.Time `json:"begun"`
	Manifest []byte    `json:"manifest"`
}

// ProjectedCheckpoint is an app's newest checkpoint in the cluster's bucket, under
// CheckpointKey.
type ProjectedCheckpoint struct {
	App string `json:"app"`
	CheckpointRef
	// Index is the Raft index of its commit, or of its last swap.
	Index uint64 `json:"index"`
}

// CheckpointKey returns the key of an app's newest checkpoint in the cluster's bucket.
func CheckpointKey(app string) string { return "checkpoint." + app }

// Lease asks to be the working merger.
func (c *Client) Lease(ctx context.Context, r LeaseRequest) (l Lease, err error) {
	err = c.Do(ctx, VerbLease, r, &l)
	return l, err
}

// Live returns what the group refers to.
func (c *Client) Live(ctx context.Context, r LiveRequest) (l Live, err error) {
	err = c.Do(ctx, VerbLive, r, &l)
	return l, err
}

// Swap replaces a manifest with another.
func (c *Client) Swap(ctx context.Context, r SwapRequest) (ref CheckpointRef, err error) {
	err = c.Do(ctx, VerbSwap, r, &ref)
	return ref, err
}

// MergerService is the merger's name in subjects: ef.merger.<verb>.
const MergerService = "merger"

// The verbs of a merger.
const (
	VerbChains       = "chains" // AppRequest → ChainReport
	VerbMergerStatus = "status" // nothing → MergerStatus
)

// ChainReport says what a merge of an app's newest checkpoint would do, measured by a merge
// that stores nothing.
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
	// Due is why the merger will fold it; "" if it will not.
	Due string `json:"due,omitempty"`
	// MergedBytes is the uncompressed size of the merged chain, which a restore reads.
	// MergedStored is its stored size, and Written the part of it that is not in the store
	// yet.
	MergedBytes  int64 `json:"merged_bytes"`
	MergedStored int64 `json:"merged_stored"`
	Written      int64 `json:"written"`
	// Saved is how much less the store would hold, once the older checkpoints that refer
	// to the same runs are retired. Less than nothing: more.
	Saved int64 `json:"saved"`
}

// MergerStatus is the work of a merger since it started.
type MergerStatus struct {
	ID      string `json:"id"`
	Working bool   `json:"working"` // it has the lease
	Swaps   uint64 `json:"swaps"`
	Chains  uint64 `json:"chains_folded"`
	// Overtaken are merges that another change replaced: only work is lost.
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
