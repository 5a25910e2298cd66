// Package merger keeps chains short and the store clean. It folds chains that have
// become long, or heavy against their base, into new bases, has the checkpointer swap the
// result in, and deletes what nothing refers to. Which checkpoints are retained, the
// checkpointer decides.
//
//	commit ─▶ pick ─▶ fold ─▶ put blocks, run ─▶ swap ─▶ (checkpointer) manifest ─▶ Raft
//	                                                          │
//	                       task: the next delta stands on it ◀┘
//
//	sweep: what is live? (checkpointer) ─▶ names of all of it ─▶ delete the rest
//
// A merger that dies leaves garbage and nothing else: until the swap is in Raft nothing
// refers to what it has put. Two that work at once do the same twice, and the second
// swap is refused. The lease only saves that work.
//
// What a sweep deletes is referred to by nothing, and never will be:
//
//   - Nothing goes that is referred to by a manifest that is retained, or was until the
//     last epoch (the checkpointer keeps what tasks may still stand on), or by the head of
//     an app in the store.
//   - Nothing goes that was used since the grace, the opening of an epoch that is open, or
//     the beginning of a merge whose swap is under way. Who puts an object that is there
//     uses it. So what is put for a checkpoint or a swap is spared until that is decided.
//   - The checkpointer takes no manifest with a run that is neither of one that it keeps
//     nor put for this very epoch or swap; it is looked at while nothing can go.
//
// Read service.go, then pick.go (which chains, as a pure function), fold.go, sweep.go and
// report.go.
package merger
