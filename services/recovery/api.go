package recovery

import (
	"encoding/json"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// ServiceName is the service's name in subjects: ef.recovery.<verb>.
const ServiceName = control.RecoveryService

// The verbs. Requests and answers are JSON, except the answer to VerbObject. Errors are
// errors of a NATS service, with the codes of shared/control.
const (
	VerbPlan    = "plan"    // PlanRequest → Plan
	VerbRestore = "restore" // RestoreRequest → Job, or with dry_run Plan
	VerbVerify  = "verify"  // VerifyRequest → Job, whose result is a VerifyReport
	VerbState   = "state"   // StateRequest → State
	VerbDiff    = "diff"    // DiffRequest → Diff
	VerbJob     = "job"     // JobRequest → Job
	VerbObject  = "object"  // ObjectRequest → bytes of the store
)

// Levels of verification.
const (
	VerifyNone     = "none"
	VerifyChecksum = "checksum" // everything is read and compared with hashes and digests
	VerifyFull     = "full"     // and with the result of a replay from an earlier checkpoint
)

// Target is a point in an app's history: a checkpoint, an instant, positions in its logs,
// or, if it is empty, the end of the logs.
type Target struct {
	To state.Epoch `json:"to,omitempty"`
	// At is an instant (ms or RFC 3339) of each partition's clock, or positions in the logs:
	// "seq:17", "seq:17.3" for after the third event of a frame, "seq:17.3,9" for two
	// partitions. It may also be positions of results, such as "17.0" or "1:17.0".
	At At `json:"at,omitempty"`
}

// At is a string; in JSON it may also be a number.
type At string

// UnmarshalJSON accepts a string or a number.
func (a *At) UnmarshalJSON(data []byte) error {
	var number json.Number
	if json.Unmarshal(data, &number) == nil {
		*a = At(number.String())
		return nil
	}
	return json.Unmarshal(data, (*string)(a))
}

// PlanRequest asks what a recovery would do.
type PlanRequest struct {
	App string `json:"app"`
	Target
	// Components are ids, such as query1/window, or with the partition in front,
	// 0/query1/window. None: all.
	Components []string `json:"components,omitempty"`
	Verify     string   `json:"verify,omitempty"` // none, checksum (the default), full
	After      string   `json:"after,omitempty"`  // resume (the default), hold, fork
	// Look says that nothing will be restored. Then a replay may also start from the start
	// of the log instead of a checkpoint.
	Look bool `json:"look,omitempty"`
	// KeepVersion keeps the version of the app that is in force at the target. Without it, later
	// versions come into force again when their frames in the log are applied.
	KeepVersion bool `json:"keep_version,omitempty"`
}

// The states of an app after a recovery.
const (
	AfterResume = control.Resume // it follows its log from the target
	AfterHold   = control.Hold   // it waits at the target
	AfterFork   = "fork"         // it continues from its newest checkpoint, with the operators' state of the target
)

// Plan describes what a recovery will do.
type Plan struct {
	App    string `json:"app"`
	Target string `json:"target"`
	Verify string `json:"verify"`
	After  string `json:"after"`
	// Checkpoint is the checkpoint to load; 0 means none: the whole log is replayed.
	Checkpoint state.Epoch           `json:"checkpoint"`
	Generation checkpoint.Generation `json:"generation"`
	Time       time.Time             `json:"time,omitzero"` // when it was opened
	PassedOver []PassedOver          `json:"passed_over,omitempty"`
	// Onto is the checkpoint that keeps its other state, if only components are replaced.
	Onto       state.Epoch     `json:"onto,omitempty"`
	Components []PlanComponent `json:"components"`
	Partitions []PlanPartition `json:"partitions"`
	// Settings are the settings of the deployment. Tasks are rebuilt with them.
	engine.Settings
	// Skipped are the records that the app skips from now on, by partition.
	Skipped map[uint32][]checkpoint.Skipped `json:"skipped,omitempty"`
	// Keeps is the version that stays in force, although the log has later ones up to Newest;
	// 0: later versions come into force again.
	Keeps  uint32 `json:"keeps_version,omitempty"`
	Newest uint32 `json:"newest_version,omitempty"`
	// Runs and Objects count what is read from the store: Bytes as stored, RawBytes
	// uncompressed.
	Runs     int   `json:"runs"`
	Objects  int   `json:"objects"`
	Bytes    int64 `json:"bytes"`
	RawBytes int64 `json:"raw_bytes"`
	// Seconds is an estimate, and Basis says how it was made.
	Seconds  float64  `json:"estimated_seconds"`
	Basis    string   `json:"estimate_basis"`
	Warnings []string `json:"warnings,omitempty"`
	// Refused says why the plan cannot be carried out, and Next which command to run instead.
	Refused string `json:"refused,omitempty"`
	Next    string `json:"next,omitempty"`
}

// PassedOver is a checkpoint that cannot be used.
type PassedOver struct {
	Epoch state.Epoch `json:"epoch"`
	Why   string      `json:"why"`
}

// PlanComponent is a component that a recovery involves.
type PlanComponent struct {
	ID         string   `json:"id"`
	Partitions []uint32 `json:"partitions"`
	// Role: named, all, dependency (pulled in), kept (needed, but fits unchanged).
	Role string `json:"role"`
	Note string `json:"note,omitempty"`
}

// PlanPartition is the replay of one partition to the target.
type PlanPartition struct {
	Partition uint32 `json:"partition"`
	// Barrier is the log sequence after which the replay starts, Target its end, and LogEnd
	// the last sequence of the log.
	Barrier uint64           `json:"barrier"`
	Target  rebuild.Position `json:"target"`
	LogEnd  uint64           `json:"log_end"`
	Clock   int64            `json:"clock"` // at the barrier, ms
	Frames  uint64           `json:"frames"`
	Events  uint64           `json:"events"`
	Bytes   int64            `json:"bytes"`
	// Exact: frames, events and bytes were counted, not extrapolated from the first frames.
	Exact bool `json:"exact"`
}

// RestoreRequest takes an app, or some of its components, to another state.
type RestoreRequest struct {
	PlanRequest
	// ID makes a repeated request harmless, for example if its answer was lost: with the same
	// ID, the app starts at most one generation. Each request with "" is a new one.
	ID     string `json:"id,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Skip names records that cannot be applied, such as "17", or "2/17" in partition 2.
	// The app continues in a new generation without them.
	Skip []string `json:"skip,omitempty"`
	// Parallel is how many workers load state; 0: as configured.
	Parallel int `json:"parallel,omitempty"`
}

// VerifyRequest asks to verify a checkpoint; epoch 0 is the newest.
type VerifyRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch,omitempty"`
	Level string      `json:"level,omitempty"` // checksum, full (the default)
}

// VerifyReport is the result of a verification.
type VerifyReport struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
	Level string      `json:"level"`
	Sound bool        `json:"sound"` // there are no problems
	// Proved: each component equals the result of a replay. From is the checkpoint that the
	// replay started from; 0: the start of the log.
	Proved   bool        `json:"proved"`
	From     state.Epoch `json:"from"`
	Unproved string      `json:"unproved,omitempty"` // why no replay was possible
	Problems []Problem   `json:"problems,omitempty"` // the first of each component
	Runs     int         `json:"runs"`
	Blocks   int         `json:"blocks"`
	Entries  int64       `json:"entries"`
	Bytes    int64       `json:"bytes"` // read
	Frames   uint64      `json:"frames"`
	Events   uint64      `json:"events"` // replayed
	Seconds  float64     `json:"seconds"`
}

