package checkpointer

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// The prefixes of the reasons for an abort. causeOf recognizes them.
const (
	reasonLate    = "it was not prepared in time by "
	reasonBarrier = "a barrier could not be appended: "
	reasonStore   = "the manifest could not be stored: "
	reasonLeader  = "the leader changed"
	reasonTask    = "partition "
)

// loopMax is how long the leader's loop may be silent before it counts as stuck. It never
// blocks.
const loopMax = 30 * time.Second

// causes are the values of the label cause.
var causes = []string{"timeout", "barrier", "store", "leader", "task", "other"}

func causeOf(reason string) string {
	for i, prefix := range []string{reasonLate, reasonBarrier, reasonStore, reasonLeader, reasonTask} {
		if strings.HasPrefix(reason, prefix) {
			return causes[i]
		}
	}
	return "other"
}

// tally counts what this process has done as leader. It may be used concurrently.
type tally struct {
	mu sync.Mutex
	of map[string]*appTally
}

type appTally struct {
	opened, committed, trimmed uint64
	aborted                    map[string]uint64 // by cause
}

// app returns the tally of an app. The caller has the lock.
func (t *tally) app(name string) *appTally {
	if t.of == nil {
		t.of = map[string]*appTally{}
	}
	a := t.of[name]
	if a == nil {
		a = &appTally{aborted: map[string]uint64{}}
		t.of[name] = a
	}
	return a
}

// count counts the outcome of an effect.
func (t *tally) count(app string, e effect, m message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case m.kind == msgOpened && m.reason == "":
		t.app(app).opened++
	case m.kind == msgCommitted:
		t.app(app).committed++
	case m.kind == msgAborted:
		t.app(app).aborted[causeOf(e.reason)]++
	}
}

func (t *tally) trimmed(app string, frames uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.app(app).trimmed += frames
}

// appRow is an app as the leader sees it.
type appRow struct {
	*appState
	appTally
	now     time.Time
	running int // partitions whose tasks run
}

// Collectors returns the metrics of the service. Only the leader reports metrics of apps.
func (s *Service) Collectors() []prometheus.Collector {
	return []prometheus.Collector{s.raftTable(), s.appTable(), s.abortTable()}
}

func (s *Service) raftTable() prometheus.Collector {
	number := func(n func(*control.Status) uint64) func(*control.Status) float64 {
		return func(r *control.Status) float64 { return float64(n(r)) }
	}
	return metric.NewTable([]string{"member"},
		func(r *control.Status) []string { return []string{r.ID} },
		func() []control.Status { return []control.Status{s.cfg.Raft.Status()} },
		metric.Gauge("eventflux_raft_term", "Term of the group, as the member knows it.", number(func(r *control.Status) uint64 { return uint64(r.Term) })),
		metric.Gauge("eventflux_raft_leader", "1 for the member that leads, else 0.", func(r *control.Status) float64 { return metric.Bool(r.State == "leader") }),
		metric.Gauge("eventflux_raft_leader_known", "1 while the member knows a leader, else 0.", func(r *control.Status) float64 { return metric.Bool(r.Leader != "") }),
		metric.Gauge("eventflux_raft_commit_index", "Index of the newest entry that the group has agreed on.", number(func(r *control.Status) uint64 { return r.Commit })),
		metric.Gauge("eventflux_raft_applied_index", "Index of the newest entry that the member has applied.", number(func(r *control.Status) uint64 { return r.Applied })),
		metric.Gauge("eventflux_raft_members", "Members of the group.", func(r *control.Status) float64 { return float64(len(r.Peers)) }))
}

// rows returns the apps if this process leads.
func (s *Service) rows() []appRow {
	l := s.leading()
	if l == nil {
		return nil
	}
	apps := s.cfg.FSM.apps()
	rows := make([]appRow, 0, len(apps))
	for _, a := range apps {
		l.reports.addStates(a)
		r := appRow{appState: a, now: s.cfg.Now()}
		for _, o := range a.Owners {
			if o.State == control.TaskRunning {
				r.running++
			}
		}
		s.tally.mu.Lock()
		r.appTally = *s.tally.app(a.Name)
		r.aborted = maps.Clone(r.aborted)
		s.tally.mu.Unlock()
		rows = append(rows, r)
	}
	return rows
}

// newest makes a metric of a value of the newest checkpoint.
func newest(value func(r *appRow, k *committed) float64) func(*appRow) float64 {
	return func(r *appRow) float64 {
		if len(r.Committed) == 0 {
			return math.NaN()
		}
		return value(r, &r.Committed[len(r.Committed)-1])
	}
}

