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
// Read service.go, then fsm.go (the replicated state), coordinator.go (the decisions about the
// checkpoints of one app, as a pure function) and leader.go, which draws the parts of a
// leadership. Each part is a type with its own state:
//
//   - coordinators.go: the loop that carries out what coordinators decide
//   - barriers.go: writes barriers and ticks to logs
//   - committer.go: writes manifests into the store, and commits them in Raft
//   - references.go: checks which objects manifests refer to
//   - projection.go: the bucket that all services read
//   - retention.go: retires checkpoints, trims logs and results
//   - placement.go decides which processor runs which partition, as a pure function;
//     assigner.go carries that out
//   - reports.go: what processors and ingests report
//   - streams.go: the JetStream streams of apps; no other service makes streams
//   - origins.go: checks apps against JetStream and the other apps
//   - deploy.go, restore.go, scaling.go, upgrade.go, remove.go, storeswitch.go, merges.go: the requests
//     that take long
//   - takeover.go and rollback.go: what comes before a leader serves requests
//
// requests.go answers the other requests. Package consensus is the Raft member.
package checkpointer
