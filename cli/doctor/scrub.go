package doctor

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// checkScrub names each damaged record in the files of an embedded server, and what it means.
func (p *examination) checkScrub(ctx context.Context, r *report, in *intakeSays) {
	s := in.info.Scrub
	if s == nil {
		for _, record := range in.info.Damaged { // a process of an earlier version
			r.add(Warning, in.who, "check the disk. A record of a log that its task has read does no harm once a checkpoint is made; otherwise restore the data folder from a copy", "a record on the disk is damaged: %s", record)
		}
		return
	}
	for i := range s.Damaged {
		d := &s.Damaged[i]
		severity, means, fix := p.judgeDamage(ctx, d)
		r.add(severity, d.Stream, "check the disk. "+fix, "%s cannot be read: %s: %s. %s; %s", d.Sequences(), d.File, d.What, means, s)
	}
}

// judgeDamage says what a damaged record means and what to do.
func (p *examination) judgeDamage(ctx context.Context, d *control.DamagedRecord) (s Severity, means, fix string) {
	app, partition, isLog := natsconn.LogOf(d.Stream)
	if !isLog {
		return Warning, "It is no log, so the app goes on", "The next start leaves a hole there; publish again what readers of the stream still need, or restore the data folder from a copy"
	}
	if m, err := p.newest(ctx, app); err == nil && int(partition) < len(m.Partitions) && d.EndsBy(m.Partitions[partition].Log.Sequence) {
		return Warning, fmt.Sprintf("Checkpoint %d of app %s covers it, so no task needs it", m.Epoch, app), "The next start leaves a hole there, and the log is trimmed past it"
	}
	for _, one := range p.processors {
		for i := range one.tasks {
			if t := &one.tasks[i]; t.App == app && t.Partition == partition && d.EndsBy(t.Applied) {
				return Error, "No checkpoint covers it, but the task has applied it: a task that starts now halts there", "Make a checkpoint before you stop anything: eventflux checkpoint trigger " + app
			}
		}
	}
	return Error, "No checkpoint covers it, and no task is known to have applied it: the task halts there", "Restore the data folder from a copy; without one, stop the process, and eventflux recover --log --accept-loss goes on without it"
}

// scrubs says how far the processes have read through their files; "" without an embedded server.
func (p *examination) scrubs() (text string) {
	for i := range p.intakes {
		if s := p.intakes[i].info.Scrub; s != nil {
			text += fmt.Sprintf("; %s: %s", p.intakes[i].who, s)
		}
	}
	return text
}
