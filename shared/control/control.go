package control

import (
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// The verbs: the request goes to natsconn.ServiceSubject("checkpointer", verb). The request
// and answer of each are below. Errors have the form of NATS service errors, with one of the
// codes.
const (
	VerbDeploy      = "deploy"      // DeployRequest → Deployed
	VerbApps        = "apps"        // nothing → AppList
	VerbApp         = "app"         // AppRequest → App, with its text
	VerbRemove      = "remove"      // AppRequest → App
	VerbHeartbeat   = "heartbeat"   // HeartbeatRequest → Heartbeat
	VerbServing     = "serving"     // ServingRequest → nothing
	VerbAttach      = "attach"      // AttachRequest → Attached
	VerbPrepared    = "prepared"    // PreparedRequest → Outcome, once it is known
	VerbFailed      = "failed"      // FailedRequest → Outcome
	VerbTrigger     = "trigger"     // AppRequest → Outcome, once it is known
	VerbCheckpoints = "checkpoints" // AppRequest → CheckpointList
	VerbCheckpoint  = "checkpoint"  // CheckpointRequest → checkpoint.Manifest
	VerbVerify      = "verify"      // CheckpointRequest → VerifyReport
	VerbDigests     = "digests"     // DigestsRequest → DigestsAnswer, once the epoch is decided
	VerbStatus      = "status"      // nothing → Status; of the checkpointer that answers
	VerbMembers     = "members"     // MembersRequest → Status
	VerbTransfer    = "transfer"    // TransferRequest → Status
)

// Codes of errors, as the header Nats-Service-Error-Code has them.
const (
	CodeInvalid     = "400" // the request is wrong; its text says how
	CodeNotFound    = "404" // no such app, or no such checkpoint
	CodeFenced      = "409" // a newer assignment, term or epoch: stop, do not retry
	CodeTooLarge    = "413"
	CodeInternal    = "500"
	CodeUnavailable = "503" // no leader just now, or the store is away: try again
)

// DeployRequest deploys an app, or confirms that it is deployed. A different text under the
// name of a deployed app is CodeInvalid.
type DeployRequest struct {
	Text string `json:"text"`
	// From is a checkpoint in the store that the app starts from; 0: it starts empty. No event
	// is accepted until the app was given that state by VerbAdopt.
	From state.Epoch `json:"from_epoch,omitempty"`
}

// Deployed is the app that was deployed, or confirmed.
type Deployed struct {
	App
	// Warnings name the streams of other apps that read the same subject with a different
	// definition, so that one app refuses events that another accepts.
	Warnings []string `json:"warnings,omitempty"`
}

// AppRequest names an app.
type AppRequest struct {
	App string `json:"app"`
}

// App is a deployed app.
type App struct {
	Name       string                `json:"name"`
	Plan       string                `json:"plan"` // digest of the text
	Partitions uint32                `json:"partitions"`
	Generation checkpoint.Generation `json:"generation"`
	Deployed   time.Time             `json:"deployed"`
	// Index is the Raft index of its deployment: another deployment under the same
	// name has a larger one.
	Index uint64 `json:"index"`
	// Text is only in answers to VerbApp and VerbDeploy, and in the cluster's bucket.
	Text string `json:"text,omitempty"`
	// Settings are the settings that Apply reads. They are fixed at the deployment, because
	// results are a function of them and the log.
	engine.Settings
	// Version counts the texts that the app was deployed with, from 1. Level is the semantics
	// level of that version, and Build the version of the program that deployed it. For an app
	// from a release of major version 0, they are 0 or empty until the leader has taken it
	// over.
	Version uint32 `json:"version,omitempty"`
	Level   uint32 `json:"level,omitempty"`
	Build   string `json:"build,omitempty"`
	// Stamp is the time of the deployment in ms, as in the deploy frame of each log.
	Stamp int64 `json:"stamp_ms,omitempty"`
	// After has, by partition, the sequence before the deploy frame, for an app that was taken
	// over. For other apps, the deploy frame is the first frame of each log.
	After []uint64 `json:"deployed_after,omitempty"`
	// Base is the newest epoch that the store had for an app of this name at the deployment.
	// First is the generation that the app started with, which is later than any generation in
	// the store.
	Base  state.Epoch           `json:"base_epoch,omitempty"`
	First checkpoint.Generation `json:"first_generation"`
	// From is the checkpoint that the app starts from; 0: it has started empty.
	From state.Epoch `json:"from_epoch,omitempty"`
	// Checkpoint is the newest committed one; 0: none.
	Checkpoint state.Epoch `json:"checkpoint"`
	// Held says that its tasks wait at the position of a restore for VerbRelease.
	Held bool `json:"held,omitempty"`
	// Removing says that the app is being removed.
	Removing bool `json:"removing,omitempty"`
	// Scalings counts how often the number of partitions has changed. Rescaled is the first
	// generation with the present number: no checkpoint of an earlier one can be restored.
	Scalings uint32                `json:"scalings,omitempty"`
	Rescaled checkpoint.Generation `json:"rescaled_generation,omitempty"`
	// Scaling is a change of the number of partitions that is under way; nil for none. Until it ends,
	// ingest refuses the app's events. ScalingFailed says why the last one was aborted.
	Scaling       *Scaling `json:"scaling,omitempty"`
	ScalingFailed string   `json:"scaling_failed,omitempty"`
	// Shadow is a next version that runs beside the app without publishing; nil for none.
	Shadow *Shadow `json:"shadow,omitempty"`
	// Missing says what the app needs before all ingests accept its events and all of its
	// partitions run. It is only in answers to VerbApp and VerbDeploy.
	Missing []string `json:"missing,omitempty"`
	// Deaths are the frames that a task was applying when its process died, and that no task
	// has passed since.
	Deaths []Death `json:"deaths,omitempty"`
	// Owners has the owner of each partition that a task is attached to.
	Owners []Owner `json:"owners,omitempty"`
}

// Starting reports whether the app has not been given the state yet that it starts from. Until
// then, no event is accepted for it.
func (a *App) Starting() bool { return a.From > 0 && a.Generation == a.First }

// Owner is a task that is attached to a partition.
type Owner struct {
	Partition  uint32 `json:"partition"`
	Owner      string `json:"owner"`     // the task's incarnation
	Processor  string `json:"processor"` // that runs it
	Assignment uint64 `json:"assignment"`
	// State is the last state that the processor reported for its task; empty if it has not
	// reported for a while.
	State TaskState `json:"state,omitempty"`
}

// AppList is the answer to VerbApps, sorted by name.
type AppList struct {
	Apps []App `json:"apps"`
}

// HeartbeatRequest is a processor's report, sent several times per second. If a processor is
// silent for HeartbeatTimeout, the leader treats it as dead and gives its partitions to
// others.
type HeartbeatRequest struct {
	Processor   string `json:"processor"`   // its name, which it keeps over restarts
	Incarnation string `json:"incarnation"` // unique for each start
	// Leaving says that the processor wants to give up its partitions.
	Leaving bool `json:"leaving,omitempty"`
	// Level is the newest semantics level that it applies; 0: it knows no changes of apps.
	Level uint32       `json:"level,omitempty"`
	Tasks []TaskReport `json:"tasks,omitempty"`
	// Died describes the work of an earlier process of this name when it died.
	Died *Died `json:"died,omitempty"`
}

// Died lists the frames that the tasks of a process were applying when it died.
type Died struct {
	Incarnation string   `json:"incarnation"` // of the process that died
	Frames      []AtWork `json:"frames"`
}

// AtWork is a frame that a task was applying.
type AtWork struct {
	App       string `json:"app"`
	Index     uint64 `json:"index"` // of the app's deployment
	Partition uint32 `json:"partition"`
	Sequence  uint64 `json:"sequence"` // in the log
}

// Death is a frame that a task was applying when its process died.
type Death struct {
	Partition uint32 `json:"partition"`
	Sequence  uint64 `json:"sequence"`
	// Count is how many processes in a row died on this frame.
	Count int `json:"count"`
	// Incarnation is the last of those processes.
	Incarnation string `json:"incarnation"`
}

// QuarantineAfter is how many processes may die on a frame before no processor runs its
// partition.
const QuarantineAfter = 3

// Quarantined reports whether no processor runs the partition of the frame.
func (d *Death) Quarantined() bool { return d.Count >= QuarantineAfter }

// TaskReport is the state of a task.
type TaskReport struct {
	App       string    `json:"app"`
	Partition uint32    `json:"partition"`
	State     TaskState `json:"state"`
	// LagMillis is how long the task needs for the rest of its log; 0 for a standby.
	LagMillis int64 `json:"lag_ms,omitempty"`
	// Applied is the log sequence of the newest frame applied.
	Applied uint64 `json:"applied,omitempty"`
	// Version is the version of the app that is in force there; 0: it is not known yet.
	Version uint32 `json:"version,omitempty"`
}

// HeartbeatTimeout is the silence after which a processor counts as dead. A processor should
// report five times as often.
const HeartbeatTimeout = 1500 * time.Millisecond

// QuietTimeout is the silence after which a standby takes over a processor's partitions. It is
// two heartbeats, since on a busy machine one may be late. A wrong takeover harms nothing, and
// costs the other processor a restore.
const QuietTimeout = HeartbeatTimeout * 2 / 5

// Heartbeat lists the partitions that a processor must run. It must run no others.
type Heartbeat struct {
	Assigned []Assigned `json:"assigned"`
	// Alone says that no other processor could take over.
	Alone bool `json:"alone,omitempty"`
}

// Assigned is a partition that a processor must run.
type Assigned struct {
	App        string                `json:"app"`
	Partition  uint32                `json:"partition"`
	Index      uint64                `json:"index"` // of the app's deployment
	Generation checkpoint.Generation `json:"generation"`
	Held       bool                  `json:"held,omitempty"`
	// Standby: another processor runs it. Apply its log, emit nothing, and be ready.
	Standby bool `json:"standby,omitempty"`
	// Suspect is the log sequence of a frame that may have killed a process: the task applies
	// it while no other task of its process applies a frame. 0 means none.
	Suspect uint64 `json:"suspect,omitempty"`
}

// ServingRequest is the report of an ingest at its start, after a change, and several times
// per second. An ingest that is silent for HeartbeatTimeout counts as dead.
type ServingRequest struct {
	Ingest string `json:"ingest"` // unique for each start
	Name   string `json:"name"`   // for people
	// Number grows with each request; a request that arrives late changes nothing.
	Number uint64 `json:"number"`
	// Level is the newest semantics level that its build knows; 0: it knows no changes of apps.
	Level uint32 `json:"level,omitempty"`
	// Apps are all apps that it serves, is about to serve, or is still stopping to serve.
	Apps []Serving `json:"apps"`
}

// Serving is how an ingest serves an app.
type Serving struct {
	App   string `json:"app"`
	Index uint64 `json:"index"` // of the app's deployment
	// Version is the version of the app whose streams it serves.
	Version uint32 `json:"version,omitempty"`
	// Paused says that it accepts none because the app is being scaled, and that all that it had
	// accepted is durable.
	Paused bool `json:"paused,omitempty"`
	// Accepts says that it accepts the app's events.
	Accepts bool `json:"accepts"`
	// Why says why it does not.
	Why string `json:"why,omitempty"`
}

// DigestsRequest is the state of a standby at a barrier.
type DigestsRequest struct {
	App        string                  `json:"app"`
	Generation checkpoint.Generation   `json:"generation"`
	Epoch      state.Epoch             `json:"epoch"`
	Partition  uint32                  `json:"partition"`
	Digests    map[string]state.Digest `json:"digests"` // by component
}

// DigestsAnswer names the components that differ from those of the checkpoint. If the epoch
// was aborted, it names none.
type DigestsAnswer struct {
	Different []string `json:"different"`
}

// NudgeSubject is the core NATS subject where the leader publishes that assignments have
// changed. Processors then ask at once instead of at their next heartbeat.
const NudgeSubject = "ef.processor.nudge"

// AttachRequest asks for a partition on behalf of a task. Repeating it with the same owner
// changes nothing. It is refused with CodeFenced if the partition is assigned to another
// processor.
type AttachRequest struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	Owner     string `json:"owner"` // unique for each incarnation
	Processor string `json:"processor"`
	Plan      string `json:"plan"` // digest of the text that the task runs
}

