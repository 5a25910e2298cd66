package doctor

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/cli/terminal"
	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

func (p *examination) checkServices(_ context.Context, r *report) {
	for _, s := range []struct {
		name     string
		severity Severity
		without  string
	}{
		{"checkpointer", Error, "no app can be deployed, no checkpoint made, and no partition taken over"},
		{"processor", Error, "no events are applied; those that are accepted wait in the logs"},
		{"ingest", Error, "no events are accepted"},
		{"merger", Warning, "chains are not folded and the store is not swept, so it grows"},
		{"recovery", Warning, "no app can be taken back, and no state be looked at"},
	} {
		if p.count(s.name) == 0 {
			r.add(s.severity, s.name, p.fix("restart eventflux run, and look at its log for why this service ended", "eventflux serve --services "+s.name), "none runs: %s", s.without)
		}
	}
	r.fine("services", "%s, %s and %d of ingest run", terminal.Count(p.count("checkpointer"), "checkpointer"), terminal.Count(p.count("processor"), "processor"), p.count("ingest"))
}

func (p *examination) checkVersions(_ context.Context, r *report) {
	by := map[string][]string{}
	majors := map[uint64]bool{}
	for _, s := range p.services {
		by[s.Version] = append(by[s.Version], natsconn.Place(&s))
		if major, err := control.Major(s.Version); err == nil {
			majors[major] = true
		}
	}
	versions := slices.Sorted(maps.Keys(by))
	switch len(versions) {
	case 0:
		return // checkServices says so
	case 1:
		r.fine("services", "all have version %s", strings.Join(versions, ""))
		return
	}
	if len(majors) > 1 {
		r.add(Error, "services", "stop those of the version that is not to be there; docs/operations.md, Rolling upgrade, tells how to go from one major version to the next",
			"they have versions that differ in the first number: %s. Checkpointers refuse all that differ from them", grouped(by))
		return
	}
	r.add(Warning, "services", "finish the upgrade; docs/operations.md, Rolling upgrade, has the order", "they have several versions: %s. That works, for as long as an upgrade takes", grouped(by))
}

// grouped lists which services have each value.
func grouped(by map[string][]string) string {
	var list []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[v])
		list = append(list, v+" ("+strings.Join(slices.Compact(by[v]), ", ")+")")
	}
	return strings.Join(list, ", ")
}

func (p *examination) checkLeader(_ context.Context, r *report) {
	if p.count("checkpointer") == 0 {
		return // checkServices says so
	}
	fix := p.fix("look at the log of eventflux run for what keeps the checkpointer from leading; if there is no sign of it, restart eventflux run",
		"start the members that are missing: eventflux serve --services checkpointer, with the raft.id and data of each; then eventflux checkpointer status")
	leaders := map[string]bool{}
	known := map[string]control.Peer{}
	voters := 0
	for _, m := range p.members {
		if m.status.Leader != "" {
			leaders[m.status.Leader] = true
		}
		for _, peer := range m.status.Peers {
			known[peer.ID] = peer
		}
	}
	for _, peer := range known {
		if peer.Voter {
			voters++
		}
	}
	if len(leaders) == 0 {
		r.add(Error, "checkpointer", fix, "there is no leader, with %d of %d voters up: no checkpoints are made and no partition can be taken over; tasks that run go on", len(p.members), voters)
		return
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if !slices.ContainsFunc(p.members, func(m memberSays) bool { return m.status.ID == id }) {
			r.add(Warning, "checkpointer "+id, fix+"; or, if it is gone for good, eventflux checkpointer remove "+id,
				"the member at %s does not answer; %d of %d voters must be up", known[id].Address, voters/2+1, voters)
		}
	}
	if voters > 1 && voters%2 == 0 {
		r.add(Warning, "checkpointer", "add a member, or remove one (eventflux checkpointer add|remove): three or five", "the group has %d voters, which survives no more failures than %d do", voters, voters-1)
	}
	r.fine("checkpointer", "%s leads a group of %d", strings.Join(slices.Sorted(maps.Keys(leaders)), ", "), len(known))
}

