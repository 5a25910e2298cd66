package node

import (
	"slices"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const wideApp = `@app:name('w') define stream S (k string, v int);
	from S#length(2500) select k, sum(v) as total, max(v) as most insert into Out;`

// base returns the first run of the window's chain in the checkpoint that ref names.
func (c *chain) base(ref control.CheckpointRef) checkpoint.Run {
	c.t.Helper()
	m, err := checkpoint.ReadManifest(c.within(), c.node.store, ref.Manifest, ref.Digest)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, k := range m.Partitions[0].Components {
		if k.ID == "query1/window" {
			return k.Runs[0]
		}
	}
	c.t.Fatalf("checkpoint %d has no window", ref.Epoch)
	return checkpoint.Run{}
}

// swapped returns the newest checkpoint with merged chains, once there is one after an epoch.
func (c *chain) swapped(after state.Epoch) control.CheckpointRef {
	c.t.Helper()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(2 * time.Millisecond) {
		live, err := c.node.control.Live(ctx, control.LiveRequest{})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, ref := range live.Apps[0].Checkpoints {
			if ref.Epoch > after && ref.Manifest != checkpoint.ManifestName("w", ref.Epoch) {
				return ref
			}
		}
	}
	c.t.Fatal("no chain was merged")
	return control.CheckpointRef{}
}

// Chains are merged while an app runs. Its task continues on the merged chains, and so does a
// restart. Results do not change.
func TestMergedWhileRunning(t *testing.T) {
	t.Parallel()
	const first, each = 2060, 5
	publish := func(c *chain, rounds int, between func()) int {
		c.publishBatch(0, first)
		n := first
		for range rounds {
			between()
			c.publishAll(n, n+each)
			n += each
		}
		return n
	}
	plain := newChain(t, wideApp)
	plain.start()
	n := publish(plain, 4, func() {})
	want := plain.rows("w", n)
	plain.end()

	c := newChain(t, wideApp)
	c.cfg.Merger.ChainMax, c.cfg.Checkpoint.FullEvery = 1, 1000
	c.start()
	var newest state.Epoch
	n = publish(c, 4, func() { newest = c.trigger("w") })
	merged := c.swapped(0)
	for range 3 { // the task learns of the merge with one outcome, and uses it with the next
		newest = c.trigger("w")
	}
	// The manifest as committed, even if its chains were merged later.
	asCut := control.CheckpointRef{Epoch: newest, Manifest: checkpoint.ManifestName("w", newest)}
	if got := c.base(asCut); got.Epoch < merged.Epoch {
		t.Errorf("checkpoint %d stands on the base of %d, and checkpoint %d was merged", newest, got.Epoch, merged.Epoch)
	}
	if err := c.node.control.Ask(c.within(), control.MergerService, control.VerbChains, control.AppRequest{App: "w"}, new(control.ChainReport)); err != nil {
		t.Error(err)
	}
	var status control.MergerStatus
	if err := c.node.control.Ask(c.within(), control.MergerService, control.VerbMergerStatus, nil, &status); err != nil || status.Swaps == 0 || status.Errors > 0 {
		t.Errorf("%+v, %v", status, err)
	}
	c.kill()
	c.start()
	if got := c.task("running"); got.Restored != uint64(newest) || got.Unusable > 0 {
		t.Errorf("restored checkpoint %d, and passed over %d", got.Restored, got.Unusable)
	}
	if got := c.rows("w", n); !slices.Equal(got, want) {
		t.Error("other results than without merges")
	}
	c.end()
}
