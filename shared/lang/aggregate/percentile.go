package aggregate

import (
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	for _, name := range []string{"percentile", "math:percentile"} {
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			Usage:   name + "(number, percent), 0 < percent <= 100",
			Doc:     "the value below which that part of the values lies, exact",
			Result:  percentileResult,
			Check:   checkPercent,
			NewWith: func(c Config) Aggregate { return newPercentile(name, c.Args) },
		})
	}
	Register(Spec{
		Name:    "approx:percentile",
		Version: "1.0.0",
		Usage:   "approx:percentile(number, percent), 0 < percent <= 100",
		Doc:     "about the value below which that part of the values lies, in little memory; it is at most 0.4 % off",
		Instead: "percentile",
		Result:  percentileResult,
		Check:   checkPercent,
		NewWith: func(c Config) Aggregate { return newApproxPercentile(c.Args) },
	})
	Register(Spec{
		Name:    "median",
		Version: "1.0.0",
		Usage:   "median(number)",
		Doc:     "the value in the middle, or the mean of the two there, exact",
		Result:  oneNumber(func(event.Type) event.Type { return event.Double }),
		New:     func(args []event.Type) Aggregate { return newPercentile("median", []Arg{{Type: args[0]}}) },
	})
}

func percentileResult(args []event.Type) (event.Type, error) {
	switch {
	case len(args) != 2:
		return 0, fmt.Errorf("it takes two arguments, found %d", len(args))
	case !args[0].Numeric():
		return 0, fmt.Errorf("expected a number, found %s", args[0])
	case !args[1].Numeric():
		return 0, fmt.Errorf("expected a number as percent, found %s", args[1])
	}
	return event.Double, nil
}

func checkPercent(args []Arg) error {
	if args[1].Const == nil {
		return errors.New("the percent is computed, but a constant is needed, such as 95")
	}
	if p := percent(args); !(p > 0 && p <= 100) {
		return fmt.Errorf("the percent is %v, expected more than 0 and at most 100: the 95th percentile is 95", p)
	}
	return nil
}

func percent(args []Arg) float64 {
	if len(args) == 1 {
		return 50
	}
	return real(args[1].Const, args[1].Type.Class())
}

// percentile finds the value of a rank among the values of a group. It keeps all of them in
// order. From one result to the next the rank moves by a step or so, and so does the search:
// it starts where the last one ended.
type percentile struct {
	extreme // for its values and their state
	name    string
	percent float64
	rounds  bool // values of a bucket count as one
	seen    []ranks
}

// ranks is what a group knows beside its values; all of it follows from them.
type ranks struct {
	n      int64 // values
	key    int64 // where the last search ended
	before int64 // values with smaller keys
}

func newPercentile(name string, args []Arg) *percentile {
	return &percentile{extreme: extreme{class: args[0].Type.Class(), called: name}, name: name, percent: percent(args)}
}

func (a *percentile) Add(slot int, args []Value) {
	a.seen = grow(a.seen, slot)
	v := &args[0]
	if v.Null {
		return
	}
	key, s := a.keyOf(v), &a.seen[slot]
	a.add(slot, key)
	s.n++
	if key < s.key {
		s.before++
	}
}

func (a *percentile) Remove(slot int, args []Value) {
	a.seen = grow(a.seen, slot)
	v := &args[0]
	if v.Null {
		return
	}
	key, s := a.keyOf(v), &a.seen[slot]
	if a.count(slot, key) == 0 {
		return
	}
	a.remove(slot, key)
	s.n--
	if key < s.key {
		s.before--
	}
}

// count returns how often a key is there.
func (m *multiset) count(slot int, key int64) int64 {
	m.groups = grow(m.groups, slot)
	n, exists := find(m.groups[slot], key)
	if !exists {
		return 0
	}
	items := m.groups[slot][n].items
	i, found := search(items, key)
	if !found {
		return 0
	}
	return items[i].value
}

// Result writes the value of rank r = percent·n/100: the mean of the values r and r+1 if r is
// whole, else the value whose rank is nearest.
func (a *percentile) Result(slot int, out *Value) {
	a.seen, a.groups = grow(a.seen, slot), grow(a.groups, slot)
	s := &a.seen[slot]
	if out.Null = s.n == 0; out.Null {
		out.Real = 0
		return
	}
	r := float64(a.percent*float64(s.n)) / 100
	rank := int64(r)
	whole := float64(rank) == r
	if !whole {
		rank = int64(float64(r + .5))
	}
	rank = min(max(rank, 1), s.n)
	low := a.atRank(slot, rank)
	out.Real = low
	if whole && rank < s.n && r >= 1 {
		out.Real = middle(low, a.atRank(slot, rank+1))
	}
}

// middle returns the mean of two values, where a <= b.
func middle(a, b float64) float64 {
	if a == b || b-b != 0 || a-a != 0 {
		return canonical(float64(a/2) + float64(b/2))
	}
	if sum := float64(a + b); sum-sum == 0 {
		return sum / 2
	}
	return float64(a/2) + float64(b/2)
}

// atRank returns the value of a rank, counted from 1.
func (a *percentile) atRank(slot int, rank int64) float64 {
	s, group := &a.seen[slot], a.groups[slot]
	n, _ := find(group, s.key)
	i := 0
	if n == len(group) {
		n--
		i = len(group[n].items)
	} else {
		i, _ = search(group[n].items, s.key)
	}
	// before is the number of values in front of item i of segment n.
	before := s.before
	for before >= rank {
		for i == 0 {
			n--
			i = len(group[n].items)
		}
		i--
		before -= group[n].items[i].value
	}
	for {
		for i == len(group[n].items) {
			n, i = n+1, 0
		}
		if before+group[n].items[i].value >= rank {
			break
		}
		before += group[n].items[i].value
		i++
	}
	s.key, s.before = group[n].items[i].key, before
	switch {
	case a.rounds:
		return ofBucket(s.key)
	case a.class == event.Reals:
		return keyReal(s.key)
	}
	return float64(s.key)
}

func (a *percentile) keyOf(v *Value) int64 {
	if a.rounds {
		return bucketOf(real(v, a.class))
	}
	return a.key(v)
}

func (a *percentile) Clear(slot int) {
	a.seen = grow(a.seen, slot)
	a.seen[slot] = ranks{}
	a.extreme.Clear(slot)
}

// LoadState implements Aggregate.
func (a *percentile) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	err := a.extreme.LoadState(slot, src)
	if err == nil {
		err = a.checkBuckets(slot)
	}
	if err != nil {
		a.Clear(slot)
	}
	a.recount(slot)
	return err
}

// CheckSegments implements Segmented.
func (a *percentile) CheckSegments(slot int) error {
	a.recount(slot)
	if err := a.extreme.CheckSegments(slot); err != nil {
		return err
	}
	return a.checkBuckets(slot)
}

// recount counts the values of a slot that was loaded.
func (a *percentile) recount(slot int) {
	a.seen, a.groups = grow(a.seen, slot), grow(a.groups, slot)
	s := ranks{}
	for n := range a.groups[slot] {
		for _, it := range a.groups[slot][n].items {
			s.n += it.value
			if it.key < s.key {
				s.before += it.value
			}
		}
	}
	a.seen[slot] = s
}
