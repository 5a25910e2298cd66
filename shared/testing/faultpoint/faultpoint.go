// Package faultpoint names the steps where tests make a process die, stop or fail. A normal
// build has only the names. A binary that is built with the tag
// faultpoints reads what is to happen from the file that the environment variable
// FAULTPOINTS names, which may change while it runs:
//
//	kill commit.before 2    SIGKILL itself when it gets there for the second time
//	kill frame.App.0.7 1    the same when it is about to apply that frame of a log
//	stop manifest.before 1  SIGSTOP itself, until it gets SIGCONT
//	fail store.put 3        the third call fails; with 0, every one
//	clock 1h                the machine's clock is that far ahead
//	span grace 1s           a time that is no setting, at the start of the process
//
// What must hold whatever happens is checked in test/faults.
package faultpoint

// Point is a step. Those of one process that runs everything are all in one line.
type Point string

// The steps of a checkpointer that leads.
const (
	OpenBefore     Point = "open.before"     // no epoch is open
	OpenDone       Point = "open.done"       // Raft has the epoch, no log has its barrier
	BarrierBefore  Point = "barrier.before"  // of each partition
	BarrierDone    Point = "barrier.done"    // all logs have it
	Prepared       Point = "prepared"        // a task has, each of them
	ManifestBefore Point = "manifest.before" // all tasks have prepared
	ManifestDone   Point = "manifest.done"   // the store has the manifest
	CommitBefore   Point = "commit.before"   // Raft is about to be told
	CommitDone     Point = "commit.done"     // the checkpoint exists, and no one knows yet
	AbortBefore    Point = "abort.before"
	AbortDone      Point = "abort.done"
	AnswerBefore   Point = "answer.before" // the tasks are about to be told
	RetireBefore   Point = "retire.before"
	RetireDone     Point = "retire.done" // Raft has forgotten them
	TrimBefore     Point = "trim.before" // of each partition
	TrimDone       Point = "trim.done"
)

// The steps of a leader that swaps a manifest.
const (
	SwapBefore Point = "swap.before" // it was checked
	SwapStored Point = "swap.stored" // the store has the new one
	SwapDone   Point = "swap.done"   // and Raft
)

// The steps of a leader that switches the store.
const (
	SwitchCopied  Point = "switch.copied"  // every process can use the new store
	SwitchHeld    Point = "switch.held"    // no checkpoint is in progress
	SwitchBefore  Point = "switch.before"  // the copy is complete
	SwitchDone    Point = "switch.done"    // Raft names the new store, and only checkpointers know
	SwitchWritten Point = "switch.written" // the cluster's bucket has it
	SwitchTold    Point = "switch.told"    // all processes know, and no checkpoint is in progress
)

// The steps of a leader that restores an app. It commits like any checkpoint.
const (
	RestorePaused Point = "restore.paused" // nothing else is under way
	RestoreOpen   Point = "restore.open"   // Raft has the epoch
	RestoreUsed   Point = "restore.used"   // what it refers to was used again
	RestoreStored Point = "restore.stored" // the store has the manifest
	RestoreDone   Point = "restore.done"   // the generation has started, and no one knows yet
)

// The steps of a leader that deploys an app, or takes one over from major version 0.
const (
	DeployStreams Point = "deploy.streams" // the streams are there, and Raft does not know the app
	DeployRaft    Point = "deploy.raft"    // it does, and no log has its deploy frame
	DeployFrame   Point = "deploy.frame"   // of each partition: the log has it, and takes no others yet
	DeployDone    Point = "deploy.done"    // all logs are open, and no one knows yet
)

// The steps of a leader that changes an app.
const (
	UpgradeBefore  Point = "upgrade.before"  // it is planned and allowed, and Raft does not know it
	UpgradeRaft    Point = "upgrade.raft"    // Raft has the version, and no log has its frame
	UpgradeFrame   Point = "upgrade.frame"   // of each partition: the log has it
	UpgradeFrames  Point = "upgrade.frames"  // all logs have it, and Raft does not know that
	UpgradeDone    Point = "upgrade.done"    // Raft does, and no ingest knows it
	UpgradeApplied Point = "upgrade.applied" // of each task: it has applied the frame
)

// The steps of a leader that changes the number of partitions of an app.
const (
	ScaleRaft   Point = "scale.raft"   // Raft knows the intention, and no service does
	ScalePaused Point = "scale.paused" // ingests refuse events, as far as they are there
	ScaleClosed Point = "scale.closed" // the logs accept nothing but the leader's frames
	ScaleCut    Point = "scale.cut"    // a checkpoint has all of the logs, with equal clocks
	ScaleOpen   Point = "scale.open"   // the epoch of the new generation is open
	ScaleSplit  Point = "scale.split"  // the state is divided
	ScaleLogs   Point = "scale.logs"   // the new logs have their barriers
	ScaleStored Point = "scale.stored" // the manifest is in the store: from here on it happens
	ScaleCommit Point = "scale.commit" // Raft has the new generation, and all logs are closed
	ScaleFrames Point = "scale.frames" // all logs have the frame of the new version
	ScaleOpened Point = "scale.opened" // all logs are open, and Raft does not know that
	ScaleDone   Point = "scale.done"   // Raft does, and no ingest knows it
)

