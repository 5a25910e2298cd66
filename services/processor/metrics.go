package processor

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/services/processor/view"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

const (
	endsTimeout = time.Second // to ask for the ends of all logs
	endsAtOnce  = 8
	// heardMax is how long the checkpointer may be silent before the processor is not ready.
	// loopMax is how long the loop may be silent before it counts as stuck; it waits for tasks
	// that end.
	heardMax = 10 * time.Second
	loopMax  = 2 * time.Minute
)

func decimal(p uint32) string { return natsconn.Decimal(p) }

func newEmitted() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "eventflux_results_append_seconds", Help: "Time from sending results to the output stream until they are acknowledged as durable: round trip and fsync.",
		Buckets: prometheus.ExponentialBuckets(125e-6, 2, 16), // to 4 s
	}, []string{"app", "partition"})
}

// The kinds of writes that are refused after another task has taken the partition over.
const (
	refusedResults  = "results"  // by the output stream
	refusedPrepared = "prepared" // by the checkpointer: its part of a checkpoint
)

func newRefused() *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "eventflux_task_refused_writes_total", Help: "Writes of tasks that were refused because another one had taken their partition over, by what was written: results or prepared.",
	}, []string{"write"})
	for _, write := range []string{refusedResults, refusedPrepared} {
		c.WithLabelValues(write)
	}
	return c
}

// observed is a task with the values that only an observer computes.
type observed struct {
	TaskInfo
	lagSeconds float64
}

// observer collects the tasks for a scrape of the metrics.
type observer struct {
	s      *Service
	mu     sync.Mutex
	behind map[slot]sighting
}

// sighting is when an observer first saw that a task lags, and the frame it had applied.
type sighting struct {
	applied uint64
	at      time.Time
}

// Collectors returns the metrics of the service.
func (s *Service) Collectors() []prometheus.Collector {
	o := &observer{s: s, behind: map[slot]sighting{}}
	return []prometheus.Collector{s.emitted, s.refused, o.taskTable(), s.stateTable(), s.bucketTable(), s.viewTable()}
}

func (o *observer) taskTable() prometheus.Collector {
	type row = observed
	count := func(n func(*row) uint64) func(*row) float64 { return func(r *row) float64 { return float64(n(r)) } }
	return metric.NewTable([]string{"app", "partition"},
		func(r *row) []string { return []string{r.App, decimal(r.Partition)} }, o.tasks,
		metric.Gauge("eventflux_task_applied_sequence", "Log sequence of the newest frame applied.", count(func(r *row) uint64 { return r.Applied })),
		metric.Gauge("eventflux_task_log_end_sequence", "Last sequence of the log.", count(func(r *row) uint64 { return r.LogEnd })),
		metric.Gauge("eventflux_task_lag_frames", "Frames in the log that are not applied yet.", count((*row).lagFrames)),
		metric.Gauge("eventflux_task_lag_events", "Events in those frames, estimated from the frames applied of late.", (*row).lagEvents),
		metric.Gauge("eventflux_task_lag_seconds", "For how long the oldest frame that is not applied yet has been in the log; 0 if there is none.",
			func(r *row) float64 { return r.lagSeconds }),
		metric.Gauge("eventflux_task_lag_bytes", "Bytes of those frames, estimated from the frames applied of late.", (*row).lagBytes),
		metric.Gauge("eventflux_task_catch_up_seconds", "Time that the task needs to apply those frames, at its pace of late; ingest refuses events above ingest.lag_max.", (*row).catchUp),
		metric.Gauge("eventflux_task_over_limit", "1 while the task is over one of its limits and takes no events, else 0.",
			func(r *row) float64 { return metric.Bool(r.Over != "") }),
		metric.Gauge("eventflux_task_replay_frames", "Frames that the log had after the checkpoint when the task started: the replay distance.",
			count(func(r *row) uint64 { return r.ReplayFrames })),
		metric.Gauge("eventflux_task_restore_seconds", "Time from the start of the task until its state was restored.", func(r *row) float64 { return r.RestoreSeconds }),
		metric.Gauge("eventflux_task_replay_seconds", "Time from then until the task had caught up with its log; 0 until it has.", func(r *row) float64 { return r.ReplaySeconds }),
		metric.Counter("eventflux_task_frames_total", "Frames applied.", count(func(r *row) uint64 { return r.Frames })),
		metric.Counter("eventflux_task_events_total", "Events applied.", count(func(r *row) uint64 { return r.Events })),
		metric.Counter("eventflux_task_results_total", "Rows handed to the output stream.", count(func(r *row) uint64 { return r.Results })),
		metric.Counter("eventflux_task_duplicates_total", "Messages dropped because their Nats-Msg-Id was seen within dedup.window.",
			count(func(r *row) uint64 { return r.Duplicates })),
		metric.Counter("eventflux_task_repeated_frames_total", "Frames skipped because their writer had appended them before.", count(func(r *row) uint64 { return r.Repeated })),
		metric.Counter("eventflux_task_dropped_rows_total", "Rows that a window could not take, as they came too late or lack the time that it needs, and rows that a table refused.",
			count(func(r *row) uint64 { return r.Dropped })),
		metric.Counter("eventflux_task_late_events_total", "Events that came when the clock of the app had passed their time.", count(func(r *row) uint64 { return r.Late })),
		metric.Counter("eventflux_task_dead_letters_total", "Of those, events handed to the dead-letter stream, as no query reads them.", count(func(r *row) uint64 { return r.DeadLetters })),
		metric.Counter("eventflux_task_out_of_order_events_total", "Events applied after one of a later time, in a playback app without lateness.", count(func(r *row) uint64 { return r.OutOfOrder })),
		metric.Gauge("eventflux_task_waiting_events", "Events that wait for the clock to reach their time.", count(func(r *row) uint64 { return r.Waiting })),
		metric.Gauge("eventflux_task_app_version", "Version of the app that is in force; 0 before the first frame of the log.", count(func(r *row) uint64 { return r.Version })),
		metric.Gauge("eventflux_task_restored_epoch", "Checkpoint that the task started from; 0 for none.", count(func(r *row) uint64 { return r.Restored })),
		metric.Gauge("eventflux_task_committed_epoch", "Newest committed checkpoint that the task knows of.", count(func(r *row) uint64 { return r.Checkpoint })),
		metric.Counter("eventflux_task_unusable_checkpoints_total", "Checkpoints passed over for an older one at a start.", count(func(r *row) uint64 { return r.Unusable })),
		metric.Counter("eventflux_task_lineage_mismatches_total", "Starts that found another log than the one of the checkpoint.",
			count(func(r *row) uint64 { return r.LineageMismatches })),
		metric.Counter("eventflux_task_digest_mismatches_total", "Times that a state was not what its digest says: of a checkpoint that was restored, or of a standby beside its owner.",
			count(func(r *row) uint64 { return r.RestoreMismatches + r.Mismatches })),
		metric.Gauge("eventflux_task_state_bytes", "Memory of the state, estimated; ingest refuses events above processor.state_bytes_max.", func(r *row) float64 { return float64(r.StateBytes) }),
		metric.Gauge("eventflux_task_barrier_pause_seconds", "For how long the newest barrier kept the task from the next frame.", func(r *row) float64 { return r.PauseSeconds }),
		metric.Gauge("eventflux_task_save_seconds", "For how long the state of the newest barrier was being stored, beside the task.", func(r *row) float64 { return r.SaveSeconds }))
}

