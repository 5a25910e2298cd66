package forks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

const orderedApp = `@app:name('Forks')
define stream S (k string, v long);
define table T (k string, v long);
from S select k, v insert into T;
@info(name='w') from S#window.length(3) select k, sum(v) as total group by k insert into Out;
@info(name='p') from every a=S[v == 1] -> b=S[v == 2] select a.k, b.v insert into Pairs;`

// State without keys is refused if both forks have changed it, and taken whole on request.
func TestStateWithoutKeysIsRefused(t *testing.T) {
	plan, s, ctx := compile(t, orderedApp), memory.New(), context.Background()
	trunk := newLine(t, plan, s)
	trunk.send("x", 1)
	opt := Options{Plan: plan, Strategy: checkpoint.LastWriteWins, Workers: 1, Base: Fork{"base", s, trunk.cut(1, time.Unix(0, 0))}}
	a, b := from(t, plan, s, opt.Base.Manifest), from(t, plan, s, opt.Base.Manifest)
	unchanged := b.cut(2, time.Unix(2, 0))
	a.send("x", 5)
	b.send("x", 6)
	opt.A, opt.B = Fork{"a", s, a.cut(2, time.Unix(1, 0))}, Fork{"b", s, unchanged}
	if report, err := Merge(ctx, opt); err != nil || report.Components[len(report.Components)-1].From == "B" {
		t.Errorf("only one fork has changed: %+v, %v", report, err)
	}
	opt.B.Manifest = b.cut(3, time.Unix(2, 0))
	report, err := Merge(ctx, opt)
	if !errors.Is(err, ErrRefused) || report == nil {
		t.Fatalf("merged: %+v, %v", report, err)
	}
	for _, want := range []string{"table/T: both forks have changed it, and the table has no @PrimaryKey", "w/aggregate, w/window:", "--take w/aggregate=A"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
	for _, side := range []string{"A", "B"} {
		opt.Take, opt.To = map[string]string{"table/T": "A", "w/window": side}, memory.New()
		if _, err := Merge(ctx, opt); err != nil {
			t.Fatal(err)
		}
		m, err := checkpoint.Find(ctx, opt.To, plan.Name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := from(t, plan, opt.To, m).send("x", 0), map[string]string{"A": "w 6", "B": "w 7"}[side]; !slices.Contains(got, want) {
			t.Errorf("%s: %q, want %q", side, got, want)
		}
	}
	for what, take := range map[string]map[string]string{
		"--take nothing=A":   {"nothing": "A"},
		"--take w/window=C":  {"w/window": "C"},
		"from the same fork": {"w/window": "A", "w/aggregate": "B"},
	} {
		opt.Take = take
		if _, err := Merge(ctx, opt); !errors.Is(err, state.ErrInvalid) || !strings.Contains(err.Error(), what) {
			t.Errorf("%v: %v", take, err)
		}
	}
}

// Checkpoints of other texts, and older ones than the base, are refused.
func TestUnrelatedCheckpointsAreRefused(t *testing.T) {
	s := memory.New()
	plan := compile(t, orderedApp)
	m := newLine(t, plan, s).cut(5, time.Unix(0, 0))
	other := newLine(t, compile(t, keyedApp), s).cut(5, time.Unix(0, 0))
	older := *m
	older.Epoch = 4
	for what, b := range map[string]*checkpoint.Manifest{"give the text of that version": other, "before the base": &older} {
		_, err := Merge(context.Background(), Options{
			Plan: plan, Strategy: checkpoint.LastWriteWins, Base: Fork{"base", s, m}, A: Fork{"a", s, m}, B: Fork{"b", s, b},
		})
		if !errors.Is(err, ErrUnrelated) || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q: %v", what, err)
		}
	}
}

// A damaged fork is an error, and nothing is written.
func TestDamagedForkIsNotMerged(t *testing.T) {
	s, to, plan := memory.New(), memory.New(), compile(t, keyedApp)
	l := newLine(t, plan, s)
	l.send("a", 1)
	m := l.cut(1, time.Unix(0, 0))
	bad := *m
	bad.Partitions = slices.Clone(m.Partitions)
	bad.Partitions[0].Components = slices.Clone(m.Partitions[0].Components)
	for i := range bad.Partitions[0].Components {
		bad.Partitions[0].Components[i].Digest[0] ^= 1
	}
	_, err := Merge(context.Background(), Options{
		Plan: plan, Strategy: checkpoint.LastWriteWins, Base: Fork{"base", s, m}, A: Fork{"a", s, m}, B: Fork{"b", s, &bad}, To: to, Workers: 1,
	})
	head, _ := to.Head(context.Background(), plan.Name)
	if !errors.Is(err, checkpoint.ErrCorrupt) || head.Epoch > 0 {
		t.Errorf("%v, and the head is %+v", err, head)
	}
}
