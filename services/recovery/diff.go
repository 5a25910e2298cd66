package recovery

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
)

const changesDefault = 100

// diff answers VerbDiff.
func (s *Service) diff(ctx context.Context, r *DiffRequest) (any, error) {
	if r.From == 0 || r.To == 0 || r.From >= r.To {
		return nil, failure(control.CodeInvalid, "from %d to %d: name two checkpoints, the older one first; eventflux checkpoint ls %s lists them", r.From, r.To, r.App)
	}
	h, err := s.look(ctx, r.App)
	if err != nil {
		return nil, err
	}
	scope, err := h.scope(nil, AfterResume)
	if err != nil {
		return nil, err
	}
	d := &differ{h: h, request: r, out: &Diff{App: r.App, From: r.From, To: r.To, Components: []ComponentDiff{}}, limit: changesDefault}
	d.room = int(answerShare * float64(s.cfg.Conn.MaxPayload()))
	if r.Limit > 0 {
		d.limit = r.Limit
	}
	if d.a, err = h.openRetained(ctx, r.From); err != nil {
		return nil, err
	}
	if d.b, err = h.openRetained(ctx, r.To); err != nil {
		return nil, err
	}
	done, err := s.rebuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	for p := range h.app.Partitions {
		ids, err := scope.wanted(r.Components, p)
		if err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			continue
		}
		if err := d.partition(ctx, p, ids); err != nil {
			return nil, err
		}
	}
	if r.Explain != "" && len(d.explained) == 0 {
		return nil, failure(control.CodeNotFound, "nothing with the key %q has changed: use a key as the diff shows it, or name the component", r.Explain)
	}
	return d.out, nil
}

// openRetained opens a checkpoint that a request names.
func (h *history) openRetained(ctx context.Context, epoch state.Epoch) (*basis, error) {
	ref, err := h.ref(epoch)
	if err != nil {
		return nil, err
	}
	one, err := h.open(ctx, ref)
	if err != nil {
		return nil, failure(control.CodeInternal, "checkpoint %d: %v; next: eventflux checkpoint verify %s %[1]d", epoch, err, h.plan.Name)
	}
	return one, nil
}

// wanted lists the components of a partition that names refer to; no names: all.
func (s *scope) wanted(names []string, p uint32) (ids []string, err error) {
	for _, name := range names {
		partition, some, err := s.resolve(name)
		if err != nil {
			return nil, err
		}
		if partition < 0 || partition == int(p) {
			ids = append(ids, some...)
		}
	}
	if len(names) == 0 {
		for _, i := range s.infos {
			ids = append(ids, i.ID)
		}
	}
	return ids, nil
}

// differ compares two checkpoints.
type differ struct {
	h         *history
	request   *DiffRequest
	a, b      *basis
	out       *Diff
	limit     int
	room      int        // bytes left in the answer
	explained []explains // items that the request asks about
}

// explains is an item of a component, or a raw entry, whose changes are to be explained.
type explains struct {
	component string
	key       string
	entry     []byte
	raw       bool
}

func (d *differ) partition(ctx context.Context, p uint32, ids []string) error {
	e := &rebuildRun{workers: d.h.s.cfg.Workers}
	before, err := d.h.load(ctx, d.a, p, e)
	if err != nil {
		return d.damaged(err, d.a)
	}
	after, err := d.h.load(ctx, d.b, p, e)
	if err != nil {
		return d.damaged(err, d.b)
	}
	var asked []explains
	for _, id := range ids {
		c, of, err := d.component(before, after, id)
		if err != nil {
			return err
		}
		c.Partition, c.Component = p, id
		asked = append(asked, of...)
		if c.Added+c.Removed+c.Changed > 0 {
			d.out.Components = append(d.out.Components, *c)
		}
	}
	if len(asked) == 0 {
		return nil
	}
	d.explained = append(d.explained, asked...)
	return d.explain(ctx, p, before, asked)
}

func (d *differ) damaged(err error, c *basis) error {
	return failure(control.CodeInternal, "%v; next: eventflux checkpoint verify %s %d", err, d.h.plan.Name, c.epoch())
}

// component compares the entries of one component and lists the items that changed.
func (d *differ) component(before, after *rebuild.Task, id string) (*ComponentDiff, []explains, error) {
	old, err := before.Entries(id)
	if err != nil {
		return nil, nil, err
	}
	now, err := after.Entries(id)
	if err != nil {
		return nil, nil, err
	}
	c := &ComponentDiff{}
	compare(old, now, func(was, is *state.Entry) {
		switch {
		case was == nil:
			c.Added++
			c.Bytes += int64(len(is.Key) + len(is.Value))
		case is == nil:
			c.Removed++
			c.Bytes += int64(len(was.Key) + len(was.Value))
		case bytes.Equal(was.Value, is.Value):
			c.Same++
		default:
			c.Changed++
			c.Bytes += int64(len(is.Key) + len(is.Value))
		}
	})
	if c.Added+c.Removed+c.Changed == 0 {
		return c, nil, nil
	}
	asked, err := d.items(c, id, before, after, old, now)
	return c, asked, err
}

