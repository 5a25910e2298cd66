package forks

import (
	"fmt"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// modelKey is all that the model knows of a key: its values, and its place among the keys.
type modelKey struct {
	place  int
	values []int64
}

type model map[string]*modelKey

func (m model) add(k string, v int64) {
	if m[k] == nil {
		m[k] = &modelKey{place: len(m)}
	}
	m[k].values = append(m[k].values, v)
}

func (m model) clone() model {
	c := model{}
	for k, x := range m {
		c[k] = &modelKey{x.place, slices.Clone(x.values)}
	}
	return c
}

func sum(values []int64) (n int64) {
	for _, v := range values {
		n += v
	}
	return n
}

// views are what each kind of state has of a key; "" for nothing.
var views = []func(*modelKey) string{
	func(x *modelKey) string { // a row
		if x == nil || x.values[len(x.values)-1] == 0 {
			return ""
		}
		return fmt.Sprint(x.values[len(x.values)-1])
	},
	func(x *modelKey) string { // a group
		if x == nil {
			return ""
		}
		return fmt.Sprint(len(x.values), sum(x.values))
	},
	func(x *modelKey) string { // a partition key
		if x == nil {
			return ""
		}
		return fmt.Sprint(x.place, len(x.values), x.values[max(0, len(x.values)-2):])
	},
}

// allValues is the view of a partition key that also has the rows that have left its window: a block
// of rows has them until all of its rows have left.
func allValues(x *modelKey) string {
	if x == nil {
		return ""
	}
	return fmt.Sprint(x.place, x.values)
}

// modelFork is a fork in the model: its states, one for each epoch, the first of the base.
type modelFork struct {
	states []model
	epochs []state.Epoch
	time   time.Time
}

func (f *modelFork) last() model { return f.states[len(f.states)-1] }

// written returns the newest epoch that changed the view of a key.
func (f *modelFork) written(view func(*modelKey) string, k string) (at state.Epoch) {
	for i := 1; i < len(f.states); i++ {
		if view(f.states[i][k]) != view(f.states[i-1][k]) {
			at = f.epochs[i]
		}
	}
	return at
}

// winner returns the fork whose state of a key counts.
func winner(s checkpoint.Strategy, view func(*modelKey) string, k string, a, b *modelFork) (wins *modelFork, conflict bool) {
	was, inA, inB := view(a.states[0][k]), view(a.last()[k]), view(b.last()[k])
	switch {
	case inA == inB || inB == was:
		return a, false
	case inA == was:
		return b, false
	}
	atA, atB := a.written(view, k), b.written(view, k)
	switch s {
	case checkpoint.LastWriteWins:
		if atB >= atA {
			return b, true
		}
	case checkpoint.FirstWriteWins:
		if atB < atA {
			return b, true
		}
	case checkpoint.TimestampPriority:
		if !b.time.Before(a.time) {
			return b, true
		}
	}
	return a, true
}

func lastOf(values []int64) int64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}
