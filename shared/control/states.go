package control

// TaskState is where a task is on its way; package processor has the picture.
type TaskState string

// The states of a task.
const (
	TaskStarting  TaskState = "starting"
	TaskReplaying TaskState = "replaying"
	TaskRunning   TaskState = "running"
	TaskHalted    TaskState = "halted"
	TaskStandby   TaskState = "standby" // another processor runs the partition; this one could at once
	TaskHeld      TaskState = "held"    // at the position of a restore, until it is released
	TaskFenced    TaskState = "fenced"  // another task has the partition
	TaskDrained   TaskState = "drained"
	TaskStopped   TaskState = "stopped" // ended by its process
)

// CheckpointState is what has become of a checkpoint.
type CheckpointState string

// The states of a checkpoint.
const (
	CheckpointOpen      CheckpointState = "open"
	CheckpointCommitted CheckpointState = "committed"
	CheckpointAborted   CheckpointState = "aborted"
)

// ShadowState is what a shadow does.
type ShadowState string

// The states of a shadow.
const (
	ShadowStarting   ShadowState = "starting"    // it loads its checkpoint
	ShadowCatchingUp ShadowState = "catching up" // it has not come to the end of the log yet
	ShadowFollowing  ShadowState = "following"   // it has come there, and goes on with the log
	ShadowFailed     ShadowState = "failed"      // it cannot go on
)
