package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Phases of a job.
const (
	phasePlan    = "plan"
	phaseVerify  = "verify"
	phaseLoad    = "load"
	phaseReplay  = "replay"
	phaseStore   = "store"
	phaseRestore = "restore"
	phaseDone    = "done"
)

// Kinds of jobs.
const (
	kindRestore = "restore"
	kindVerify  = "verify"
)

const (
	jobsKeptMax  = 256
	jobKept      = time.Hour
	jobsMax      = 16 // running
	publishEvery = 200 * time.Millisecond
	// passOnTimeout is how long a request waits for the process that runs its job.
	passOnTimeout = 3 * time.Second
)

// jobs keeps the jobs of this process. A job is kept for an hour after it ended.
type jobs struct {
	s      *Service
	mu     sync.Mutex
	byID   map[string]*job
	order  []string // in the order of their start
	number uint64
	ended  map[string]endedJobs // by kind
}

type endedJobs struct{ done, failed uint64 }

func newJobs(s *Service) *jobs {
	return &jobs{s: s, byID: map[string]*job{}, ended: map[string]endedJobs{}}
}

// count counts a job that has ended.
func (j *jobs) count(kind string, failed bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.ended[kind]
	if failed {
		e.failed++
	} else {
		e.done++
	}
	j.ended[kind] = e
}

// job is a job that runs or has ended.
type job struct {
	s  *Service
	mu sync.Mutex
	at Job
	e  *rebuildRun // of the current phase
}

// start starts a job. The job ends when life does, at the latest.
func (j *jobs) start(life context.Context, work *sync.WaitGroup, kind, app string, run func(context.Context, *job) (any, error)) (*Job, error) {
	one, err := j.add(kind, app)
	if err != nil {
		return nil, err
	}
	first := one.show()
	work.Go(func() {
		ctx, cancel := context.WithCancel(life)
		var publishing sync.WaitGroup
		publishing.Go(func() { one.publishLoop(ctx) })
		result, err := run(ctx, one)
		cancel()
		publishing.Wait()
		one.end(result, err)
	})
	return first, nil
}

func (j *jobs) add(kind, app string) (*job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := j.s.cfg.Now()
	running := 0
	j.order = slices.DeleteFunc(j.order, func(id string) bool {
		at := j.byID[id].show()
		if at.State == JobRunning {
			running++
			return false
		}
		old := now.Sub(at.Updated) > jobKept || len(j.byID) >= jobsKeptMax
		if old {
			delete(j.byID, id)
		}
		return old
	})
	if running >= jobsMax {
		return nil, failure(control.CodeUnavailable, "%d jobs are running; wait until one has ended", running)
	}
	j.number++
	id := fmt.Sprintf("%s-%d", j.s.id, j.number)
	one := &job{s: j.s, at: Job{Job: id, Kind: kind, App: app, State: JobRunning, Phase: phasePlan, Started: now, Updated: now}}
	j.byID[id], j.order = one, append(j.order, id)
	return one, nil
}

func (j *jobs) get(id string) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.byID[id]
}

// show returns the state of the job.
func (j *job) show() *Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.e != nil && j.at.State == JobRunning {
		j.at.BytesDone, j.at.FramesDone = j.e.bytes.Load(), j.e.frames.Load()
		j.at.BytesTotal, j.at.FramesTotal = j.e.bytesTotal.Load(), j.e.framesTotal.Load()
		j.at.ETASeconds = j.eta()
	}
	at := j.at
	return &at
}

// eta estimates the remaining seconds from the rates of this process. The caller holds mu.
func (j *job) eta() float64 {
	load, replay, _ := j.s.rates.now()
	left := float64(max(j.at.BytesTotal-j.at.BytesDone, 0)) / load
	if j.at.FramesTotal > j.at.FramesDone && j.at.FramesDone > 0 {
		perFrame := float64(j.e.replayed.Load()) / float64(j.at.FramesDone)
		left += float64(j.at.FramesTotal-j.at.FramesDone) * perFrame / replay
	}
	return left
}

