package engine

import "github.com/eventflux/eventflux/shared/lang/siddhiql"

// CauseKind says what a cause is.
type CauseKind uint8

// The kinds of causes. The zero value is for outputs whose cause is unknown.
const (
	CauseEvent  CauseKind = 1 // an event, or several that arrived together
	CauseTimer  CauseKind = 2 // a timer
	CauseChange CauseKind = 3 // the next version of the app
)

// Cause is what outputs follow from.
type Cause struct {
	Kind CauseKind
	// Name is the stream of the event, or what the timer belongs to, by its name in the state.
	Name string
	// Event is the number of the first event in its frame, from 1; 0 if the event waited for
	// its time.
	Event uint64
	// Time is the time of the event by the app's clock, or when the timer was due, ms.
	Time int64
	// Outputs is the number of outputs before the first that follows from it.
	Outputs int
}

// trace records the causes of outputs.
type trace struct {
	causes []Cause
	event  uint64         // number in its frame of what is being sent
	plan   *siddhiql.Plan // that names are of
	names  []string       // by query
}

// TraceCauses makes Causes tell what each output follows from.
func (e *Engine) TraceCauses() { e.trace = &trace{} }

// Causes returns what the outputs since ResetOutputs follow from, in order; nil without
// TraceCauses.
func (e *Engine) Causes() []Cause {
	if e.trace == nil {
		return nil
	}
	return e.trace.causes
}

// add records a cause. One without outputs makes room for the next.
func (t *trace) add(c Cause) {
	if n := len(t.causes); n > 0 && t.causes[n-1].Outputs == c.Outputs {
		t.causes = t.causes[:n-1]
	}
	t.causes = append(t.causes, c)
}

// fromEvent records that what follows is caused by an event. Events that waited have the
// number 0.
func (e *Engine) fromEvent(stream *siddhiql.Stream, number uint64, ms int64) {
	if e.trace != nil {
		e.trace.add(Cause{CauseEvent, stream.Name, number, ms, len(e.outputs)})
	}
}

// sending returns the number of the event that is being sent, for fromEvent.
func (e *Engine) sending() uint64 {
	if e.trace == nil {
		return 0
	}
	return e.trace.event
}

// fromTimer records that what follows is caused by a timer.
func (e *Engine) fromTimer(p *pending) {
	if e.trace != nil {
		e.trace.add(Cause{CauseTimer, e.timerName(p), 0, p.at, len(e.outputs)})
	}
}

// fromChange records that what follows is caused by a change of the app.
func (e *Engine) fromChange() {
	if e.trace != nil {
		e.trace.add(Cause{CauseChange, "", 0, e.env.Now, len(e.outputs)})
	}
}

// timerName says what a timer belongs to, by its name in the state.
func (e *Engine) timerName(p *pending) string {
	if p.key != nil {
		return p.key.block.stateID()
	}
	switch o := p.owner.(type) {
	case *memory:
		if o.q.named != nil {
			return o.q.named.stateID()
		}
		t := e.trace
		if t.plan != e.plan {
			t.plan, t.names = e.plan, queryNames(e.plan)
		}
		return t.names[o.q.id]
	case *trigger:
		return o.plan.Stream.Name
	}
	return ""
}
