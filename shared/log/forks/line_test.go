package forks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

func compile(t testing.TB, text string) *siddhiql.Plan {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// line is an app that makes checkpoints.
type line struct {
	t        fataler
	plan     *siddhiql.Plan
	store    store.Store
	task     *engine.Task
	holders  *state.Registry
	manifest *checkpoint.Manifest // the newest; its epoch is 0 before the first
}

type fataler interface {
	Helper()
	Fatal(...any)
}

func newLine(t fataler, plan *siddhiql.Plan, s store.Store) *line {
	t.Helper()
	task, err := engine.NewTask(plan, 0, settings)
	if err != nil {
		t.Fatal(err)
	}
	return &line{t, plan, s, task, engine.Registry(task.Components()), &checkpoint.Manifest{
		App: plan.Name, Plan: plan.Digest, Generation: 1, Term: 1, Partitions: []checkpoint.Partition{{
			Log: checkpoint.Lineage{Stream: "EFW", Sequence: 1, ID: checkpoint.ID{1}}, Output: checkpoint.Output{Positions: map[string]string{}},
		}},
	}}
}

// from starts an app from a checkpoint.
func from(t fataler, plan *siddhiql.Plan, s store.Store, m *checkpoint.Manifest) *line {
	t.Helper()
	l := newLine(t, plan, s)
	if err := checkpoint.Load(context.Background(), s, &m.Partitions[0], m.Epoch, l.holders, 1); err != nil {
		t.Fatal(err)
	}
	of := *m
	of.Partitions = slices.Clone(m.Partitions)
	l.manifest = &of
	return l
}

// send sends an event, and returns the rows that come out.
func (l *line) send(k string, v int64) (rows []string) {
	s := l.plan.Streams[0]
	b := event.NewBatch(s.Schema)
	b.TS = append(b.TS, 1000)
	b.Cols[0].AppendText(k)
	b.Cols[1].AppendInt(v)
	l.task.Send(s, b, 0, 1, 1000)
	for _, o := range l.task.Outputs() {
		q := l.plan.Queries[o.Query]
		if q.Write != nil {
			continue
		}
		out, _ := l.task.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			rows = append(rows, fmt.Sprintf("%s %d", q.Name, out.Cols[1].Ints[i]))
		}
	}
	l.task.ResetOutputs()
	return rows
}

// cut makes a checkpoint.
func (l *line) cut(epoch state.Epoch, at time.Time) *checkpoint.Manifest {
	l.t.Helper()
	before := map[string]checkpoint.Component{}
	for _, c := range l.manifest.Partitions[0].Components {
		before[c.ID] = c
	}
	m := *l.manifest
	m.Epoch, m.Time, m.Partitions = epoch, at, slices.Clone(m.Partitions)
	m.Partitions[0].Components = nil
	for _, h := range l.holders.List() {
		h.Cut(epoch)
		info := h.Info()
		c := checkpoint.Component{ID: info.ID, Type: info.Type, Version: info.Version.String(), Digest: h.Digest(), Runs: slices.Clone(before[info.ID].Runs)}
		changes, kind := h.Snapshot().Changes(), checkpoint.Base
		if len(c.Runs) > 0 {
			delta, err := h.Delta(l.manifest.Epoch)
			if err != nil {
				l.t.Fatal(err)
			}
			changes, kind = delta.Changes(), checkpoint.Delta
		}
		if len(changes) > 0 {
			run, err := checkpoint.WriteRun(context.Background(), l.store, checkpoint.WriterOptions{Kind: kind, Epoch: epoch}, changes)
			if err != nil {
				l.t.Fatal(err)
			}
			c.Runs = append(c.Runs, run)
		}
		h.Committed(epoch)
		m.Partitions[0].Components = append(m.Partitions[0].Components, c)
	}
	slices.SortFunc(m.Partitions[0].Components, func(a, b checkpoint.Component) int { return strings.Compare(a.ID, b.ID) })
	if _, err := m.Encode(); err != nil {
		l.t.Fatal(err)
	}
	l.manifest = &m
	return &m
}

// row returns the value in a row of the table; 0 for no row.
func row(l *line, k string) (v int64) {
	for _, c := range l.task.Components() {
		if lister, ok := c.Source.(state.Lister); ok && c.ID == "table/T" {
			lister.Items(func(i state.Item) {
				if i.Key == k {
					_, _ = fmt.Sscanf(string(i.Value), `{"k":"`+k+`","v":%d`, &v)
				}
			})
		}
	}
	return v
}
