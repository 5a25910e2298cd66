package engine

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// chunks are what a window could pass on, past any window.
type chunks struct {
	tb     testing.TB
	memory *memory
	holder *state.Component
	base   []state.Entry
	deltas [][]state.Change
	epoch  state.Epoch
}

func newChunks(tb testing.TB) *chunks {
	plan, err := siddhiql.Compile(`define stream S (k string, v long);
		from S#length(1) select k, min(v) as least, distinctCount(v) as n group by k insert into Out;`)
	if err != nil {
		tb.Fatal(err)
	}
	e, err := New(plan)
	if err != nil {
		tb.Fatal(err)
	}
	q := e.queries[0]
	holder := state.NewComponent(state.Info{ID: "a", Type: "a", Version: semver.MustParse("1.0.0")}, aggregateSource{q})
	return &chunks{tb: tb, memory: q.memories[0], holder: holder}
}

// pass passes on rows of a group, with values from from to to.
func (c *chunks) pass(kind window.Kind, group string, from, to int) {
	b := event.NewBatch(c.memory.q.plan.In)
	for v := from; v < to; v++ {
		b.Cols[0].AppendText(group)
		b.Cols[1].AppendInt(int64(v))
		b.TS = append(b.TS, 1)
		c.memory.touch()
		c.memory.chunk([]window.Row{{B: b, I: int32(v - from), TS: 1, Kind: kind}})
	}
}

// check commits what has changed: base and deltas have to be all that is there.
func (c *chunks) check() {
	c.tb.Helper()
	c.checkWhile(func() {})
	if c.holder.Digest() != state.DigestOf(c.entries()) {
		c.tb.Fatal("the digest is another one")
	}
}

// checkWhile is a check while something happens after the barrier: base and deltas must
// hold exactly what was there before it.
func (c *chunks) checkWhile(happens func()) {
	c.tb.Helper()
	all := c.entries()
	c.epoch++
	c.holder.Freeze(c.epoch)
	delta, err := c.holder.Delta(c.epoch - 1)
	if err != nil {
		c.tb.Fatal(err)
	}
	happens()
	for c.holder.Thaw() {
	}
	c.deltas = append(c.deltas, delta.Changes())
	c.holder.Committed(c.epoch)
	got := state.Merge(c.base, c.deltas...)
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", all) {
		c.tb.Fatalf("base and deltas are\n%q, and there is\n%q", got, all)
	}
	if delta.Digest() != state.DigestOf(all) {
		c.tb.Fatal("the digest is another one")
	}
}

// entries are all that is there.
func (c *chunks) entries() (all []state.Entry) {
	c.tb.Helper()
	source := aggregateSource{c.memory.q}
	source.Keys(func(key []byte) {
		value, ok := source.Append(nil, key)
		if !ok {
			c.tb.Fatalf("no value of %q", key)
		}
		all = append(all, state.Entry{Key: bytes.Clone(key), Value: value})
	})
	slices.SortFunc(all, func(a, b state.Entry) int { return bytes.Compare(a.Key, b.Key) })
	return all
}

// A large group that is forgotten takes its segments along, and the next one in its
// slot leaves them alone.
func TestForgottenGroupsTakeTheirPartsAlong(t *testing.T) {
	c := newChunks(t)
	c.check()
	c.pass(window.Current, "a group that is large", 0, 200)
	c.check()
	c.pass(window.Expired, "a group that is large", 0, 200)
	for n := range 500 { // until it is forgotten
		c.pass(window.Current, fmt.Sprint(n), 0, 1)
		c.pass(window.Expired, fmt.Sprint(n), 0, 1)
	}
	c.pass(window.Current, "another large group", 100, 300)
	c.check()
	if n := len(state.Merge(nil, c.deltas...)); n < 5 || n > 20 {
		t.Errorf("%d entries are there", n)
	}
}

// After a barrier, a group is forgotten and comes back in the slot of another one that was
// forgotten before it. At the barrier it was there.
func TestForgottenBehindTheBarrier(t *testing.T) {
	c := newChunks(t)
	c.check()
	c.pass(window.Current, "stays", 0, 3)
	c.pass(window.Current, "goes", 0, 100)
	c.check()
	for _, kind := range []window.Kind{window.Current, window.Expired} {
		for n := range 400 { // slots that will be free
			c.pass(kind, fmt.Sprint("early", n), 0, 1)
		}
	}
	c.checkWhile(func() {
		for _, group := range []string{"stays", "goes"} {
			c.pass(window.Expired, group, 0, 3)
		}
		c.pass(window.Expired, "goes", 3, 100)
		for n := range 200 { // until both are forgotten
			c.pass(window.Current, fmt.Sprint("late", n), 0, 1)
			c.pass(window.Expired, fmt.Sprint("late", n), 0, 1)
		}
		for n := range 100 {
			c.pass(window.Current, fmt.Sprint("new", n), 0, 1)
		}
		c.pass(window.Current, "stays", 5, 6)
	})
	c.check()
}

// A window may let rows expire that a reset has already taken away. Its group then has
// values but no rows, and is not there, until rows come: nor are its segments.
func TestPartsOfGroupsWithoutRows(t *testing.T) {
	c := newChunks(t)
	c.check()
	c.pass(window.Current, "g", 0, 100)
	c.memory.touch()
	c.memory.chunk([]window.Row{{Kind: window.Reset}})
	c.pass(window.Current, "g", 1000, 1100)
	c.check()
	c.pass(window.Expired, "g", 0, 100)
	c.check()
	if n := len(state.Merge(nil, c.deltas...)); n != 0 {
		t.Errorf("%d entries are there", n)
	}
	c.pass(window.Current, "g", 1, 2)
	c.check()
}
