package checkpointer

import (
	"context"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// leader is one leadership: the parts that work while this process leads. Each part has its
// own state, and uses only parts below it or beside it:
//
//	deployer · shadower · upgrader · scaler · restorer · remover · storeSwitch · merges · assigner
//	                │                               │
//	          coordinators                      admission · reports
//	                │
//	committer · barriers · retention · streams · projection
//	    │           │
//	references  leadership
type leader struct {
	*leadership
	reports      *reports
	projection   *projection
	references   *references
	committer    *committer
	barriers     *barrierWriters
	retention    *retention
	coordinators *coordinators
	assigner     *assigner
	streams      *streamKeeper
	admission    *admission
	restorer     *restorer
	deployer     *deployer
	scaler       *scaler
	upgrader     *upgrader
	shadower     *shadower
	remover      *remover
	storeSwitch  *storeSwitch
	merges       *merges
	waits        waits // of requests of tasks
}

func newLeader(s *Service, term uint64) *leader {
	base := &leadership{
		cfg: &s.cfg, js: s.js, log: s.cfg.Log.With("term", term), term: checkpoint.Term(term), done: make(chan struct{}), wake: make(chan struct{}, 1), foreign: s.refused,
	}
	l := &leader{leadership: base, waits: waits{of: map[waitKey]*context.CancelFunc{}}}
	l.reports = &reports{cfg: base.cfg, processors: newProcessors(time.Now()), ingests: ingests{of: map[string]*ingest{}}}
	l.projection = &projection{leadership: base, changed: make(chan struct{}, 1)}
	l.references = &references{store: base.cfg.Store}
	l.committer = &committer{leadership: base, references: l.references}
	l.barriers = &barrierWriters{}
	l.streams = &streamKeeper{leadership: base, looking: make(chan struct{}, 1)}
	l.retention = &retention{leadership: base, tally: &s.tally, streams: l.streams, compactAt: map[string]uint64{}}
	l.coordinators = &coordinators{
		leadership: base, committer: l.committer, projection: l.projection, barriers: l.barriers, retention: l.retention,
		processors: l.reports.processors, tally: &s.tally, beat: &s.beat,
		messages: make(chan loopMessage, 64), apps: map[string]*coordinator{}, answers: map[answerID]chan control.Outcome{},
	}
	l.assigner = &assigner{
		leadership: base, coordinators: l.coordinators, projection: l.projection, processors: l.reports.processors,
	}
	l.admission = &admission{cfg: base.cfg, js: s.js}
	shadows := &shadowReports{base}
	l.upgrader = &upgrader{leadership: base, projection: l.projection, streams: l.streams, admission: l.admission, reports: l.reports, shadows: shadows}
	l.shadower = &shadower{shadows, l.upgrader}
	l.restorer = &restorer{
		leadership: base, coordinators: l.coordinators, committer: l.committer, references: l.references, upgrader: l.upgrader, projection: l.projection, restores: make(chan restore),
	}
	l.deployer = &deployer{
		leadership: base, coordinators: l.coordinators, projection: l.projection, streams: l.streams,
		admission: l.admission, restorer: l.restorer, reports: l.reports,
	}
	l.scaler = &scaler{
		leadership: base, coordinators: l.coordinators, committer: l.committer, references: l.references, projection: l.projection,
		barriers: l.barriers, streams: l.streams, upgrader: l.upgrader, reports: l.reports,
	}
	l.remover = &remover{
		leadership: base, committer: l.committer, projection: l.projection, barriers: l.barriers, streams: l.streams, reports: l.reports,
	}
	l.storeSwitch = &storeSwitch{
		leadership: base, coordinators: l.coordinators, committer: l.committer, projection: l.projection, processors: l.reports.processors,
	}
	l.merges = newMerges(base, l.committer, l.references, l.projection)
	return l
}

// run leads until ctx ends.
func (l *leader) run(ctx context.Context) {
	defer l.work.Wait()
	defer close(l.done)
	l.barriers.open(ctx, l.cfg.Conn, l.cfg.Witness, l.log)
	defer l.barriers.close()
	l.work.Go(func() { l.projection.keepProjecting(ctx) })
	l.work.Go(func() { l.projection.keepCheckpoints(ctx) })
	l.projection.checkpointsSoon()
	l.work.Go(func() { l.keepChanging(ctx) })
	l.work.Go(func() { l.restorer.keepRestoring(ctx) })
	l.work.Go(func() { l.streams.keepStreams(ctx) })
	l.coordinators.run(ctx)
}

// keepChanging carries out the removals, scalings and upgrades that Raft knows, and assigns
// partitions to processors, until ctx ends.
func (l *leader) keepChanging(ctx context.Context) {
	tick := time.NewTicker(placeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.wake:
		}
		apps := l.cfg.FSM.apps()
		for _, a := range apps {
			if a.Removing {
				l.remover.removeOnce(ctx, a.Name)
				continue
			}
			if a.Scaling != nil {
				l.scaler.scaleOnce(ctx, a.Name)
			}
			if a.changing() != nil {
				l.upgrader.upgradeOnce(ctx, a.Name)
			}
		}
		l.assigner.assign(ctx, apps)
	}
}