// checkTasks checks whether every partition runs.
func (p *examination) checkTasks(ctx context.Context, r *report) {
	if p.appsErr != nil {
		if p.count("checkpointer") > 0 {
			r.add(Unknown, "apps", "see the findings about the leader", "the checkpointer does not say which apps there are: %v", p.appsErr)
		}
		return
	}
	n := 0
	for _, a := range p.apps {
		if a.Held {
			r.add(Warning, a.Name, "eventflux recover "+a.Name+" --release lets it go on", "it is held where it was restored: no events are applied, and the log grows")
		}
		for part := range a.Partitions {
			n++
			p.checkTask(r, &a, part)
		}
		if a.Shadow != nil {
			p.checkShadow(ctx, r, &a)
		}
	}
	r.fine("apps", "all tasks run: %s of %s", terminal.Count(n, "partition"), terminal.Count(len(p.apps), "app"))
}

// shadowAnswer is how long the process that runs a shadow may take to answer.
const shadowAnswer = 3 * time.Second

// checkShadow checks whether the shadow of an app runs.
func (p *examination) checkShadow(ctx context.Context, r *report, a *control.App) {
	ctx, cancel := context.WithTimeout(ctx, shadowAnswer)
	defer cancel()
	at, stop := "shadow of "+a.Name, "eventflux app shadow stop "+a.Name
	s, err := p.control.ShadowReport(ctx, a.Name, control.ShadowReportRequest{ID: a.Shadow.ID})
	switch {
	case err != nil:
		r.add(Warning, at, p.fix("wait for some seconds while it starts; if it is not needed: "+stop,
			"start a recovery: eventflux serve --services recovery; if the shadow is not needed: "+stop),
			"no process runs it, and it keeps checkpoint %d and the log after it: %v", a.Shadow.Checkpoint, err)
	case s.State == control.ShadowFailed:
		r.add(Warning, at, "start it again, with another text if that is the reason, or end it: "+stop, "it has failed, and keeps checkpoint %d and the log after it: %s", a.Shadow.Checkpoint, s.Error)
	default:
		r.fine(at, "%s, from checkpoint %d, %d frames behind", s.State, a.Shadow.Checkpoint, s.Behind)
	}
}

// lagWarning is the smallest lag, in seconds, that doctor warns about.
const lagWarning = 3

func (p *examination) checkTask(r *report, a *control.App, part uint32) {
	at := partition(a.Name, part)
	for _, d := range a.Deaths {
		if d.Partition == part && d.Quarantined() {
			r.add(Error, at, "see what the logs of those processes end with; correct that, or give them more memory; then eventflux app resume "+a.Name,
				"it is in quarantine: %d processes died while they applied log sequence %d. Its events wait in the log", d.Count, d.Sequence)
			return
		}
		if d.Partition == part {
			r.add(Warning, at, "see what the log of that process ends with; after "+strconv.Itoa(control.QuarantineAfter)+" deaths the partition is in quarantine",
				"%d processes died while they applied log sequence %d", d.Count, d.Sequence)
		}
	}
	owner := slices.IndexFunc(a.Owners, func(o control.Owner) bool { return o.Partition == part })
	if owner < 0 {
		r.add(Error, at, p.fix("wait for some seconds while it starts; then look at the log of eventflux run for what keeps it from the partition",
			"start a processor: eventflux serve --services processor; its log says what keeps it from the partition"), "no processor runs it: its events wait in the log")
		return
	}
	by := a.Owners[owner].Processor
	for _, pr := range p.processors {
		if pr.who != "processor "+by {
			continue
		}
		for _, t := range pr.tasks {
			if t.App != a.Name || t.Partition != part {
				continue
			}
			if t.State == control.TaskHalted {
				r.add(Error, at, "do what the reason says; then "+p.fix("restart eventflux run", "restart processor "+by+", or have it run elsewhere")+". docs/operations.md, 'a task halts', has each reason",
					"its task on %s has halted: %s", by, t.Error)
			} else if t.Error != "" {
				r.add(Warning, at, p.fix("see that the disk has room and, if store.url names one, that the store answers", "see that NATS and the store can be reached from "+by), "its task on %s is %s: %s", by, t.State, t.Error)
			}
			switch {
			case t.Over != "":
				setting, smaller := limitOf(t.Over)
				r.add(Error, at, p.fix("raise "+setting+" and restart eventflux run with it", "raise "+setting+" of processor "+by+" and restart it")+", or "+smaller, "its publishers get an error, and other apps go on: its task on %s takes no events: %s", by, t.Over)
			case t.LagSeconds >= lagWarning:
				r.add(Warning, at, p.fixLag(), "events are refused above ingest.lag_max: its task on %s needs %.0f s for what its log holds (%d frames, about %d bytes)", by, t.LagSeconds, t.LogEnd-min(t.Applied, t.LogEnd), t.LagBytes)
			}
			checkOrder(r, at, &t)
			checkViews(r, at, &t)
			if t.Unusable > 0 {
				r.add(Error, at, "eventflux checkpoint verify "+a.Name+" names the damage; look at the store's disk. A new checkpoint is whole: eventflux checkpoint trigger "+a.Name,
					"at its last start %d checkpoints could not be used, and an older one was", t.Unusable)
			}
			return
		}
	}
	if a.Owners[owner].State == "" {
		r.add(Warning, at, "wait some seconds; if it stays, look at the log of "+by, "processor %s, which has it, has not been heard of; another one takes over if there is one", by)
	}
}

