package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// player applies lines to apps.
type player struct {
	apps  []*app
	out   *bufio.Writer
	parse func(text []byte) error // fills line
	line  line
	json  *jx.Decoder
	dir   string // of the events file: files of next versions are found from there
	input int    // event lines applied so far
	every int    // restart after so many of them; 0: never

	number int                           // of the present line, from 1
	again  func() (io.ReadCloser, error) // opens the lines again; nil: that is not possible
	row    []byte
}

// app is one app's engine, and what reads its events.
type app struct {
	plan      *siddhiql.Plan
	first     *siddhiql.Plan // before all changes
	engine    *engine.Engine
	snapshots *snapshotStore
	inputs    map[string]*input
	tables    map[string]*filled
	heads     []head // by query

	clamped uint64       // events whose own time was after their arrival
	times   engine.Times // of the engines before this one
}

// input reads the events of one stream of one app.
type input struct {
	stream  *siddhiql.Stream
	decoder *rowjson.Decoder
	batch   *event.Batch
}

func newPlayer(plans []*siddhiql.Plan, out *bufio.Writer, opt Options) (*player, error) {
	p := &player{out: out, json: jx.DecodeBytes(nil), every: opt.RestartEvery, dir: opt.Dir, again: opt.Again}
	for _, plan := range plans {
		a := &app{first: plan, snapshots: &snapshotStore{opt: opt}}
		a.use(plan)
		if err := a.reset(); err != nil {
			return nil, err
		}
		p.apps = append(p.apps, a)
	}
	p.parse = func(text []byte) error { return p.line.parse(p.json, text) }
	if opt.Stream == "" {
		return p, nil
	}
	return p, p.readPlainEvents(opt.Stream, opt.TimeAttr)
}

// use makes a plan the one whose streams and queries are read and written.
func (a *app) use(plan *siddhiql.Plan) {
	a.plan, a.inputs, a.tables, a.heads = plan, map[string]*input{}, map[string]*filled{}, nil
	for _, t := range bucketTables(plan) {
		a.tables[t.Name] = newFilled(t)
	}
	for _, s := range plan.Streams {
		if s.Defined {
			a.inputs[s.Name] = &input{s, rowjson.NewDecoder(s.Schema), event.NewBatch(s.Schema)}
		}
	}
	for _, q := range plan.Queries {
		a.heads = append(a.heads, newHead(q))
	}
}

// readPlainEvents makes every line an event of stream, at the time in attr.
func (p *player) readPlainEvents(stream, attr string) error {
	if err := p.known(stream); err != nil {
		return err
	}
	for _, a := range p.apps {
		if in := a.inputs[stream]; in != nil {
			if !in.stream.JSON() {
				return fmt.Errorf("the events of stream %s are not JSON (@map), and --stream reads JSON: write lines with data instead", stream)
			}
			if len(in.stream.Map.Rows) > 0 {
				return fmt.Errorf("stream %s has an enclosing element (%s), and --stream reads one event on each line: write lines with data instead", stream, in.stream.Map.Rows)
			}
			in.decoder = rowjson.NewMapped(in.stream.Schema, in.stream.Map) // as ingest reads them
		}
	}
	i := slices.IndexFunc(p.apps, func(a *app) bool { return a.inputs[stream] != nil })
	in := p.apps[i].inputs[stream]
	at := in.stream.Schema.Index(attr)
	if at < 0 || in.stream.Schema.Attrs[at].Type.Class() != event.Integers {
		return fmt.Errorf("stream %s has no attribute %q of type long to take the time from", in.stream.Schema, attr)
	}
	p.parse = func(text []byte) error {
		p.line = line{stream: stream, rows: append(p.line.rows[:0], text), has: keyStream | keyTS | keyData}
		in.batch.Reset()
		if err := in.decoder.Values(in.batch, text, 0); err != nil {
			return err
		}
		if in.batch.Cols[at].IsNull(0) {
			return fmt.Errorf("attribute %s, which has the time, is null", attr)
		}
		p.line.ts = in.batch.Cols[at].Ints[0]
		return nil
	}
	return nil
}

// play applies one line to every app. The line is checked for all of them first,
// so that a wrong one changes nothing.
func (p *player) play(text []byte) error {
	if err := p.parse(text); err != nil {
		return err
	}
	l := &p.line
	switch {
	case l.op == opUpgrade:
		return p.upgrade(l)
	case l.has&keyTable != 0:
		return p.change(l)
	case l.has&keyOp != 0:
		return p.operate(l.op, l.ts)
	case l.has&keyStream == 0:
		return p.advance(l.ts)
	}
	if err := p.known(l.stream); err != nil {
		return err
	}
	for _, a := range p.apps {
		if in := a.inputs[l.stream]; in != nil {
			if err := a.read(in, l); err != nil {
				return err
			}
		}
	}
	for _, a := range p.apps {
		if err := p.send(a, a.inputs[l.stream]); err != nil {
			return err
		}
	}
	return p.applied()
}

// applied counts a line.
func (p *player) applied() error {
	p.input++
	if p.every > 0 && p.input%p.every == 0 {
		return p.restart()
	}
	return nil
}

// operate does what a line says to the state of every app. Time passes until the
// line first; after a restore, what is overdue then comes.
func (p *player) operate(op string, now int64) error {
	if op != opRestore {
		if err := p.advance(now); err != nil {
			return err
		}
	}
	for _, a := range p.apps {
		var err error
		switch op {
		case opPersist:
			err = a.snapshots.persist()
		case opReset:
			err = a.reset()
		case opRestore:
			err = a.restore()
		}
		if err != nil {
			return fmt.Errorf("%s app %q: %w", op, a.plan.Name, err)
		}
	}
	if op == opRestore {
		return p.advance(now)
	}
	return nil
}

