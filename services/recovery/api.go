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
const ServiceName = "recovery"

// The verbs. Requests and answers are JSON, but for that of VerbObject. Errors come as
// those of NATS services do, with the codes of shared/control.
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
	VerifyFull     = "full"     // and with what a replay from the checkpoint before gives
)

// Target says which moment of an app's history is meant: a checkpoint, an instant or
// places in its logs, or the newest of all.
type Target struct {
	To state.Epoch `json:"to,omitempty"`
	// At is an instant (ms or RFC 3339) of each partition's clock, or places in the logs:
	// "seq:17", "seq:17.3" behind the third event of a frame, "seq:17.3,9" for two
	// partitions.
	At At `json:"at,omitempty"`
}

// At is text; in JSON it may be a number, too.
type At string

// UnmarshalJSON takes a string or a number.
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
	// Look says that nothing is to be restored: then the beginning of the log serves as
	// well as a checkpoint.
	Look bool `json:"look,omitempty"`
}

// What becomes of an app after a recovery.
const (
	AfterResume = control.Resume // it follows its log from the target
	AfterHold   = control.Hold   // it waits at the target
	AfterFork   = "fork"         // it goes on from its newest checkpoint, with the operators' state of the target
)

// Plan is what a recovery will do.
type Plan struct {
	App    string `json:"app"`
	Target string `json:"target"`
	Verify string `json:"verify"`
	After  string `json:"after"`
	// Checkpoint is the one that state is loaded from; 0: none, all of the log is replayed.
	Checkpoint state.Epoch           `json:"checkpoint"`
	Generation checkpoint.Generation `json:"generation"`
	Time       time.Time             `json:"time,omitzero"` // when it was opened
	PassedOver []PassedOver          `json:"passed_over,omitempty"`
	// Onto is the checkpoint whose other state stays, where not all of it is replaced.
	Onto       state.Epoch     `json:"onto,omitempty"`
	Components []PlanComponent `json:"components"`
	Partitions []PlanPartition `json:"partitions"`
	// Settings are those of the deployment, which tasks are rebuilt with.
	engine.Settings
	// Skipped are the records that the app passes over from now on, by partition.
	Skipped map[uint32][]checkpoint.Skipped `json:"skipped,omitempty"`
	// Runs and Objects are what is read, Bytes as stored, RawBytes uncompressed.
	Runs     int   `json:"runs"`
	Objects  int   `json:"objects"`
	Bytes    int64 `json:"bytes"`
	RawBytes int64 `json:"raw_bytes"`
	// Seconds is an estimate, and Basis what it rests on.
	Seconds  float64  `json:"estimated_seconds"`
	Basis    string   `json:"estimate_basis"`
	Warnings []string `json:"warnings,omitempty"`
	// Refused says why it would not be done; Next which command to run instead.
	Refused string `json:"refused,omitempty"`
	Next    string `json:"next,omitempty"`
}

// PassedOver is a checkpoint that does not serve.
type PassedOver struct {
	Epoch state.Epoch `json:"epoch"`
	Why   string      `json:"why"`
}

// PlanComponent is a component that a recovery touches.
type PlanComponent struct {
	ID         string   `json:"id"`
	Partitions []uint32 `json:"partitions"`
	// Role: named, all, dependency (pulled in), kept (needed, and fits as it is).
	Role string `json:"role"`
	Note string `json:"note,omitempty"`
}

// PlanPartition is the way of one partition to the target.
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
	// Exact: frames, events and bytes were counted, and not estimated by the first of them.
	Exact bool `json:"exact"`
}

// RestoreRequest takes an app, or some of its components, to another state.
type RestoreRequest struct {
	PlanRequest
	// ID distinguishes a new request from one that is repeated because its answer was lost:
	// with the same ID, the app starts at most one generation. Each request with "" is a new
	// one.
	ID     string `json:"id,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
	// Skip names records that cannot be applied, such as "17", or "2/17" in partition 2:
	// the app goes on in a new generation and passes over them.
	Skip []string `json:"skip,omitempty"`
	// Parallel is how many workers load; 0: as configured.
	Parallel int `json:"parallel,omitempty"`
}

// VerifyRequest asks whether a checkpoint is what it should be; 0 is the newest.
type VerifyRequest struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch,omitempty"`
	Level string      `json:"level,omitempty"` // checksum, full (the default)
}

// VerifyReport is what was found.
type VerifyReport struct {
	App   string      `json:"app"`
	Epoch state.Epoch `json:"epoch"`
	Level string      `json:"level"`
	Sound bool        `json:"sound"` // nothing was found
	// Proved: each component equals the result of a replay. From is the checkpoint that the
	// replay started from; 0: the start of the log.
	Proved   bool        `json:"proved"`
	From     state.Epoch `json:"from"`
	Unproved string      `json:"unproved,omitempty"` // why there could be no replay
	Problems []Problem   `json:"problems,omitempty"` // the first of each component
	Runs     int         `json:"runs"`
	Blocks   int         `json:"blocks"`
	Entries  int64       `json:"entries"`
	Bytes    int64       `json:"bytes"` // read
	Frames   uint64      `json:"frames"`
	Events   uint64      `json:"events"` // replayed
	Seconds  float64     `json:"seconds"`
}

// Problem is one thing that is wrong.
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
	Checkpoint state.Epoch      `json:"checkpoint"` // that it was rebuilt from
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

// Item is a row, a group or whatever a component has. Where the component cannot say,
// it is an entry, with key and value in hexadecimal.
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
	// Explain is an item's key, or an entry's as hex:…: the events that changed it are listed.
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
	More       bool            `json:"more,omitempty"` // of the causes
}

// ComponentDiff is what changed in one component of one partition.
type ComponentDiff struct {
	Partition uint32 `json:"partition"`
	Component string `json:"component"`
	Added     int    `json:"added"` // entries
	Removed   int    `json:"removed"`
	Changed   int    `json:"changed"`
	Same      int    `json:"same"`
	// Bytes of keys and values that were added, removed, or are there now instead of others.
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
	// Stream and Events are what arrived; none: time that passed.
	Stream string            `json:"stream,omitempty"`
	Events []json.RawMessage `json:"events,omitempty"`
	Clock  int64             `json:"clock"`
	Before json.RawMessage   `json:"before,omitempty"`
	After  json.RawMessage   `json:"after,omitempty"`
}

// JobRequest asks how a job is.
type JobRequest struct {
	Job string `json:"job"`
}

// Job is how a job is; it is also what is published while it runs.
type Job struct {
	Job   string `json:"job"`
	Kind  string `json:"kind"` // restore, verify
	App   string `json:"app"`
	State string `json:"state"` // running, done, failed
	Phase string `json:"phase"` // plan, verify, load, replay, store, restore, done
	// Bytes as stored, and frames of the logs. The totals grow while it becomes known what
	// is to be done.
	BytesDone   int64  `json:"bytes_done"`
	BytesTotal  int64  `json:"bytes_total"`
	FramesDone  uint64 `json:"frames_done"`
	FramesTotal uint64 `json:"frames_total"`
	// ETASeconds is an estimate of what is left.
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
}

// ObjectRequest asks for bytes of an object that checkpoints are made of, from an
// offset. The answer has them as they are, and in the header Ef-Bytes the object's size.
type ObjectRequest struct {
	Name   string `json:"name"` // runs/… or blocks/…
	Offset int64  `json:"offset"`
}
