package control

import (
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// The verbs: the request goes to natsconn.ServiceSubject("checkpointer", verb). Each has
// a request and an answer below. Errors come as those of NATS services do, with one
// of the codes.
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

// DeployRequest makes an app known, or confirms it. Another text under the name of
// an app that is deployed is CodeInvalid.
type DeployRequest struct {
	Text string `json:"text"`
}

// Deployed is the app that was deployed, or confirmed.
type Deployed struct {
	App
	// Warnings say which streams of other apps are read from the same subject by another
	// definition, so that one app refuses events that another one takes.
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
	// Settings are what Apply reads: fixed here, since results are a function of them and
	// the log.
	engine.Settings
	// Version counts the texts that the app was deployed with, from 1. Level is the
	// semantics level of that version, and Build the version of the program that deployed
	// it. All are 0 and empty for an app of a release of major version 0, until the leader
	// has taken it over.
	Version uint32 `json:"version,omitempty"`
	Level   uint32 `json:"level,omitempty"`
	Build   string `json:"build,omitempty"`
	// Stamp is the instant of the deployment in ms, as the deploy frame of each log has it.
	Stamp int64 `json:"stamp_ms,omitempty"`
	// After has, by partition, the sequence that the deploy frame follows, for an app that
	// was taken over. Otherwise it is the first frame of each log.
	After []uint64 `json:"deployed_after,omitempty"`
	// Base is the newest epoch that the store had of an app of this name when it was
	// deployed, and First the generation that it began with: later than any that the store
	// tells of.
	Base  state.Epoch           `json:"base_epoch,omitempty"`
	First checkpoint.Generation `json:"first_generation"`
	// Checkpoint is the newest committed one; 0: none.
	Checkpoint state.Epoch `json:"checkpoint"`
	// Held says that its tasks wait where a restore has put them, for VerbRelease.
	Held bool `json:"held,omitempty"`
	// Removing says that the app is on its way out.
	Removing bool `json:"removing,omitempty"`
	// Missing says what the app needs before all ingests accept its events and all of its
	// partitions run. It is only in answers to VerbApp and VerbDeploy.
	Missing []string `json:"missing,omitempty"`
	// Deaths are the frames that were being applied when a process died, and that no task
	// has got past since.
	Deaths []Death `json:"deaths,omitempty"`
	// Owners has the owner of each partition that a task is attached to.
	Owners []Owner `json:"owners,omitempty"`
}

// Owner is a task that is attached to a partition.
type Owner struct {
	Partition  uint32 `json:"partition"`
	Owner      string `json:"owner"`     // the task's incarnation
	Processor  string `json:"processor"` // that runs it
	Assignment uint64 `json:"assignment"`
	// State is what the processor said of its task last: starting, replaying, running,
	// halted and so on; empty where it has not been heard of for a while.
	State string `json:"state,omitempty"`
}

// AppList is the answer to VerbApps, sorted by name.
type AppList struct {
	Apps []App `json:"apps"`
}

// HeartbeatRequest is what a processor says of itself, several times in a second. One
// that has not been heard of for HeartbeatTimeout is taken for dead, and its partitions
// are given to others.
type HeartbeatRequest struct {
	Processor   string `json:"processor"`   // its name, which it keeps over restarts
	Incarnation string `json:"incarnation"` // unique for each start
	// Leaving says that it wants to give up what it runs.
	Leaving bool         `json:"leaving,omitempty"`
	Tasks   []TaskReport `json:"tasks,omitempty"`
	// Died is what an earlier process under this name was doing when it died.
	Died *Died `json:"died,omitempty"`
}

// Died says which frames the tasks of a process were applying when it died.
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

// Death is a frame that was being applied when its process died.
type Death struct {
	Partition uint32 `json:"partition"`
	Sequence  uint64 `json:"sequence"`
	// Count is how many processes in a row died of this frame.
	Count int `json:"count"`
	// Incarnation is the last of them.
	Incarnation string `json:"incarnation"`
}

// QuarantineAfter is how many processes may die of a frame before its partition is run by
// none.
const QuarantineAfter = 3

// Quarantined reports whether the partition of the frame is run by no processor.
func (d *Death) Quarantined() bool { return d.Count >= QuarantineAfter }

// TaskReport is how a task is.
type TaskReport struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	State     string `json:"state"`
	// LagMillis is how long the task needs for what its log holds; 0 of a standby.
	LagMillis int64 `json:"lag_ms,omitempty"`
	// Applied is the log sequence of the newest frame applied.
	Applied uint64 `json:"applied,omitempty"`
}

// HeartbeatTimeout is after how much silence a processor is taken for dead. It should
// speak five times as often.
const HeartbeatTimeout = 1500 * time.Millisecond

// QuietTimeout is after how much silence of a processor one that stands by takes its
// partitions over. It is two heartbeats, since on a busy machine one may be late. Being
// wrong harms nothing, and costs the other a restore.
const QuietTimeout = HeartbeatTimeout * 2 / 5

// Heartbeat tells a processor what to run: these and no others.
type Heartbeat struct {
	Assigned []Assigned `json:"assigned"`
	// Alone says that there is no other processor that could take over.
	Alone bool `json:"alone,omitempty"`
}

