package processor

import (
	"context"
	"regexp"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/processor/view"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// views keeps the views of a task's partition (@sink(kv='…')), beside the task. They follow the
// output stream, so the task does not wait for them.
type views struct {
	t     *task
	plans chan versionPlan // holds the newest that is not taken up yet

	mu  sync.Mutex
	all []*view.View
}

type versionPlan struct {
	plan   *siddhiql.Plan
	number uint64
}

func newViews(t *task) *views { return &views{t: t, plans: make(chan versionPlan, 1)} }

// serve keeps the views of a version from now on. It does not block; only one goroutine may call
// it.
func (v *views) serve(plan *siddhiql.Plan, number uint64) {
	select {
	case <-v.plans:
	default:
	}
	v.plans <- versionPlan{plan, number}
}

// run keeps views until ctx ends.
func (v *views) run(ctx context.Context) {
	defer v.set(nil)
	end := func() {}
	defer func() { end() }()
	for {
		select {
		case p := <-v.plans:
			end()
			end = v.start(ctx, v.set(v.make(p)))
		case <-ctx.Done():
			return
		}
	}
}

// start runs views. The returned function ends them.
func (v *views) start(ctx context.Context, list []*view.View) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, one := range list {
		running.Go(func() { one.Run(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (v *views) make(p versionPlan) (list []*view.View) {
	for _, s := range p.plan.Views() {
		list = append(list, view.New(view.Config{
			Conn: v.t.nc, JS: v.t.service.viewJS, App: p.plan.Name, Version: p.number, Partition: v.t.partition, Partitions: p.plan.Partitions,
			Stream: s, Log: v.t.log, Denied: v.t.service.takeDenied, Beat: v.t.service.cfg.ViewBeat,
		}))
	}
	return list
}

func (v *views) set(list []*view.View) []*view.View {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.all = list
	return list
}

func (v *views) infos() (list []view.Info) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, one := range v.all {
		list = append(list, one.Info())
	}
	return list
}

var deniedPublish = regexp.MustCompile(`(?i)permissions violation for publish to "(\S+)"`)

// noteDenied remembers the newest subject that the server refuses to publish to.
func (s *Service) noteDenied(err error) {
	if err == nil {
		return
	}
	if found := deniedPublish.FindStringSubmatch(err.Error()); found != nil {
		s.denied.Store(&found[1])
	}
}

func (s *Service) takeDenied() string {
	if to := s.denied.Swap(nil); to != nil {
		return *to
	}
	return ""
}

// hearDenied has the service hear of permissions that are missing.
func (s *Service) hearDenied() {
	told := s.cfg.Conn.ErrorHandler()
	s.cfg.Conn.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if told != nil {
			told(nc, sub, err)
		}
		s.noteDenied(err)
	})
}

// keepViews starts the views once the task has applied what its log had at the takeover: before,
// an earlier version of the app may be in force.
func (o *owner) keepViews(end uint64) {
	if !o.viewing && (o.reader.AtTail() || o.reader.Position() > end) {
		o.viewing = true
		o.serveViews()
	}
}

func (o *owner) serveViews() {
	if o.viewing {
		number, _ := o.core.Deployed()
		o.views.serve(o.live, number)
	}
}