// The steps of a leader that removes an app.
const (
	RemoveRaft    Point = "remove.raft"    // Raft has the decision, and no service knows it
	RemoveStopped Point = "remove.stopped" // no service has the app, and nothing is deleted
	RemoveStream  Point = "remove.stream"  // of each stream: it is deleted
	RemoveStreams Point = "remove.streams" // all are, and the links of the app
	RemoveStored  Point = "remove.stored"  // the checkpoints are deleted as well
	RemoveDone    Point = "remove.done"    // Raft has forgotten the app, and no service knows it
)

// The steps of a merger.
const (
	MergeBefore Point = "merge.before" // chains are picked
	MergeChain  Point = "merge.chain"  // of each, that is folded and stored
	MergeDone   Point = "merge.done"   // all are, and the leader is about to be asked
	MergeKnown  Point = "merge.known"  // it has answered
	SweepBefore Point = "sweep.before" // it is known what is live
	SweepEach   Point = "sweep.each"   // object that is about to be deleted
	SweepDone   Point = "sweep.done"
)

// The steps of a recovery job.
const (
	JobPlanned  Point = "job.planned"
	JobVerified Point = "job.verified"
	JobRebuilt  Point = "job.rebuilt" // the state of the target, where it is stored
	JobStored   Point = "job.stored"  // of each component
	JobAsked    Point = "job.asked"   // the checkpointer is about to be
	JobKnown    Point = "job.known"   // it has answered
)

// The steps of a task.
const (
	CutBefore     Point = "cut.before" // the barrier is there
	CutHalf       Point = "cut.half"   // between two components
	CutDone       Point = "cut.done"
	RunBefore     Point = "run.before"    // of each component
	RunDone       Point = "run.done"      // stored, or waits to be packed
	PackBefore    Point = "pack.before"   // runs wait
	PackDone      Point = "pack.done"     // all are stored
	PreparedSaid  Point = "prepared.said" // about to be
	DecisionKnown Point = "decision.known"
	LoadBefore    Point = "load.before" // of a checkpoint
	LoadDone      Point = "load.done"   // and the log is not open
)

// The steps of a processor outside of checkpoints.
const (
	HeartbeatBefore Point = "heartbeat.before" // it can fail
	ResultsBefore   Point = "results.before"   // the last of some results are about to be sent
)

// The steps of the store of files.
const (
	FileWritten   Point = "file.written"   // and has not got its name
	FileCommitted Point = "file.committed" // the manifest is there, the head is not
)

// The calls of any store. They can fail.
const (
	StorePut    Point = "store.put"
	StoreGet    Point = "store.get"
	StoreList   Point = "store.list"
	StoreDelete Point = "store.delete"
	StoreCommit Point = "store.commit"
)

// These list the points, in the order of the protocol.
var (
	OfLeader = []Point{
		OpenBefore, OpenDone, BarrierBefore, BarrierDone, Prepared, ManifestBefore, ManifestDone, CommitBefore,
		CommitDone, AbortBefore, AbortDone, AnswerBefore, RetireBefore, RetireDone, TrimBefore, TrimDone,
	}
	OfTask    = []Point{CutBefore, CutHalf, CutDone, RunBefore, RunDone, PackBefore, PackDone, PreparedSaid, DecisionKnown}
	OfFile    = []Point{FileWritten, FileCommitted}
	OfSwap    = []Point{SwapBefore, SwapStored, SwapDone}
	OfSwitch  = []Point{SwitchCopied, SwitchHeld, SwitchBefore, SwitchDone, SwitchWritten, SwitchTold}
	OfRestore = []Point{RestorePaused, RestoreOpen, RestoreUsed, RestoreStored, RestoreDone}
	OfDeploy  = []Point{DeployStreams, DeployRaft, DeployFrame, DeployDone}
	OfUpgrade = []Point{UpgradeBefore, UpgradeRaft, UpgradeFrame, UpgradeFrames, UpgradeDone, UpgradeApplied}
	OfScale   = []Point{ScaleRaft, ScalePaused, ScaleClosed, ScaleCut, ScaleOpen, ScaleSplit, ScaleLogs, ScaleStored, ScaleCommit, ScaleFrames, ScaleOpened, ScaleDone}
	OfRemove  = []Point{RemoveRaft, RemoveStopped, RemoveStream, RemoveStreams, RemoveStored, RemoveDone}
	OfLoad    = []Point{LoadBefore, LoadDone}
	OfMerger  = []Point{MergeBefore, MergeChain, MergeDone, MergeKnown, SweepBefore, SweepEach, SweepDone}
	OfJob     = []Point{JobPlanned, JobVerified, JobRebuilt, JobStored, JobAsked, JobKnown}
)