// newRebuildRun returns an newRebuildRun whose progress is shown as the progress of the job.
func (j *job) newRebuildRun(workers int) *rebuildRun {
	e := &rebuildRun{workers: workers, phase: j.enter}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.e = e
	return e
}

func (j *job) enter(phase string) {
	j.mu.Lock()
	j.at.Phase, j.at.Updated = phase, j.s.cfg.Now()
	j.mu.Unlock()
	j.publish()
}

// advise sets the command that the user should run next.
func (j *job) advise(next string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.at.Next = next
}

func (j *job) end(result any, err error) {
	data, marshal := json.Marshal(result)
	err = errors.Join(err, marshal)
	at := j.show()
	j.mu.Lock()
	j.at = *at
	j.at.State, j.at.Phase, j.at.ETASeconds, j.at.Updated = JobDone, phaseDone, 0, j.s.cfg.Now()
	if string(data) != "null" {
		j.at.Result = data
	}
	if err != nil {
		j.at.State, j.at.Phase, j.at.Error = JobFailed, at.Phase, err.Error()
	}
	j.mu.Unlock()
	j.s.jobs.count(at.Kind, err != nil)
	j.publish()
	if err != nil {
		j.s.cfg.Log.Error("recovery job failed", "job", at.Job, "kind", at.Kind, "app", at.App, "phase", at.Phase, "err", err)
	} else {
		j.s.cfg.Log.Info("recovery job done", "job", at.Job, "kind", at.Kind, "app", at.App)
	}
}

// publishLoop publishes the state of the job at regular intervals until ctx ends.
func (j *job) publishLoop(ctx context.Context) {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			j.publish()
		case <-ctx.Done():
			return
		}
	}
}

// publish sends the state of the job to subscribers. The answer to VerbJob has the same data,
// so a lost message does no harm.
func (j *job) publish() {
	at := j.show()
	data, err := json.Marshal(at)
	if err == nil {
		err = j.s.cfg.Conn.Publish(natsconn.JobSubject(at.Job), data)
	}
	if err != nil {
		j.s.cfg.Log.Debug("progress of a recovery job not published", "job", at.Job, "err", err)
	}
}

// job answers VerbJob. If another process runs the job, it passes the request on.
func (s *Service) job(ctx context.Context, r micro.Request) error {
	request := &JobRequest{}
	if err := control.Parse(r.Data(), request); err != nil {
		return err
	}
	owner, number, _ := strings.Cut(request.Job, "-")
	if _, err := strconv.ParseUint(number, 10, 64); err != nil || subject.CheckName(owner) != nil {
		return failure(control.CodeInvalid, "%.60q is not the id of a job; the answer to ef.recovery.restore has the id", request.Job)
	}
	if owner == s.id {
		at, err := s.ownJob(ctx, request)
		if err != nil {
			return err
		}
		return r.RespondJSON(at)
	}
	subject := natsconn.ServiceSubject(ServiceName, "node."+owner+"."+VerbJob)
	ctx, cancel := context.WithTimeout(ctx, passOnTimeout)
	defer cancel()
	answer, err := s.cfg.Conn.RequestWithContext(ctx, subject, r.Data())
	if errors.Is(err, context.DeadlineExceeded) {
		return failure(control.CodeUnavailable, "the process that runs job %s does not answer; ask again", request.Job)
	}
	if err != nil {
		return failure(control.CodeNotFound, "the process that ran job %s has ended, and the job with it; eventflux checkpoint ls shows the checkpoints of the app", request.Job)
	}
	return r.Respond(answer.Data, micro.WithHeaders(micro.Headers(answer.Header)))
}

func (s *Service) ownJob(_ context.Context, r *JobRequest) (any, error) {
	if one := s.jobs.get(r.Job); one != nil {
		return one.show(), nil
	}
	return nil, failure(control.CodeNotFound, "there is no job %s, or it ended more than %s ago", r.Job, jobKept)
}
