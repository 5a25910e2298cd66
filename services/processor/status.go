package processor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/processor/view"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// status is the part of a task that other goroutines may read while it runs.
type status struct {
	changed func() // called when the state has changed

	mu    sync.Mutex
	state control.TaskState
	err   error

	box        atomic.Pointer[outbox] // nil if the task does not own its partition
	applied    atomic.Uint64          // sequence of the newest frame applied
	events     atomic.Uint64
	duplicates atomic.Uint64 // messages dropped for their id
	repeated   atomic.Uint64 // frames that their writer had appended before
	results    atomic.Uint64 // rows handed to the output stream
	dropped    atomic.Uint64 // rows that a window or a table could not take
	refused    atomic.Pointer[[]engine.RefusedRows]
	buckets    atomic.Pointer[[]engine.BucketState]

	late        atomic.Uint64 // events that came when the clock had passed their time
	outOfOrder  atomic.Uint64 // events applied after one of a later time
	waiting     atomic.Uint64 // events that wait for their time now
	deadLetters atomic.Uint64

	generation atomic.Uint64
	version    atomic.Uint64 // of the app, in force
	restored   atomic.Uint64 // epoch of the checkpoint that the task started from
	unusable   atomic.Uint64 // newer checkpoints that were passed over, since the process started
	committed  atomic.Uint64 // epoch of the newest checkpoint
	promoted   atomic.Bool
	mismatches atomic.Uint64 // barriers where a standby's state differed from the owner's
	pause      atomic.Int64  // of the task at the newest barrier, ns
	saved      atomic.Int64  // how long it took until the newest part was durable, ns
	bytes      atomic.Int64  // of the state, estimated
	lineage    atomic.Uint64 // starts that found another log than the checkpoint's
	damaged    atomic.Uint64 // checkpoints that restored another state than was cut

	frames atomic.Uint64
	tail   atomic.Uint64 // the log's last sequence, as far as the task knows
	atHand atomic.Int64  // when the server stored the frame that is being applied, ms; 0: none is
	replay atomic.Uint64 // frames after the checkpoint at the takeover

	owner atomic.Bool            // the task has its partition, and does not stand by
	pace  pace                   // what frames cost
	over  atomic.Pointer[string] // the limit that the task exceeds; nil for none

	restoring atomic.Int64 // how long the start took until the log could be replayed, ns
	replaying atomic.Int64 // and the replay after it, ns; 0 until it is over
}

func (s *status) set(to control.TaskState, err error) {
	s.mu.Lock()
	s.state, s.err = to, err
	s.mu.Unlock()
	s.changed()
}

func (s *status) is() control.TaskState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// caughtUp records that the task has applied all known frames of its log.
func (s *status) caughtUp() {
	if s.is() == control.TaskReplaying {
		s.set(control.TaskRunning, nil)
	}
}

func (s *status) count(seq uint64, done engine.Applied, results int, core *engine.Task) {
	s.applied.Store(seq)
	s.frames.Add(1)
	s.events.Add(uint64(done.Events))
	s.duplicates.Add(uint64(done.Duplicates))
	s.results.Add(uint64(results))
	if dropped := core.Dropped(); dropped != s.dropped.Load() {
		list := core.RefusedRows()
		s.refused.Store(&list)
		s.dropped.Store(dropped)
	}
	if done.Repeated {
		s.repeated.Add(1)
	}
	if list := core.Buckets(); list != nil {
		s.buckets.Store(&list)
	}
}

func (s *status) setTimes(t engine.Times) {
	s.late.Store(t.Late)
	s.outOfOrder.Store(t.OutOfOrder)
	s.waiting.Store(t.Waiting)
}