// Attached tells a task what to restore.
type Attached struct {
	Generation checkpoint.Generation `json:"generation"`
	// Assignment is the task's fencing token: what the task prepares counts until another
	// owner attaches.
	Assignment uint64 `json:"assignment"`
	// Decided is the newest epoch that is committed or aborted; barriers up to it
	// need no answer.
	Decided state.Epoch `json:"decided"`
	// First says that the app was deployed with this generation, so that it starts at the
	// start of the log.
	First bool `json:"first,omitempty"`
	// Held says that the task must stop where the generation starts.
	Held bool `json:"held,omitempty"`
	// Checkpoints are the retained checkpoints of the generation, newest first.
	Checkpoints []CheckpointRef `json:"checkpoints"`
}

// CheckpointRef names a committed checkpoint.
type CheckpointRef struct {
	Generation checkpoint.Generation `json:"generation"`
	Epoch      state.Epoch           `json:"epoch"`
	Term       checkpoint.Term       `json:"term"`
	Time       time.Time             `json:"time"`
	// Manifest is its name in the store, and Digest the SHA-256 of its bytes.
	Manifest string `json:"manifest"`
	Digest   string `json:"digest"`
}

// PreparedRequest reports that a task has stored its part of an epoch durably, and that all
// results of the frames before the barrier are in the output stream. The task repeats it until
// it gets an answer.
type PreparedRequest struct {
	App       string               `json:"app"`
	Epoch     state.Epoch          `json:"epoch"`
	Term      checkpoint.Term      `json:"term"` // as the barrier has it
	Partition checkpoint.Partition `json:"partition"`
}

