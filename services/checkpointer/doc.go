// Package checkpointer is the control plane: a Raft group that holds apps, who runs
// them, and epochs. Its leader cuts the logs of an app by barriers, collects what the
// tasks have stored, and commits or aborts the checkpoint; then it trims the logs below
// the oldest checkpoint that is retained.
//
// Two phases. The leader opens an epoch in Raft and appends its barrier to every
// partition. Each task cuts its state there, stores it, and says that it is prepared.
// When all are, the leader puts the manifest into the store, and commits the epoch in
// Raft: that is the decision. What dies between any two of these steps, the next leader
// finishes (the manifest is there) or aborts; an aborted epoch harms nothing.
//
// Fencing. A leadership is a Raft term. Barriers, manifests and commits carry it, and
// the store refuses manifests of an older one. A task prepares under its assignment,
// which ends when another task attaches to the partition.
//
// Read service.go, then fsm.go (what is agreed on), coordinator.go (the decisions, as a
// pure function), leader.go (the loop), effects.go (what is done about decisions),
// requests.go, streams.go (nobody else makes any), tidy.go (retention, trimming) and merging.go (what mergers ask).
// consensus has Raft itself.
package checkpointer