// compare visits the entries of two sorted lists side by side; nil means that a list does
// not have the key.
func compare(old, now []state.Entry, visit func(was, is *state.Entry)) {
	for len(old) > 0 || len(now) > 0 {
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			order = bytes.Compare(old[0].Key, now[0].Key)
		}
		switch {
		case order < 0:
			visit(&old[0], nil)
			old = old[1:]
		case order > 0:
			visit(nil, &now[0])
			now = now[1:]
		default:
			visit(&old[0], &now[0])
			old, now = old[1:], now[1:]
		}
	}
}

// items lists the items that changed. One may be stored in several entries.
func (d *differ) items(c *ComponentDiff, id string, before, after *rebuild.Task, old, now []state.Entry) ([]explains, error) {
	var asked []explains
	was := map[string]json.RawMessage{}
	var order []string
	checkAsked := func(i *state.Item) {
		raw := d.request.Explain == hexPrefix+hex.EncodeToString(i.Entry)
		if len(asked) == 0 && d.request.Explain != "" && (d.request.Explain == i.Key || raw) {
			asked = append(asked, explains{id, i.Key, i.Entry, raw})
		}
	}
	err := eachItem(before, id, old, func(i state.Item) {
		checkAsked(&i)
		was[i.Key] = i.Value
		order = append(order, i.Key)
	})
	if err != nil {
		return nil, err
	}
	err = eachItem(after, id, now, func(i state.Item) {
		checkAsked(&i)
		value, there := was[i.Key]
		delete(was, i.Key)
		if !there || !bytes.Equal(value, i.Value) {
			d.add(c, Change{Key: i.Key, Before: value, After: i.Value})
		}
	})
	for _, key := range order {
		if value, gone := was[key]; gone {
			d.add(c, Change{Key: key, Before: value})
		}
	}
	return asked, err
}

func (d *differ) add(c *ComponentDiff, change Change) {
	size := len(change.Key) + len(change.Before) + len(change.After) + 48
	if len(c.Changes) == d.limit || size > d.room {
		c.More = true
		return
	}
	d.room -= size
	c.Changes = append(c.Changes, change)
}

// explain replays from the older checkpoint to the newer one, and records each step that
// changed one of the items that the request asks about.
func (d *differ) explain(ctx context.Context, p uint32, t *rebuild.Task, asked []explains) error {
	if err := d.h.checkLog(ctx, d.a.part(p)); err != nil {
		return failure(control.CodeInvalid, "the events cannot be looked up: %v; next: eventflux checkpoint ls %s", err, d.h.plan.Name)
	}
	watch := &watcher{d: d, p: p, t: t, asked: asked}
	for _, x := range asked {
		watch.values = append(watch.values, watch.value(x))
	}
	e := &rebuildRun{workers: 1, watch: func(uint32, *rebuild.Task) rebuild.Watch { return rebuild.Watch{Step: watch.step} }}
	to := rebuild.Target{Position: rebuild.Position{Sequence: d.b.barrier(p)}}
	return d.h.replay(ctx, d.a, p, t, to, e)
}

// watcher looks at some items after each step.
type watcher struct {
	d      *differ
	p      uint32
	t      *rebuild.Task
	asked  []explains
	values []json.RawMessage // before the step; nil: the item does not exist
}

func (w *watcher) step(seq uint64, f *frame.Frame, s engine.Step) {
	for i, x := range w.asked {
		before, after := w.values[i], w.value(x)
		if bytes.Equal(before, after) {
			continue
		}
		w.values[i] = after
		w.record(Cause{Partition: w.p, Component: x.component, Before: before, After: after}, seq, f, s)
	}
}

// value returns the readable form of an item now; nil if it does not exist.
func (w *watcher) value(x explains) json.RawMessage {
	if !x.raw {
		if value, ok := w.t.Item(x.component, x.key, x.entry); ok {
			return value
		}
		return nil
	}
	if value, ok := w.t.Append(x.component, nil, x.entry); ok {
		return rawItem(state.Entry{Value: value}).Value
	}
	return nil
}

func (w *watcher) record(c Cause, seq uint64, f *frame.Frame, s engine.Step) {
	c.At, c.Clock = rebuild.Position{Sequence: seq}, w.t.Core.Clock()
	if f != nil {
		c.Frame = f.Kind.String()
	}
	size := len(c.Before) + len(c.After) + 160
	if s.Event > 0 {
		c.At.Event, c.Stream = s.Event+uint64(s.To-s.From)-1, s.Stream.Name
		for i := s.From; i < s.To; i++ {
			c.Events = append(c.Events, rowjson.AppendObject(nil, s.Batch, i))
			size += len(c.Events[len(c.Events)-1])
		}
	}
	d := w.d
	if len(d.out.Explained) == d.limit || size > d.room {
		d.out.More = true
		return
	}
	d.room -= size
	d.out.Explained = append(d.out.Explained, c)
}
