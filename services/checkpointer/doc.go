// Package checkpointer is the control plane: a Raft group that holds the apps, the owners
// of their partitions, and the epochs. Its leader appends barriers to the logs of an app,
// collects what the tasks have stored, and commits or aborts the checkpoint. Then it trims
// the logs below the oldest retained checkpoint.
//
// A checkpoint has two phases. The leader opens an epoch in Raft and appends its barrier to
// every partition. Each task takes a snapshot there, stores it, and reports that it is
// prepared. When all tasks have done so, the leader puts the manifest into the store and
// commits the epoch in Raft: that is the decision. If the leader dies between two steps, the
// next one commits the epoch if the manifest exists, and aborts it otherwise. An aborted
// epoch does no harm.
//
// Terms and assignments fence old processes. A leadership is a Raft term. Barriers,
// manifests and commits carry it, and the store refuses manifests of an older term. A task
// prepares under its assignment, which ends when another task attaches to the partition.
//
// Read service.go, then fsm.go (the replicated state), coordinator.go (the decisions, as a
// pure function), leader.go (the loop), effects.go (which carries out the decisions),
// requests.go, streams.go (no other service makes streams), tidy.go (retention, trimming)
// and merging.go (requests of mergers). Package consensus is the Raft member.
package checkpointer