func (s *Service) bucketTable() prometheus.Collector {
	type row struct {
		task  TaskInfo
		state engine.BucketState
	}
	return metric.NewTable([]string{"app", "partition", "table"},
		func(r *row) []string { return []string{r.task.App, decimal(r.task.Partition), r.state.Table} },
		func() (rows []row) {
			for _, t := range s.Tasks() {
				for _, b := range t.Buckets {
					rows = append(rows, row{t, b})
				}
			}
			return rows
		},
		metric.Gauge("eventflux_table_rows", "Rows of a table that a KV bucket fills.", func(r *row) float64 { return float64(r.state.Rows) }),
		metric.Gauge("eventflux_table_load_rows", "Rows of the table's KV bucket that wait until all of them are in the log.", func(r *row) float64 { return float64(r.state.Waiting) }),
		metric.Gauge("eventflux_table_revision", "Newest revision of the KV bucket that the table has.", func(r *row) float64 { return float64(r.state.Revision) }),
		metric.Counter("eventflux_table_ignored_records_total", "Records of the table in the log that were not newer than the table.", func(r *row) float64 { return float64(r.state.Ignored) }))
}

func (s *Service) viewTable() prometheus.Collector {
	type row struct {
		task TaskInfo
		view view.Info
	}
	return metric.NewTable([]string{"app", "partition", "bucket"},
		func(r *row) []string { return []string{r.task.App, decimal(r.task.Partition), r.view.Bucket} },
		func() (rows []row) {
			for _, t := range s.Tasks() {
				for _, v := range t.Views {
					rows = append(rows, row{t, v})
				}
			}
			return rows
		},
		metric.Gauge("eventflux_view_following", "1 while the KV bucket of a view follows the results, 0 while it is filled or waits.", func(r *row) float64 { return metric.Bool(r.view.State == view.Following) }),
		metric.Gauge("eventflux_view_lag_results", "Results that the view has not read yet, at its last write.", func(r *row) float64 { return float64(r.view.Lag) }),
		metric.Counter("eventflux_view_written_total", "Values and deletes that the view has written to its KV bucket.", func(r *row) float64 { return float64(r.view.Written) }),
		metric.Counter("eventflux_view_foreign_writes_total", "Writes of others to the KV bucket of the view.", func(r *row) float64 { return float64(r.view.Foreign) }),
		metric.Counter("eventflux_view_unkeyed_rows_total", "Rows of earlier versions of the app whose key the view cannot read.", func(r *row) float64 { return float64(r.view.Unkeyed) }))
}