// FailedRequest is a PreparedRequest with a reason: the task cannot prepare the
// epoch, which is aborted at once.
type FailedRequest struct {
	App        string          `json:"app"`
	Epoch      state.Epoch     `json:"epoch"`
	Term       checkpoint.Term `json:"term"`
	Partition  uint32          `json:"partition"`
	Assignment uint64          `json:"assignment"`
	Reason     string          `json:"reason"`
}

// Outcome is the result of an epoch.
type Outcome struct {
	Epoch     state.Epoch `json:"epoch"`
	Committed bool        `json:"committed"`
	Reason    string      `json:"reason,omitempty"` // why it was aborted
	// Milliseconds from the opening to the commit.
	Milliseconds float64 `json:"milliseconds,omitempty"`
	// Merged is the newest checkpoint whose chains a merger has folded; the next checkpoints
	// must build on it.
	Merged *CheckpointRef `json:"merged,omitempty"`
	// Whole says that the epoch was aborted because a checkpoint that a task built on is gone.
	// The next checkpoint must be full.
	Whole bool `json:"whole,omitempty"`
}

// CheckpointList is the answer to VerbCheckpoints, newest first.
type CheckpointList struct {
	App         string                `json:"app"`
	Generation  checkpoint.Generation `json:"generation"` // of the app now
	Checkpoints []CheckpointInfo      `json:"checkpoints"`
}

