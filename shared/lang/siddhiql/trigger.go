package siddhiql

import (
	"errors"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/cron"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// Trigger is a stream that an app fills by itself, with an event whenever it is due.
type Trigger struct {
	ID     int // index in Plan.Triggers
	Stream *Stream
	Start  bool  // it fires once, at the app's first instant
	Period int64 // ms; 0: not every so often
	Cron   *cron.Schedule
}

// triggerAttr holds the time when a trigger's event was due, in ms.
const triggerAttr = "triggered_time"

// startWord is the time of a trigger that fires once, at the start.
const startWord = "start"

// trigger reads `define trigger T at …`.
func (p *parser) trigger(a *App, annotations []*Annotation) {
	d := &TriggerDef{Pos: p.take().pos}
	p.take()
	d.Name = p.name("the name of the trigger")
	p.expect("at", ", as in `define trigger T at every 5 sec`")
	if p.accept("every") {
		d.Every = p.period("a time such as `5 sec` after `every`")
	} else {
		d.At = &Literal{Pos: p.peek().pos, Type: event.String, Text: p.text("`every 5 sec`, `'start'`, or a cron text such as `'0 */5 * * * ?'`")}
	}
	if len(annotations) > 0 {
		p.errorf(annotations[0].Pos, "found `@%s` before a trigger, which has no annotations: leave it out", annotations[0].Name)
	}
	if len(a.Elements) == 0 {
		a.Triggers = append(a.Triggers, d)
	}
}

func (d *TriggerDef) print(p *printer) {
	p.write("define trigger ", quoteName(d.Name.Text), " at ")
	if d.Every != nil {
		p.write("every ", literalText(d.Every))
	} else {
		p.write(quoteString(d.At.Text))
	}
}

// trigger checks a `define trigger`.
func (df *definitionChecker) trigger(d *TriggerDef) {
	name := d.Name.Text
	if df.catalog.definedTwice(d.Name) {
		return
	}
	s := &Stream{
		ID: len(df.plan.Streams), Name: name, Block: -1, TimeAttr: -1,
		Schema: &event.Schema{Name: name, Attrs: []event.Attr{{Name: triggerAttr, Type: event.Long}}},
	}
	t := &Trigger{ID: len(df.plan.Triggers), Stream: s}
	s.Trigger = t
	df.plan.Streams = append(df.plan.Streams, s)
	df.plan.Triggers = append(df.plan.Triggers, t)
	df.catalog.outer[name] = &known{stream: s, at: d.Name.Pos}
	switch {
	case d.Every != nil && d.Every.Int <= 0:
		df.errorf(d.Every.Pos, "found the time %s, expected one above 0", tick(literalText(d.Every)))
	case d.Every != nil:
		t.Period = d.Every.Int
	case strings.EqualFold(d.At.Text, startWord):
		t.Start = true
	default:
		t.Cron = df.cron(d.At)
	}
}

// cron reads a cron text; nil after an error.
func (df *definitionChecker) cron(l *Literal) *cron.Schedule {
	s, err := cron.Parse(l.Text)
	var wrong *cron.Error
	if errors.As(err, &wrong) {
		df.errorf(Pos{l.Pos.Line, l.Pos.Column + wrong.Column}, "the cron text '%s': %s", shorten(l.Text), wrong.Msg)
	}
	return s
}

// noTarget refuses a query that inserts into a trigger.
func (ct *catalog) noTarget(d *QueryDef, k *known) {
	if k.stream.Trigger != nil {
		ct.errorf(d.Target.Pos, "%s is a trigger, which fills itself: expected a stream of another name", tick(d.Target.Name))
	}
}

func (ct *catalog) noTrigger(at Pos, s *Stream) {
	ct.errorf(at, "%s is a trigger, which has no key, but the app has %d partitions that share nothing: leave out `@app:partitions`", tick(s.Name), ct.plan.Partitions)
}

// triggers refuses keys of triggers in an app of several partitions.
func (sh *shardChecker) triggers(b *Partition) {
	for i, k := range b.Keys {
		if k.Stream.Trigger != nil {
			sh.catalog.noTrigger(sh.keyAt[b][i], k.Stream)
		}
	}
}
