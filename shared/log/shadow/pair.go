package shadow

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// Pair is one partition of an app in two versions. The old version follows the log, with the
// changes in it. The new one passes over them. It is for one goroutine at a time.
type Pair struct {
	Old, New *rebuild.Task

	partition int
	c         *Comparer
}

// NewError is an error of the new version alone.
type NewError struct{ Err error }

func (e *NewError) Error() string { return "the new version stops: " + e.Err.Error() }
func (e *NewError) Unwrap() error { return e.Err }

// NewPair changes a copy of the task of a partition to the text of the next version, and
// compares the two from then on. Both tasks are at the same position, and belong to the pair.
func NewPair(c *Comparer, partition int, old, copied *rebuild.Task, text string, o engine.MigrateOptions) (*Pair, *engine.Migration, error) {
	next, err := siddhiql.Compile(text)
	if err != nil {
		return nil, nil, err
	}
	m, err := engine.Migrate(copied.Plan(), next, o)
	if err != nil {
		return nil, nil, err
	}
	if m.Err() != nil {
		return nil, m, m.Err()
	}
	p := &Pair{Old: old, New: copied, partition: partition, c: c}
	old.Core.TraceCauses()
	copied.Core.TraceCauses()
	if err := copied.Replace(next, m); err != nil {
		return nil, m, &NewError{err}
	}
	c.versions(old.Plan(), next)
	p.collect(newSide, p.New)
	p.compareComplete()
	p.New.Core.ResetOutputs()
	return p, m, nil
}

// Step applies a record of the log to both versions. After an error the pair must not be used
// any more.
func (p *Pair) Step(record wal.Record) error {
	err := p.Old.Step(record, p.watch(oldSide, p.Old))
	if err != nil {
		return err
	}
	if err := p.New.Step(record, p.watch(newSide, p.New)); err != nil {
		return &NewError{err}
	}
	p.compareComplete()
	return nil
}

// Advance lets time pass in both versions after the newest record.
func (p *Pair) Advance(to int64) error {
	if err := p.Old.Advance(to); err != nil {
		return err
	}
	if err := p.New.Advance(to); err != nil {
		return &NewError{err}
	}
	p.collect(oldSide, p.Old)
	p.collect(newSide, p.New)
	p.Old.Core.ResetOutputs()
	p.New.Core.ResetOutputs()
	p.compareComplete()
	return nil
}

// Close compares what waits, and ends the comparison.
func (p *Pair) Close() { p.c.finish(p.clock()) }

// Report compares all that both versions have reached, and returns what was compared so far. It
// shares nothing with the pair.
func (p *Pair) Report() Report {
	if p.c.byTime {
		now := p.clock()
		p.c.compare(&now)
	}
	return p.c.Report()
}

// Events returns how many events the old version has applied.
func (p *Pair) Events() uint64 { return p.c.report.Events }

// Different returns how many rows differ in what was compared so far.
func (p *Pair) Different() (rows uint64) {
	for _, s := range p.c.streams {
		rows += s.differs()
	}
	return rows
}

// clock is the clock of the version that is behind.
func (p *Pair) clock() int64 { return min(p.Old.Core.Clock(), p.New.Core.Clock()) }

func (p *Pair) watch(side int, t *rebuild.Task) rebuild.Watch {
	return rebuild.Watch{Frame: func(_ uint64, _ *frame.Frame, r engine.Reached, _ int) {
		p.collect(side, t)
		if side == oldSide {
			p.c.report.Frames++
			p.c.report.Events += uint64(r.Events)
		}
	}}
}

func (p *Pair) compareComplete() {
	now := p.clock()
	p.c.compareComplete(&now)
}

// emitted is what a frame made a version emit.
type emitted interface {
	Outputs() []engine.Output
	Causes() []engine.Cause
	Rows(query int) (*event.Batch, []window.Kind)
}

// collect passes what a version has emitted to the comparer.
func (p *Pair) collect(side int, t *rebuild.Task) {
	at := rowPosition{p.partition, t.Position().Sequence, 0}
	if before := t.Core.Earlier(); before != nil {
		p.c.add(side, &at, before.Plan, before)
	}
	p.c.add(side, &at, t.Plan(), t.Core)
	letters := &p.c.report.DeadLetters
	late := uint64(len(t.Core.Late()))
	if side == oldSide {
		letters.Old += late
	} else {
		letters.New += late
	}
}

// rowPosition locates a row.
type rowPosition struct {
	partition int
	seq       uint64
	ordinal   uint64
}

func (p rowPosition) String() string { return fmt.Sprintf("%d.%d", p.seq, p.ordinal) }