// TaskInfo is a task as ef.processor.tasks lists it.
type TaskInfo struct {
	App       string            `json:"app"`
	Partition uint32            `json:"partition"`
	State     control.TaskState `json:"state"`
	// Error says why the task has halted.
	Error string `json:"error,omitempty"`
	// Applied is the log sequence of the newest frame applied.
	Applied uint64 `json:"applied"`
	// Generation is the generation of the app that the task runs.
	Generation uint64 `json:"generation"`
	// Version is the version of the app that is in force.
	Version uint64 `json:"version"`
	Events  uint64 `json:"events"`
	// Results counts the rows handed to the output stream since the start.
	Results uint64 `json:"results"`
	// Duplicates counts the messages that were dropped for their Nats-Msg-Id.
	Duplicates uint64 `json:"duplicates"`
	// Dropped counts the rows that a window could not take, because they came too late or lack
	// the time that it needs, and those that a table refused.
	Dropped uint64 `json:"dropped"`
	// Buckets says how far the tables follow the KV buckets that fill them.
	Buckets []engine.BucketState `json:"buckets,omitempty"`
	// Views says how far the views of the partition are.
	Views []view.Info `json:"views,omitempty"`
	// Refused has the rows that tables refused since the task started, by query.
	Refused []engine.RefusedRows `json:"refused,omitempty"`
	// Late counts the events since the start that came when the app's clock had passed
	// their time, DeadLetters those of them that no query asks for. OutOfOrder counts the
	// events that were applied after one of a later time, in an app without lateness.
	Late        uint64 `json:"late"`
	DeadLetters uint64 `json:"dead_letters"`
	OutOfOrder  uint64 `json:"out_of_order"`
	// Waiting is how many events wait now for the clock to reach their time.
	Waiting uint64 `json:"waiting"`
	// Repeated counts the frames that their writer had appended before.
	Repeated uint64 `json:"repeated_frames"`
	// Restored is the epoch of the checkpoint that the task started from; 0: none.
	Restored uint64 `json:"restored_checkpoint"`
	// Unusable counts the newer checkpoints that could not be used at a start.
	Unusable uint64 `json:"unusable_checkpoints"`
	// Checkpoint is the newest committed epoch that the task knows of.
	Checkpoint uint64 `json:"checkpoint"`
	// Promoted says that the task stood by before it took the partition over.
	Promoted bool `json:"promoted"`
	// Mismatches counts the barriers where the state of a standby differed from the owner's.
	Mismatches uint64 `json:"digest_mismatches"`
	// PauseSeconds is how long the newest barrier kept the task from the next frame,
	// SaveSeconds how long its state took to be durable beside the task.
	PauseSeconds float64 `json:"barrier_pause_seconds"`
	SaveSeconds  float64 `json:"save_seconds"`
	// StateBytes estimates the memory of the state.
	StateBytes int64 `json:"state_bytes"`
	// Frames counts those applied since the start.
	Frames uint64 `json:"frames"`
	// LogEnd is the log's last sequence, as far as the task knows.
	LogEnd uint64 `json:"log_end"`
	// ReplayFrames is how many frames the log had after the checkpoint at the start.
	ReplayFrames uint64 `json:"replay_frames"`
	// RestoreSeconds is how long the start took until the task could replay,
	// ReplaySeconds how long the replay took after that; 0 until it is over.
	RestoreSeconds float64 `json:"restore_seconds"`
	ReplaySeconds  float64 `json:"replay_seconds"`
	// LineageMismatches counts the starts that found another log than the checkpoint's,
	// RestoreMismatches the starts where a checkpoint restored another state than was cut.
	LineageMismatches uint64 `json:"lineage_mismatches"`
	RestoreMismatches uint64 `json:"restore_mismatches"`

	// LagSeconds is how long the task needs for the rest of its log, at its recent pace; ingest
	// bounds it by ingest.lag_max. LagBytes estimates the size of that rest.
	LagSeconds float64 `json:"lag_seconds"`
	LagBytes   int64   `json:"lag_bytes"`
	// Over names the limit that the task exceeds; while it does, ingest refuses events.
	Over string `json:"over,omitempty"`

	atHand     time.Time // when the server stored the frame that is being applied; zero: none is
	flow       control.Flow
	frameBytes float64 // mean of the frames applied of late
}

// Alive reports whether the task applies frames, or is about to.
func (t *TaskInfo) Alive() bool {
	switch t.State {
	case control.TaskStarting, control.TaskReplaying, control.TaskRunning, control.TaskHeld:
		return true
	case control.TaskStandby, control.TaskHalted, control.TaskFenced, control.TaskDrained, control.TaskStopped:
	}
	return false
}

