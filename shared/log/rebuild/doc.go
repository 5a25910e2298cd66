// Package rebuild rebuilds the task of an app's partition from a checkpoint and the log
// behind it, up to any frame, event or instant, beside the live task and without its
// notice: it reads, and keeps what it makes to itself. Which checkpoint, and what it is
// all for, its users know.
//
//	New ──▶ Load ──▶ Replay ──▶ Entries, Digests, Items
//
// Read task.go, then target.go and replay.go, then compare.go.
package rebuild