// Problem is something wrong with a checkpoint.
type Problem struct {
	Partition uint32 `json:"partition"`
	Object    string `json:"object,omitempty"` // name in the store
	Component string `json:"component,omitempty"`
	Key       string `json:"key,omitempty"` // of an entry, in hexadecimal
	Item      string `json:"item,omitempty"`
	What      string `json:"what"`
}

// StateRequest asks for the content of a component.
type StateRequest struct {
	App       string `json:"app"`
	Component string `json:"component"` // or with the partition in front, as 0/query1/window
	Key       string `json:"key,omitempty"`
	Target           // none: the end of the log
	Limit     int    `json:"limit,omitempty"` // items; 0 is 1,000
}

// State is the content of a component.
type State struct {
	App        string           `json:"app"`
	Component  string           `json:"component"`
	Type       string           `json:"type"`
	Checkpoint state.Epoch      `json:"checkpoint"` // the state was rebuilt from it; 0: from the start of the log
	Partitions []StatePartition `json:"partitions"`
}

// StatePartition is the content of a component in one partition.
type StatePartition struct {
	Partition uint32           `json:"partition"`
	At        rebuild.Position `json:"at"`
	Clock     int64            `json:"clock"` // ms
	Digest    state.Digest     `json:"digest"`
	Entries   int              `json:"entries"`
	Items     []Item           `json:"items"`
	More      bool             `json:"more,omitempty"` // there are items that are not shown
}

