package checkpoint_test

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// A chain is a base and the deltas after it. It reads as the newest state, and it can be merged
// into one base.
func ExampleWriteRun() {
	ctx, s := context.Background(), memory.New()
	base, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 1}, []state.Change{
		{Key: []byte("AMS"), Value: []byte("3 flights")},
		{Key: []byte("TXL"), Value: []byte("1 flight")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	delta, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Delta, Epoch: 2}, []state.Change{
		{Key: []byte("BER"), Value: []byte("1 flight")},
		{Key: []byte("TXL"), Deleted: true},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	merged, err := checkpoint.MergeRuns(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 2}, []checkpoint.Run{base, delta})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, chain := range [][]checkpoint.Run{{base, delta}, {merged}} {
		entries, err := checkpoint.LoadChain(ctx, s, chain, 1)
		fmt.Println(len(chain), "runs:", err)
		for _, e := range entries {
			fmt.Printf("%s: %s\n", e.Key, e.Value)
		}
	}
	// Output:
	// 2 runs: <nil>
	// AMS: 3 flights
	// BER: 1 flight
	// 1 runs: <nil>
	// AMS: 3 flights
	// BER: 1 flight
}