// restart takes the state of every app out, drops the app and puts the state into
// a new one.
func (p *player) restart() error {
	for _, a := range p.apps {
		if err := a.snapshots.persist(); err != nil {
			return fmt.Errorf("take state of app %q out: %w", a.plan.Name, err)
		}
		if err := a.restore(); err != nil {
			return fmt.Errorf("put state of app %q back: %w", a.plan.Name, err)
		}
	}
	return nil
}

// reset makes the app again, without memory.
func (a *app) reset() (err error) {
	a.times = a.outOfOrder()
	if a.engine, err = engine.New(a.plan); err != nil {
		return err
	}
	a.snapshots.watch(a.plan, engine.Registry(a.engine.Components()))
	return nil
}

// restore makes the app again, as the version of the newest snapshot, and loads that.
func (a *app) restore() error {
	if plan := a.snapshots.persisted; plan != nil && plan != a.plan {
		a.use(plan)
	}
	if err := a.reset(); err != nil {
		return err
	}
	return a.snapshots.restore()
}

// read decodes the rows of l. In an app on arrival time, the own time of an event is at most
// its arrival time, as in ingest.
func (a *app) read(in *input, l *line) error {
	in.batch.Reset()
	for i, row := range l.rows {
		err := in.decoder.Values(in.batch, row, l.timestamp(i))
		if err != nil && l.has&keyRows != 0 {
			return fmt.Errorf("row %d of stream %s: %w", i+1, l.stream, err)
		} else if err != nil {
			return fmt.Errorf("stream %s: %w", l.stream, err)
		}
		ts := &in.batch.TS[i]
		if at := in.stream.TimeAttr; at >= 0 && !in.batch.Cols[at].IsNull(i) {
			*ts = in.batch.Cols[at].Ints[i]
		}
		if !a.plan.Playback && *ts > l.ts {
			*ts = l.ts
			a.clamped++
		}
	}
	return nil
}

// send lets the line's rows arrive at one app; in is nil where it does not read
// the stream. Time passes first, so that timers count as before the line; with lateness
// it passes after the rows were taken in.
func (p *player) send(a *app, in *input) error {
	if in == nil || in.batch.Len() == 0 {
		if a.plan.Playback {
			return nil
		}
		return p.pass(a, p.line.ts)
	}
	now := p.line.ts
	if a.plan.Playback {
		now = slices.Max(in.batch.TS)
	}
	if a.plan.Lateness == siddhiql.LatenessOff {
		if err := p.pass(a, now); err != nil {
			return err
		}
	}
	return p.try(a, p.input+1, func() { a.engine.Send(in.stream, in.batch, 0, in.batch.Len(), now) })
}

// try does something to one app and writes what it emits. One line may lead to as much as
// a frame of the log.
func (p *player) try(a *app, input int, do func()) error {
	a.engine.BeginFrame()
	if err := a.engine.Try(do); err != nil {
		return fmt.Errorf("app %q: %w", a.plan.Name, err)
	}
	p.write(a, input)
	return nil
}

// pass lets time pass in one app.
func (p *player) pass(a *app, now int64) error {
	return p.try(a, p.input, func() { a.engine.Advance(now) })
}

// advance lets time pass in every app.
func (p *player) advance(now int64) error {
	for _, a := range p.apps {
		if err := p.pass(a, now); err != nil {
			return err
		}
	}
	return nil
}

// known refuses a stream that no app defines, and says which there are.
func (p *player) known(stream string) error {
	var names []string
	for _, a := range p.apps {
		if a.inputs[stream] != nil {
			return nil
		}
		for _, s := range a.plan.Streams {
			if s.Defined && !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	if len(names) == 0 {
		return errors.New("no app defines a stream")
	}
	return fmt.Errorf("no app defines stream %q; there is %s", stream, strings.Join(names, ", "))
}

// outOfOrder returns what the app's engines have counted.
func (a *app) outOfOrder() engine.Times {
	all := a.times
	if a.engine != nil {
		t := a.engine.Times()
		all.OutOfOrder, all.Late, all.Waiting = all.OutOfOrder+t.OutOfOrder, all.Late+t.Late, t.Waiting
	}
	return all
}

// notes says which events were not applied as their own time asks for.
func (p *player) notes(to io.Writer) {
	for _, a := range p.apps {
		say := func(n uint64, what, text string) {
			if n > 0 {
				fmt.Fprintf(to, "app %q: %s: %d; %s\n", a.plan.Name, what, n, text)
			}
		}
		t := a.outOfOrder()
		say(a.clamped, "events with a time after their arrival", "the time of arrival was taken instead")
		if a.engine != nil {
			for _, r := range a.engine.RefusedRows() {
				say(r.Rows, fmt.Sprintf("rows of %s that table %s refused", r.Query, r.Table), string(r.Why))
			}
		}
		say(t.OutOfOrder, "events out of order", "@app:playback(lateness='…') applies events in the order of time")
		say(t.Late, "late events", "a query reads them from !<Stream>; a longer lateness has fewer")
		say(t.Waiting, "events that still wait for a later one", "--until lets time pass")
	}
}

// write writes what an app has emitted, as caused by event line number input.
func (p *player) write(a *app, input int) {
	for _, o := range a.engine.Outputs() {
		b, kinds := a.engine.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			p.row = a.heads[o.Query].appendRow(p.row[:0], b, i, kinds[i] == window.Expired)
			p.row = appendTail(p.row, o.Chunk, input, o.Clock)
			// bufio keeps the first error and returns it from Flush.
			_, _ = p.out.Write(p.row)
		}
	}
	a.engine.ResetOutputs()
}