func (s *Service) stateTable() prometheus.Collector {
	type row struct {
		TaskInfo
		state control.TaskState
	}
	all := []control.TaskState{control.TaskStarting, control.TaskReplaying, control.TaskRunning, control.TaskStandby, control.TaskHeld, control.TaskHalted, control.TaskFenced, control.TaskDrained, control.TaskStopped}
	return metric.NewTable([]string{"app", "partition", "state"},
		func(r *row) []string { return []string{r.App, decimal(r.Partition), string(r.state)} },
		func() []row {
			var rows []row
			for _, t := range s.Tasks() {
				for _, p := range all {
					rows = append(rows, row{t, p})
				}
			}
			return rows
		},
		metric.Gauge("eventflux_task_state", "1 for the state that the task is in, 0 for the others.",
			func(r *row) float64 { return metric.Bool(r.State == r.state) }))
}

func (r *observed) lagFrames() uint64 { return r.LogEnd - min(r.Applied, r.LogEnd) }

func (r *observed) lagEvents() float64 {
	if r.flow.FrameEvents == 0 { // the task has applied nothing yet, so there is no better estimate
		return float64(r.lagFrames())
	}
	return math.Round(r.flow.Waiting(r.LogEnd))
}

func (r *observed) lagBytes() float64 { return math.Round(r.frameBytes * float64(r.lagFrames())) }

func (r *observed) catchUp() float64 {
	return r.flow.Lag(r.flow.Waiting(r.LogEnd)).Seconds()
}

// tasks returns the states of the tasks, with the current ends of their logs from the server:
// a stuck task does not know its own.
func (o *observer) tasks() []observed {
	infos := o.s.Tasks()
	ctx, cancel := context.WithTimeout(context.Background(), endsTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(endsAtOnce)
	for i := range infos {
		group.Go(func() error {
			t := &infos[i]
			if end, err := lastSequence(ctx, o.s.cfg.Conn, natsconn.WALStream(t.App, t.Partition)); err == nil {
				t.LogEnd = max(t.LogEnd, end)
			}
			return nil // without an answer, use the end that the task knows
		})
	}
	_ = group.Wait()
	rows := make([]observed, len(infos))
	for i := range infos {
		rows[i] = observed{TaskInfo: infos[i]}
		rows[i].lagSeconds = o.lag(&rows[i], time.Now())
	}
	return rows
}

// lag returns how long the oldest frame that is not applied has waited, in seconds.
func (o *observer) lag(r *observed, now time.Time) float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := slot{r.App, r.Partition}
	if r.lagFrames() == 0 {
		delete(o.behind, at)
		return 0
	}
	seen, ok := o.behind[at]
	if !ok || seen.applied != r.Applied {
		seen = sighting{r.Applied, now}
		o.behind[at] = seen
	}
	since := seen.at
	if !r.atHand.IsZero() && r.atHand.Before(since) {
		since = r.atHand
	}
	return max(0, now.Sub(since).Seconds()) // the server's clock may be ahead
}

// Checks returns the checks for /healthz and /readyz.
func (s *Service) Checks() []obs.Check {
	return []obs.Check{
		{Name: "processor loop", Ask: func() error { return s.beat.Check(loopMax) }},
		{Name: "checkpointer answers the processor", Of: obs.Ready, Ask: func() error {
			if s.cfg.Control != nil && !s.heard.Within(heardMax) {
				return fmt.Errorf("it has not within %s; see eventflux checkpointer status", heardMax)
			}
			return nil
		}},
		{Name: "tasks", Of: obs.Ready, Ask: s.tasksRun},
		{Name: "tasks within their limits", Of: obs.Warning, Ask: s.tasksFit},
	}
}

// tasksFit returns nil if no task is over one of its limits.
func (s *Service) tasksFit() error {
	for _, t := range s.Tasks() {
		if t.Over != "" {
			return fmt.Errorf("app %s, partition %d takes no events: %s", t.App, t.Partition, t.Over)
		}
	}
	return nil
}

// tasksRun returns nil if every task has caught up with its log once.
func (s *Service) tasksRun() error {
	for _, t := range s.Tasks() {
		switch t.State {
		case control.TaskHalted:
			return fmt.Errorf("app %s, partition %d has halted: %s", t.App, t.Partition, t.Error)
		case control.TaskStarting, control.TaskReplaying, control.TaskFenced:
			return fmt.Errorf("app %s, partition %d is %s", t.App, t.Partition, t.State)
		case control.TaskRunning, control.TaskStandby, control.TaskHeld, control.TaskDrained, control.TaskStopped:
		}
	}
	return nil
}