// Tasks returns the states of the tasks, in the order of apps and partitions.
func (s *Service) Tasks() []TaskInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]TaskInfo, 0, len(s.tasks))
	for _, t := range s.tasks {
		infos = append(infos, t.info())
	}
	slices.SortFunc(infos, func(x, y TaskInfo) int {
		return cmp.Or(cmp.Compare(x.App, y.App), cmp.Compare(x.Partition, y.Partition))
	})
	return infos
}

func (t *task) info() TaskInfo {
	s := &t.status
	s.mu.Lock()
	defer s.mu.Unlock()
	info := TaskInfo{
		App: t.plan.Name, Partition: t.partition, State: s.state,
		Applied: s.applied.Load(), Events: s.events.Load(), Results: s.results.Load(),
		Duplicates: s.duplicates.Load(), Dropped: s.dropped.Load(),
		Late: s.late.Load(), DeadLetters: s.deadLetters.Load(), OutOfOrder: s.outOfOrder.Load(), Waiting: s.waiting.Load(), Repeated: s.repeated.Load(),
		Generation: s.generation.Load(), Version: s.version.Load(), Restored: s.restored.Load(), Unusable: s.unusable.Load(), Checkpoint: s.committed.Load(),
		Promoted: s.promoted.Load(), Mismatches: s.mismatches.Load(),
		PauseSeconds: seconds(&s.pause), SaveSeconds: seconds(&s.saved), StateBytes: s.bytes.Load(),
		Frames: s.frames.Load(), LogEnd: max(s.tail.Load(), s.applied.Load()), ReplayFrames: s.replay.Load(),
		RestoreSeconds: seconds(&s.restoring), ReplaySeconds: seconds(&s.replaying),
		LineageMismatches: s.lineage.Load(), RestoreMismatches: s.damaged.Load(),
		Views: t.views.infos(),
	}
	if list := s.refused.Load(); list != nil {
		info.Refused = *list
	}
	if list := s.buckets.Load(); list != nil {
		info.Buckets = *list
	}
	f, frameBytes := s.flow(time.Now())
	info.Over, info.LagSeconds = f.Over, f.Lag(f.Waiting(0)).Seconds()
	info.LagBytes = int64(frameBytes * float64(f.LogEnd-f.Applied))
	info.flow, info.frameBytes = f, frameBytes
	if ms := s.atHand.Load(); ms != 0 {
		info.atHand = time.UnixMilli(ms)
	}
	if s.err != nil {
		info.Error = s.err.Error()
	}
	return info
}

func seconds(ns *atomic.Int64) float64 { return time.Duration(ns.Load()).Seconds() }

// announce registers the service with the NATS service registry. Its endpoint
// ef.processor.tasks lists the tasks as JSON.
func (s *Service) announce() (micro.Service, error) {
	const name = "processor"
	info, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name: natsconn.ServiceName(name), Version: s.cfg.Version, Metadata: natsconn.Where(s.cfg.Metadata),
		Description:  "runs the tasks of apps",
		StatsHandler: func(*micro.Endpoint) any { return s.Tasks() },
	})
	if err != nil {
		return nil, fmt.Errorf("announce service: %w", err)
	}
	err = info.AddEndpoint("tasks", micro.HandlerFunc(s.answerTasks),
		micro.WithEndpointSubject(natsconn.ServiceSubject(name, "tasks")),
		micro.WithEndpointQueueGroupDisabled())
	if err != nil {
		_ = info.Stop()
		return nil, fmt.Errorf("announce endpoint tasks: %w", err)
	}
	return info, nil
}

func (s *Service) answerTasks(r micro.Request) {
	data, err := json.Marshal(map[string]any{"processor": s.cfg.ID, "time": time.Now().UTC(), "tasks": s.Tasks()})
	if err != nil {
		_ = r.Error("500", err.Error(), nil)
		return
	}
	_ = r.Respond(data) // the requester may be gone
}