// Assigned is a partition that a processor is to run.
type Assigned struct {
	App        string                `json:"app"`
	Partition  uint32                `json:"partition"`
	Index      uint64                `json:"index"` // of the app's deployment
	Generation checkpoint.Generation `json:"generation"`
	Held       bool                  `json:"held,omitempty"`
	// Standby: another processor runs it. Apply its log, emit nothing, and be ready.
	Standby bool `json:"standby,omitempty"`
	// Suspect is the log sequence of a frame of which a process may have died: the task
	// applies it while no other task of its process applies one. 0: there is none.
	Suspect uint64 `json:"suspect,omitempty"`
}

// ServingRequest is what an ingest says of itself at its start, when something changes, and
// several times in a second. One that has not been heard of for HeartbeatTimeout is taken
// for dead.
type ServingRequest struct {
	Ingest string `json:"ingest"` // unique for each start
	Name   string `json:"name"`   // for people
	// Number grows with each request: one that comes late changes nothing.
	Number uint64 `json:"number"`
	// Apps are all that it serves, is about to serve, or has yet to stop serving.
	Apps []Serving `json:"apps"`
}

// Serving is how an ingest serves an app.
type Serving struct {
	App   string `json:"app"`
	Index uint64 `json:"index"` // of the app's deployment
	// Accepts says that its events are accepted.
	Accepts bool `json:"accepts"`
	// Why says why they are not.
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

// DigestsAnswer says which components differ from those of the checkpoint. None does
// where the epoch was aborted.
type DigestsAnswer struct {
	Different []string `json:"different"`
}

// NudgeSubject is where the leader publishes, on core NATS, that assignments have
// changed: processors ask at once instead of at their next heartbeat.
const NudgeSubject = "ef.processor.nudge"

// AttachRequest is a task that takes a partition over. Asking again as the same
// owner changes nothing. It is refused as CodeFenced where the partition is assigned
// to another processor.
type AttachRequest struct {
	App       string `json:"app"`
	Partition uint32 `json:"partition"`
	Owner     string `json:"owner"` // unique for each incarnation
	Processor string `json:"processor"`
	Plan      string `json:"plan"` // digest of the text that the task runs
}

// Attached tells a task what it is to restore.
type Attached struct {
	Generation checkpoint.Generation `json:"generation"`
	// Assignment is the task's fencing token: what it prepares counts until another
	// owner attaches.
	Assignment uint64 `json:"assignment"`
	// Decided is the newest epoch that is committed or aborted; barriers up to it
	// need no answer.
	Decided state.Epoch `json:"decided"`
	// First says that the app was deployed with the generation, so that it begins where
	// the log does.
	First bool `json:"first,omitempty"`
	// Held says that the task is to stop where the generation begins.
	Held bool `json:"held,omitempty"`
	// Checkpoints are those of the generation that are retained, newest first.
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

// PreparedRequest says that a task has stored its part of an epoch, durably, and
// that all results of the frames before the barrier are in the output stream. It is
// repeated until it is answered.
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

// Outcome is what became of an epoch.
type Outcome struct {
	Epoch     state.Epoch `json:"epoch"`
	Committed bool        `json:"committed"`
	Reason    string      `json:"reason,omitempty"` // why it was aborted
	// Milliseconds from the opening to the commit.
	Milliseconds float64 `json:"milliseconds,omitempty"`
	// Merged is the newest checkpoint whose chains a merger has folded: what comes next
	// is to stand on them.
	Merged *CheckpointRef `json:"merged,omitempty"`
	// Whole says that the epoch was aborted because what a task stood on is gone: the
	// next one is to be written as a whole.
	Whole bool `json:"whole,omitempty"`
}

// CheckpointList is the answer to VerbCheckpoints, newest first.
type CheckpointList struct {
	App         string                `json:"app"`
	Generation  checkpoint.Generation `json:"generation"` // of the app now
	Checkpoints []CheckpointInfo      `json:"checkpoints"`
}

// CheckpointInfo is a checkpoint as it is listed: a retained one, the open one, or
// one of the last that were aborted.
type CheckpointInfo struct {
	CheckpointRef
	State  string `json:"state"` // committed, open, aborted
	Reason string `json:"reason,omitempty"`
	// Bytes is what was written for it, StateBytes what it covers, uncompressed.
	Bytes        int64   `json:"bytes"`
	StateBytes   int64   `json:"state_bytes"`
	Milliseconds float64 `json:"milliseconds"` // from opening to commit
}

// CheckpointRequest names a checkpoint; epoch 0 is the newest committed one.
type CheckpointRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
}

// VerifyReport says what is wrong with a checkpoint.
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

// Status is what a checkpointer knows of its group.
type Status struct {
	ID      string          `json:"id"`
	State   string          `json:"state"` // leader, follower, candidate, shutdown
	Leader  string          `json:"leader"`
	Term    checkpoint.Term `json:"term"`
	Commit  uint64          `json:"commit_index"`
	Applied uint64          `json:"applied_index"`
	Time    time.Time       `json:"time"` // of its clock
	Peers   []Peer          `json:"peers"`
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

// TransferRequest hands the leadership over; to the best other voter if To is "".
type TransferRequest struct {
	To string `json:"to,omitempty"`
}
