// Package merger keeps chains short and deletes unreferenced objects from the store. It
// folds chains that are long, or large compared with their base, into new bases, and asks
// the checkpointer to swap the result in. The checkpointer decides which checkpoints are
// retained.
//
//	commit ─▶ pick ─▶ fold ─▶ put blocks, run ─▶ swap ─▶ (checkpointer) manifest ─▶ Raft
//	                                                          │
//	                    task: the next delta builds on it ◀───┘
//
//	sweep: ask the checkpointer what is live ─▶ collect all names ─▶ delete the rest
//
// A merger that dies leaves only garbage: nothing refers to the objects that it has put
// until the swap is in Raft. If two mergers work at the same time, they do the same work
// twice and the second swap is refused. The lease only saves that work.
//
// A sweep deletes only objects that nothing refers to, now or later:
//
//   - It keeps objects that a manifest refers to if the manifest is retained, or was until
//     the last epoch (tasks may still build on it, so the checkpointer keeps it). It also
//     keeps objects that the head of an app in the store refers to.
//   - It keeps objects that were used within the grace period, since an open epoch was
//     opened, or since a merge with a pending swap started. Putting an object that exists
//     counts as use. So objects for a checkpoint or a swap stay until that is decided.
//   - The checkpointer accepts a manifest only if each of its runs is in a manifest that it
//     keeps or was put for this epoch or swap. It checks this while nothing can be deleted.
//
// Read service.go, then pick.go (which chains, as a pure function), fold.go, sweep.go and
// report.go.
package merger
