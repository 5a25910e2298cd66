// Package rebuild rebuilds the task of an app's partition from a checkpoint and the log after
// it, up to any frame, event or instant. The live task is not affected: rebuild only reads,
// and keeps its results in memory. The callers choose the checkpoint and use the result.
//
//	New ──▶ Load ──▶ Replay ──▶ Entries, Digests, Items
//
// Read task.go, then target.go and replay.go, then compare.go.
package rebuild