// fixLag says what helps a task that cannot keep up.
func (p *examination) fixLag() string {
	return "publish again what got error 503: it is taken once the task has caught up. For good, " +
		p.fix("run eventflux run on a machine with more cores", "run NATS and processors on machines with more cores; a new deployment of the app can have more @app:partitions") +
		"; if the app has a result for each event, @sink(pack='ndjson') stores many in one message"
}

// viewLagWarning is how many results a view may be behind.
const viewLagWarning = 100_000

// checkViews checks the views of a partition.
func checkViews(r *report, at string, t *processor.TaskInfo) {
	for _, v := range t.Views {
		if v.Reason != "" {
			r.add(Warning, at, "correct what the reason names; the processor tries again by itself", "the view in KV bucket %s does not follow stream %s: %s", v.Bucket, v.Stream, v.Reason)
		}
		if v.Foreign > 0 {
			r.add(Warning, at, "find who writes there, and let processors alone publish to $KV."+v.Bucket+".> by permissions in NATS; the view puts back the rows that it has",
				"somebody else has written KV bucket %s of a view %d times since the task started, the last time %s", v.Bucket, v.Foreign, v.ForeignAt)
		}
		if v.Recreated > 0 {
			r.add(Warning, at, "nothing, if that was on purpose", "KV bucket %s of a view was deleted and created again, and has its rows from the results that were kept", v.Bucket)
		}
		if v.Trimmed > 0 {
			r.add(Warning, at, "keep results for longer than a processor may be stopped (@sink(max.age=…)); nats kv del "+v.Bucket+" has the view filled from the results that are left", "results were trimmed before the view in KV bucket %s had read them, so keys may have older rows", v.Bucket)
		}
		if v.Unkeyed > 0 {
			r.add(Warning, at, "nothing, if the attributes of the key had another type before", "the view in KV bucket %s has no key for %d rows of earlier versions", v.Bucket, v.Unkeyed)
		}
		if v.Lag > viewLagWarning {
			r.add(Warning, at, "nothing, while it is filled; else see that NATS takes its writes", "the view in KV bucket %s has not read %d results yet", v.Bucket, v.Lag)
		}
	}
}

// checkOrder checks whether events are applied in the order of their own times.
func checkOrder(r *report, at string, t *processor.TaskInfo) {
	if t.OutOfOrder > 0 {
		r.add(Warning, at, "have events applied in the order of time: @app:playback(lateness='…')", "%d events came after one of a later time and were applied as they came", t.OutOfOrder)
	}
	if t.DeadLetters > 0 {
		r.add(Warning, at, "raise lateness of @app:playback, or read the events from !<Stream>; they are in stream "+natsconn.DLQStream(t.App), "%d events came too late and are dead letters", t.DeadLetters)
	}
	var refused uint64
	for _, x := range t.Refused {
		refused += x.Rows
		r.add(Warning, at, "write update or insert into, if a later row shall replace the earlier one; @OnError(action='stream') on the stream of the query sends such events to !<Stream>",
			"table %s refused %d rows of %s since the task started: %s", x.Table, x.Rows, x.Query, x.Why)
	}
	if t.Dropped > refused {
		r.add(Warning, at, "see that the attribute that orders the window is not null; a longer latency of a session takes later rows", "windows could not take %d rows, or tables before the task started", t.Dropped-refused)
	}
}

// limitOf returns the setting of the limit that a task exceeds, and what else helps.
func limitOf(over string) (setting, smaller string) {
	if strings.Contains(over, "limits.partial_matches_max") {
		return "limits.partial_matches_max", "upgrade the app to a pattern with a shorter `within`: without events, no partial match ends"
	}
	return "processor.state_bytes_max", "wait until windows have expired; @purge, shorter windows or fewer keys make the state smaller"
}