func (s *Service) appTable() prometheus.Collector {
	return metric.NewTable([]string{"app"}, func(r *appRow) []string { return []string{r.Name} }, s.rows,
		metric.Counter("eventflux_checkpoint_opened_total", "Epochs opened.", func(r *appRow) float64 { return float64(r.opened) }),
		metric.Counter("eventflux_checkpoint_completed_total", "Epochs committed.", func(r *appRow) float64 { return float64(r.committed) }),
		metric.Gauge("eventflux_checkpoint_aborted_in_a_row", "Epochs aborted since the newest that was committed.", func(r *appRow) float64 { return float64(r.abortedInARow()) }),
		metric.Gauge("eventflux_checkpoint_under_way", "1 while an epoch is open, else 0.", func(r *appRow) float64 { return metric.Bool(r.Open != nil) }),
		metric.Gauge("eventflux_checkpoint_last_epoch", "Newest committed epoch; 0 for none.", func(r *appRow) float64 { return float64(r.Checkpoint) }),
		metric.Gauge("eventflux_checkpoint_last_duration_seconds", "Time from opening to commit of the newest checkpoint.",
			newest(func(_ *appRow, k *committed) float64 { return k.Milliseconds / 1000 })),
		metric.Gauge("eventflux_checkpoint_last_incremental_bytes", "Bytes written for the newest checkpoint.", newest(func(_ *appRow, k *committed) float64 { return float64(k.Bytes) })),
		metric.Gauge("eventflux_checkpoint_last_full_bytes", "Bytes that the newest checkpoint refers to in the store: what a restore reads.",
			newest(func(_ *appRow, k *committed) float64 {
				if k.Stored == 0 {
					return math.NaN() // committed by an older version
				}
				return float64(k.Stored)
			})),
		metric.Gauge("eventflux_checkpoint_last_state_bytes", "State that the newest checkpoint covers, before compression.", newest(func(_ *appRow, k *committed) float64 { return float64(k.StateBytes) })),
		metric.Gauge("eventflux_checkpoint_last_age_seconds", "Time since the newest checkpoint was opened.", newest(func(r *appRow, k *committed) float64 { return r.now.Sub(k.Time).Seconds() })),
		metric.Gauge("eventflux_checkpoint_oldest_age_seconds", "Time since the oldest checkpoint that is retained was opened: how far back a restore can go.",
			newest(func(r *appRow, _ *committed) float64 { return r.now.Sub(r.Committed[0].Time).Seconds() })),
		metric.Gauge("eventflux_checkpoint_retained", "Checkpoints that are retained.", func(r *appRow) float64 { return float64(len(r.Committed)) }),
		metric.Counter("eventflux_checkpoint_trimmed_frames_total", "Frames dropped from the logs, below the oldest checkpoint.", func(r *appRow) float64 { return float64(r.trimmed) }),
		metric.Gauge("eventflux_app_partitions", "Partitions of the app.", func(r *appRow) float64 { return float64(r.Partitions) }),
		metric.Gauge("eventflux_app_running_partitions", "Partitions whose tasks run and have caught up with their logs.", func(r *appRow) float64 { return float64(r.running) }),
		metric.Gauge("eventflux_app_quarantined_partitions", "Partitions that no processor runs, since three processes in a row died of the same frame.",
			func(r *appRow) (n float64) {
				for i := range r.Deaths {
					n += metric.Bool(r.Deaths[i].Quarantined())
				}
				return n
			}))
}

func (s *Service) abortTable() prometheus.Collector {
	type row struct {
		app, cause string
		n          uint64
	}
	return metric.NewTable([]string{"app", "cause"}, func(r *row) []string { return []string{r.app, r.cause} },
		func() []row {
			var rows []row
			for _, a := range s.rows() {
				for _, c := range causes {
					rows = append(rows, row{a.Name, c, a.aborted[c]})
				}
			}
			return rows
		},
		metric.Counter("eventflux_checkpoint_aborted_total", "Epochs aborted, by cause.", func(r *row) float64 { return float64(r.n) }))
}

// abortedInARow counts the aborted epochs after the newest committed one.
func (a *appState) abortedInARow() (n int) {
	for _, x := range slices.Backward(a.Aborted) {
		if x.Epoch < a.Checkpoint {
			break
		}
		n++
	}
	return n
}

// Checks returns the checks for /healthz and /readyz.
func (s *Service) Checks() []obs.Check {
	return []obs.Check{
		{Name: "checkpointer loop", Ask: func() error { return s.beat.Check(loopMax) }},
		{Name: "raft leader", Of: obs.Ready, Ask: func() error {
			if s.cfg.Raft.LeaderID() == "" {
				return errors.New("no checkpointer leads; more than half of raft.peers must be up and reach each other")
			}
			if l := s.leading(); l == nil && s.cfg.Raft.LeaderID() == s.cfg.Raft.ID() {
				return fmt.Errorf("this checkpointer was elected, but has not started to lead yet")
			}
			return nil
		}},
	}
}