// CheckpointInfo is one entry of the list: a retained checkpoint, the open one, or one that
// was aborted recently.
type CheckpointInfo struct {
	CheckpointRef
	State  CheckpointState `json:"state"`
	Reason string          `json:"reason,omitempty"`
	// Bytes is the number of bytes written for it. StateBytes is the uncompressed size of the
	// state that it covers.
	Bytes        int64   `json:"bytes"`
	StateBytes   int64   `json:"state_bytes"`
	Milliseconds float64 `json:"milliseconds"` // from opening to commit
}

// CheckpointRequest names a checkpoint; epoch 0 is the newest committed one.
type CheckpointRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
}

// VerifyReport lists the problems of a checkpoint.
type VerifyReport struct {
	App      string      `json:"app"`
	Epoch    state.Epoch `json:"epoch"`
	Sound    bool        `json:"sound"`
	Runs     int         `json:"runs"`
	Blocks   int         `json:"blocks"`
	Entries  int64       `json:"entries"`
	Bytes    int64       `json:"bytes"` // read
	Problems []Problem   `json:"problems,omitempty"`
}

// Problem is one kind of damage in one object.
type Problem struct {
	Object    string `json:"object"`              // name in the store
	Component string `json:"component,omitempty"` // partition/id
	What      string `json:"what"`
}

// Status is a checkpointer's view of its group.
type Status struct {
	ID     string          `json:"id"`
	State  string          `json:"state"` // leader, follower, candidate, shutdown
	Leader string          `json:"leader"`
	Term   checkpoint.Term `json:"term"`
	// Level is the newest semantics level that this checkpointer knows; 0: it has none, and knows no
	// changes of apps.
	Level   uint32    `json:"level,omitempty"`
	Commit  uint64    `json:"commit_index"`
	Applied uint64    `json:"applied_index"`
	Time    time.Time `json:"time"` // of its clock
	Peers   []Peer    `json:"peers"`
}

// Peer is a member of the group.
type Peer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// MembersRequest adds, changes or removes a member.
type MembersRequest struct {
	Add    *Peer  `json:"add,omitempty"`
	Remove string `json:"remove,omitempty"` // an id
}

// TransferRequest hands over the leadership; if To is "", to the best other voter.
type TransferRequest struct {
	To string `json:"to,omitempty"`
}