// Item is a row, a group or another item of a component. If the component cannot list its
// items, it is an entry, with key and value in hexadecimal.
type Item struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// DiffRequest asks what changed from one checkpoint to another.
type DiffRequest struct {
	App        string      `json:"app"`
	From       state.Epoch `json:"from"`
	To         state.Epoch `json:"to"`
	Components []string    `json:"components,omitempty"`
	// Explain is the key of an item, or of an entry as hex:…. The diff lists the events that
	// changed it.
	Explain string `json:"explain,omitempty"`
	Limit   int    `json:"limit,omitempty"` // changes of each component, and causes; 0 is 100
}

// Diff is what changed.
type Diff struct {
	App        string          `json:"app"`
	From       state.Epoch     `json:"from"`
	To         state.Epoch     `json:"to"`
	Components []ComponentDiff `json:"components"`
	Explained  []Cause         `json:"explained,omitempty"`
	More       bool            `json:"more,omitempty"` // there are causes that are not listed
}

// ComponentDiff is what changed in one component of one partition.
type ComponentDiff struct {
	Partition uint32 `json:"partition"`
	Component string `json:"component"`
	Added     int    `json:"added"` // entries
	Removed   int    `json:"removed"`
	Changed   int    `json:"changed"`
	Same      int    `json:"same"`
	// Bytes of the keys and values of added, removed and changed entries (the new values).
	Bytes   int64    `json:"bytes"`
	Changes []Change `json:"changes,omitempty"`
	More    bool     `json:"more,omitempty"`
}

// Change is an item, or an entry in hexadecimal, that was added (no before), removed (no
// after) or changed.
type Change struct {
	Key    string          `json:"key"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
}

// Cause is a step of a task that changed an entry.
type Cause struct {
	Partition uint32           `json:"partition"`
	Component string           `json:"component"`
	At        rebuild.Position `json:"at"`
	Frame     string           `json:"frame"` // its kind
	// Stream and Events are the events that arrived; none means that time passed.
	Stream string            `json:"stream,omitempty"`
	Events []json.RawMessage `json:"events,omitempty"`
	Clock  int64             `json:"clock"`
	Before json.RawMessage   `json:"before,omitempty"`
	After  json.RawMessage   `json:"after,omitempty"`
}

// JobRequest asks for the state of a job.
type JobRequest struct {
	Job string `json:"job"`
}

// JobState is what has become of a job.
type JobState string

// The states of a job.
const (
	JobRunning JobState = "running"
	JobDone    JobState = "done"
	JobFailed  JobState = "failed"
)

// Job is the state of a job. It is also published while the job runs.
type Job struct {
	Job   string   `json:"job"`
	Kind  string   `json:"kind"` // restore, verify
	App   string   `json:"app"`
	State JobState `json:"state"`
	Phase string   `json:"phase"` // plan, verify, load, replay, store, restore, done
	// Bytes as stored, and frames of the logs. The totals grow as the job finds out what it
	// has to do.
	BytesDone   int64  `json:"bytes_done"`
	BytesTotal  int64  `json:"bytes_total"`
	FramesDone  uint64 `json:"frames_done"`
	FramesTotal uint64 `json:"frames_total"`
	// ETASeconds is an estimate of the remaining time.
	ETASeconds float64         `json:"eta_seconds"`
	Started    time.Time       `json:"started"`
	Updated    time.Time       `json:"updated"`
	Error      string          `json:"error,omitempty"`
	Next       string          `json:"next,omitempty"` // the command to run
	Result     json.RawMessage `json:"result,omitempty"`
}

// RestoreResult is the result of a restore.
type RestoreResult struct {
	Plan       *Plan                 `json:"plan"`
	Verified   *VerifyReport         `json:"verified,omitempty"`
	Generation checkpoint.Generation `json:"generation"`
	Epoch      state.Epoch           `json:"epoch"`
	// Version is the app's new version, if the restore keeps an older one.
	Version uint32 `json:"version,omitempty"`
}

// ObjectRequest asks for the bytes of a run or a block, from an offset. The answer holds
// the raw bytes, and the header Ef-Bytes has the size of the object.
type ObjectRequest struct {
	Name   string `json:"name"` // runs/…, blocks/… or packs/…
	Offset int64  `json:"offset"`
}
